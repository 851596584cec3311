"""The versions that are kept, and changing which of them readers see."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gfm_store.errors import NotPublishedError, UsageError
from gfm_store.lifecycle.storage import storage_errors
from gfm_store.lifecycle.whole import whole_dynamic
from gfm_store.vectors.publication import (
    dynamic_folder,
    is_published,
    kept_versions,
    prune,
    published_folder,
    publishing,
    republish,
    table_bytes,
)
from gfm_store.vectors.static_version import current_static, static_folder
from gfm_store.vectors.version import REFUSED, DynamicRecord, StaticRecord


@dataclass(frozen=True)
class KeptVersion:
    """A version that is kept, on its static parent; refused ones cannot be opened."""

    record: DynamicRecord
    parent: Path
    """Where its static version lies."""
    is_served: bool
    folder: Path
    """Where its tables lie."""
    tag: str | None
    """What its table versions are called there; None where there are no others."""
    table_bytes: dict[str, int]
    """By table, on disk."""
    weight_bytes: int
    """Of the dynamic layer and of its static parent, which versions may share."""

    @property
    def static(self) -> StaticRecord:
        """The static version that it stands on.

        Raises:
            NotPublishedError: its record is not there or is torn.
        """
        return StaticRecord.read(self.parent)

    @property
    def n_bytes(self) -> int:
        """On disk, all together."""
        return sum(self.table_bytes.values()) + self.weight_bytes


def served_record(root: Path) -> DynamicRecord | None:
    """Of the version that readers see, if any."""
    return DynamicRecord.read(published_folder(root)) if is_published(root) else None


def taking_over(root: Path, record: DynamicRecord) -> DynamicRecord:
    """The record of a version that takes over from what is served now. To be called inside `publishing` alone."""
    try:
        served = served_record(root)
    except NotPublishedError:  # its record is torn
        return record
    if served is None or served.version == record.version:
        return record
    return record.model_copy(update={"follows": served.version})


def read_versions(root: Path) -> list[KeptVersion]:
    """All versions that are kept, in the order in which they were first published; one that was refused comes last.

    Raises:
        NotPublishedError: nothing is published yet, or a version is not whole.
    """
    folder = published_folder(root)
    served = DynamicRecord.read(folder).version
    kept = [_read(root, folder, version, served) for version in kept_versions(folder)]
    return kept + _refused(root)


def find_version(root: Path, version: str) -> KeptVersion:
    """One kept version.

    Raises:
        NotPublishedError: it is not kept; the message names those that are.
    """
    versions = {one.record.version: one for one in read_versions(root)}
    if version not in versions:
        raise NotPublishedError(
            f"version {version!r} is not kept in {root}; there are: {', '.join(versions)}."
        )
    return versions[version]


def _read(root: Path, folder: Path, version: str, served: str) -> KeptVersion:
    weights = dynamic_folder(root, version)
    return _kept(root, weights, folder, version, version == served)


def refused_record(root: Path) -> DynamicRecord | None:
    """The version that a gate refused last, if it is there."""
    folders = [path for path in (root / REFUSED).glob("d-*") if path.suffix != ".partial"]
    return DynamicRecord.read(folders[0] / "weights") if folders else None


def _refused(root: Path) -> list[KeptVersion]:
    record = refused_record(root)
    if record is None:
        return []
    folder = root / REFUSED / record.version
    return [_kept(root, folder / "weights", folder / "tables", None, False)]


def _kept(root: Path, weights: Path, folder: Path, tag: str | None, is_served: bool) -> KeptVersion:
    record = DynamicRecord.read(weights)
    parent = static_folder(root, record.static_version)
    return KeptVersion(
        record=record,
        parent=parent,
        is_served=is_served,
        folder=folder,
        tag=tag,
        table_bytes=table_bytes(folder, tag),
        weight_bytes=_bytes(weights) + _bytes(parent),
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def publish_version(root: Path, version: str) -> DynamicRecord:
    """Make a kept version what readers see; nothing is computed, so it takes a moment.

    Raises:
        NotPublishedError: it is not kept, or it is torn.
        WarehouseLockedError: another publication is at work.
    """
    with storage_errors(root), publishing(root):
        names = kept_versions(published_folder(root))
        if version not in names:
            raise NotPublishedError(
                f"version {version!r} is not kept in {root}; there are: {', '.join(names)}."
            )
        record = whole_dynamic(root, published_folder(root), version)
        if version != DynamicRecord.read(published_folder(root)).version:
            republish(root, taking_over(root, record))
        return record


def roll_back(root: Path) -> DynamicRecord:
    """Let readers see the version that the served one took over from, or else the one published before it.

    Raises:
        NotPublishedError: nothing is published yet, or the earlier one is torn.
        UsageError: no earlier one is kept.
        WarehouseLockedError: another publication is at work.
    """
    with storage_errors(root), publishing(root):
        folder = published_folder(root)
        names, served = kept_versions(folder), DynamicRecord.read(folder)
        earlier = names[: names.index(served.version)]
        before = served.follows if served.follows in names else earlier[-1] if earlier else None
        if before is None:
            raise UsageError(
                f"{served.version} is the oldest version that is kept in {root}: there is none to roll back to."
            )
        record = whole_dynamic(root, folder, before)
        republish(root, record)
        return record


def prune_versions(root: Path, keep: int) -> list[str]:
    """Keep the newest `keep` versions and the served one, and free the space of the others.

    Returns:
        The versions that are gone.

    Raises:
        NotPublishedError: nothing is published yet.
        UsageError: `keep` is below 1.
        WarehouseLockedError: another publication is at work.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least 1 version must stay.")
    with storage_errors(root), publishing(root):
        published_folder(root)
        dropped = prune(root, keep)
        remove_unkept(root)
        return dropped


def remove_unkept(root: Path) -> None:
    """Remove weights of versions whose tables are not kept any more. To be called inside `publishing` alone."""
    kept = set(kept_versions(published_folder(root)))
    for path in (root / "dynamic").iterdir():
        if path.name not in kept:
            shutil.rmtree(path)
    try:
        current, refused = current_static(root), refused_record(root)
        parents = {DynamicRecord.read(path).static_version for path in (root / "dynamic").iterdir()}
    except NotPublishedError:
        return  # a torn record does not tell its parent, so all of them stay
    parents |= {current.version} if current else set()
    parents |= {refused.static_version} if refused else set()
    for path in (root / "static").iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in parents:
            shutil.rmtree(path)
