"""The catalogue of `sql/`: one file makes one table or view, and the file's name is its name.

A file starts with a comment header (purpose, grain, inputs, parameters) and holds one statement. Files of
`sql/warehouse/` are CREATE TABLE statements; all others are SELECTs with `$name` parameters, which are
bound and never formatted in.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def sql_folder() -> Path:
    """`gfm_store/sql` in an installed wheel, `sql/` beside the package in a checkout or editable install."""
    for folder in (PACKAGE / "sql", PACKAGE.parent / "sql"):
        if (folder / "warehouse").is_dir():
            return folder
    raise FileNotFoundError(f"the sql/ folder is neither in {PACKAGE} nor beside it: reinstall gfm-store")


@dataclass(frozen=True)
class Statement:
    """One file of the catalogue."""

    name: str
    """The table it makes: the file's name without `.sql`."""
    text: str

    @property
    def header(self) -> str:
        """The leading comment, without its dashes."""
        lines = []
        for line in self.text.splitlines():
            if not line.startswith("--"):
                break
            lines.append(line.removeprefix("--").strip())
        return "\n".join(lines)

    @property
    def parameters(self) -> frozenset[str]:
        """Names of its `$parameters`."""
        code = re.sub(r"--.*", "", self.text)
        return frozenset(re.findall(r"\$([a-z_]+)", code))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def statement(name: str) -> Statement:
    """The statement of `"graph/item_node"`, say."""
    path = sql_folder() / f"{name}.sql"
    return Statement(path.stem, path.read_text(encoding="utf-8"))


def statements(folder: str) -> list[Statement]:
    """All statements of one folder of `sql/`, by name."""
    return [statement(f"{folder}/{path.stem}") for path in sorted((sql_folder() / folder).glob("*.sql"))]


def fingerprint(*folders: str) -> str:
    """SHA-256 over the texts of whole folders, in hex: part of a version's identity."""
    digest = hashlib.sha256()
    for folder in folders:
        for one in statements(folder):
            digest.update(f"{one.name}:{one.fingerprint};".encode())
    return digest.hexdigest()
