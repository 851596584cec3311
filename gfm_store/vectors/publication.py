"""Publishing: one atomic step for all tables.

    <warehouse>/vectors -> publications/7      what `lancedb.connect("<warehouse>/vectors")` opens
    <warehouse>/publications/6, 7              real folders; the one before stays for readers that are open

A publication starts as a copy of the one before, made of hard links. New table versions are committed
inside the copy, and one rename of a symbolic link puts it in place. Lance files never change once written,
so a handle that was opened before goes on reading the old table version, through the new folder.
Each published table version is tagged with its `embedding_version`.
"""

import os
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import lance
import pyarrow as pa

from gfm_store.errors import NotPublishedError
from gfm_store.vectors.indexes import build_indexes
from gfm_store.vectors.version import DynamicRecord

TABLES = ("retrieval", "user_vector", "item_embedding", "item_search", "co_interaction_edge")
LINK = "vectors"


def published_folder(root: Path) -> Path:
    """The real folder that `vectors` points to at this moment: what belongs together is read from it.

    Raises:
        NotPublishedError: nothing is published yet.
    """
    link = root / LINK
    if not link.is_symlink():
        raise NotPublishedError(
            f"{root} has no published version yet. Build one with `python -m jobs.refresh_dynamic --warehouse {root}`."
        )
    return link.resolve()


def open_table(folder: Path, name: str, version: str | None = None) -> lance.LanceDataset:
    """A table of a publication, as of a kept `embedding_version` or as published last.

    Raises:
        NotPublishedError: the version is not kept, or the table is damaged.
    """
    path = folder / f"{name}.lance"
    try:
        return lance.dataset(str(path), version=version)
    except (ValueError, OSError, KeyError) as error:
        what = f"version {version!r} of {name} is not kept" if version else f"{name} cannot be read"
        raise NotPublishedError(f"{folder}: {what} ({str(error).splitlines()[0][:200]}).") from None


def kept_versions(folder: Path) -> list[str]:
    """The embedding versions that a publication keeps, oldest first."""
    tags = open_table(folder, "retrieval").tags.list()
    return sorted(tags, key=lambda tag: tags[tag]["version"])


def publish(
    root: Path, record: DynamicRecord, tables: Mapping[str, pa.Table | pa.RecordBatchReader], keep: int
) -> None:
    """Make `record`'s version, with all of `TABLES`, what readers see; the newest `keep` versions stay readable.

    A process killed at any moment leaves readers on the old publication or on the new one; what it left
    behind is removed by the next call.
    """
    publications = root / "publications"
    publications.mkdir(exist_ok=True)
    link = root / LINK
    current = published_folder(root) if link.is_symlink() else None
    number = int(current.name) + 1 if current else 1
    _remove_leftovers(publications, current)
    partial = publications / f"{number}.partial"
    if current:
        shutil.copytree(current, partial, copy_function=os.link)
    else:
        partial.mkdir()
    for name in TABLES:
        path = str(partial / f"{name}.lance")
        dataset = lance.write_dataset(
            tables[name], path, mode="overwrite" if Path(path).exists() else "create"
        )
        build_indexes(dataset, name)
        _tag(dataset, record.version)
        _forget_old(dataset, keep)
    record_file = partial / "record.json"
    record_file.unlink(missing_ok=True)  # a hard link: writing through it would change the old publication
    record.write(partial)
    final = publications / str(number)
    partial.rename(final)
    new_link = root / f".{LINK}.new"
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(Path("publications") / final.name)
    new_link.replace(link)


def _tag(dataset: lance.LanceDataset, version: str) -> None:
    if version in dataset.tags.list():
        dataset.tags.update(version, dataset.version)
    else:
        dataset.tags.create(version, dataset.version)


def _forget_old(dataset: lance.LanceDataset, keep: int) -> None:
    """Drop the tags of all but the newest `keep` versions, and the files that no tag needs."""
    tags = dataset.tags.list()
    for tag in sorted(tags, key=lambda tag: tags[tag]["version"])[:-keep]:
        dataset.tags.delete(tag)
    dataset.cleanup_old_versions(
        older_than=timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
    )


def _remove_leftovers(publications: Path, current: Path | None) -> None:
    """Remove what killed publishes left, and publications that no reader can still need."""
    keep = {current.name} if current else set()
    if current:
        keep.add(str(int(current.name) - 1))
    for folder in publications.iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder)
