"""The program as an input: what is kept follows from it as it does from data and settings."""

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def version() -> str:
    """Of gfm-store; a plain checkout that was never installed has none."""
    try:
        return metadata.version("gfm-store")
    except metadata.PackageNotFoundError:
        return "checkout"


def name() -> str:
    """`<version>+<12 hex digits>`: another one for any other file of the package."""
    return f"{version()}+{fingerprint()[:12]}"


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """SHA-256, in hex, of every Python file of the package, as they were when it was first asked for."""
    return of_files(PACKAGE)


def of_files(folder: Path) -> str:
    """SHA-256, in hex, of the Python files under a folder, with their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
