"""A static version on disk: ready for the next dynamic refresh, not yet what readers see.

<warehouse>/static/s-.../              record.json, hgnn.safetensors, two Lance tables
<warehouse>/static/current -> s-...    the one that the next dynamic refresh builds on
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lance
import pyarrow as pa

from gfm_store.errors import NotPublishedError
from gfm_store.vectors.version import StaticRecord

CURRENT = "current"
STATIC_TABLES = ("item_embedding", "co_interaction_edge")


@contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder that appears as `parent`/`name` whole, at the end of the block, or not at all."""
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob("*.partial"):
        shutil.rmtree(leftover)
    partial = parent / f"{name}.partial"
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    final = parent / name
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)


def static_folder(root: Path, version: str) -> Path:
    """Where a static version lies."""
    return root / "static" / version


def static_folders(root: Path) -> list[Path]:
    """Of all static versions that are there, whether published or not, by name."""
    return [path for path in sorted((root / "static").glob("s-*")) if path.suffix != ".partial"]


def current_static(root: Path) -> StaticRecord | None:
    """The static version that the next dynamic refresh builds on; None where there is none yet.

    Raises:
        NotPublishedError: its record cannot be read, or there is a folder where the link should be.
    """
    link = root / "static" / CURRENT
    return StaticRecord.read(link.resolve()) if is_link(link) else None


def is_link(path: Path) -> bool:
    """Whether a link is there.

    Raises:
        NotPublishedError: there is a folder in its place.
    """
    if path.is_dir() and not path.is_symlink():
        raise NotPublishedError(
            f"{path} is a folder and no link: the warehouse was copied with its links followed. Copy it again with "
            "`cp -a`, or remove its folders `vectors` and `static` and refresh."
        )
    return path.is_symlink()


def make_current(root: Path, version: str) -> None:
    """Let the next dynamic refresh build on `version`, in one step."""
    link = root / "static" / f".{CURRENT}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    link.replace(root / "static" / CURRENT)


def write_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write one Lance table of a version."""
    lance.write_dataset(table, str(folder / f"{name}.lance"))


def replace_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write one Lance table of a version anew, in one step; no byte of the old one stays."""
    dataset = lance.write_dataset(table, str(folder / f"{name}.lance"), mode="overwrite")
    dataset.cleanup_old_versions(retain_versions=1, delete_unverified=True)


def read_table(folder: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Lance table of a version."""
    return lance.dataset(str(folder / f"{name}.lance")).to_table(columns=columns)


def check_table(folder: Path, name: str, version: str | None = None) -> None:
    """Look at every file of a Lance table, as written last or as tagged.

    Raises:
        NotPublishedError: one of them is gone or shorter than it should be.
    """
    try:
        lance.dataset(str(folder / f"{name}.lance"), version=version).validate()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise NotPublishedError(f"{folder}: {name} cannot be read ({reason}).") from None
