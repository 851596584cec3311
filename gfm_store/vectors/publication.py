"""Publishing: one atomic step for all tables.

    <warehouse>/vectors -> publications/7      what `lancedb.connect("<warehouse>/vectors")` opens
    <warehouse>/publications/6, 7              real folders; the one before stays for readers that are open

A publication starts as a copy of the one before, made of hard links. New table versions are committed
inside the copy, and one rename of a symbolic link puts it in place. Lance files never change once written,
so a handle that was opened before goes on reading the old table version, through the new folder.
Each published table version is tagged with its `embedding_version`, and the tags' order is that in which the
versions were first published; the newest table version is the one that is served.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from gfm_store.config import warehouse_option
from gfm_store.errors import NotPublishedError
from gfm_store.locks import exclusive
from gfm_store.vectors.indexes import build_indexes
from gfm_store.vectors.static_version import is_link
from gfm_store.vectors.version import DynamicRecord

TABLES = ("retrieval", "user_vector", "item_embedding", "item_search", "co_interaction_edge")
LINK = "vectors"
PUBLICATIONS = "publications"
PATIENCE = 30.0
"""Seconds to wait for another publication to end: each takes about one."""

Tables = Mapping[str, pa.Table | pa.RecordBatchReader]


def is_published(root: Path) -> bool:
    """Whether readers see anything yet.

    Raises:
        NotPublishedError: there is a folder where the link should be.
    """
    return is_link(root / LINK)


def published_folder(root: Path) -> Path:
    """The real folder that `vectors` points to at this moment: what belongs together is read from it.

    Raises:
        NotPublishedError: nothing is published yet.
    """
    if not is_published(root):
        raise NotPublishedError(
            f"{root} has no published version yet. Build one with "
            f"`python -m jobs.refresh_dynamic {warehouse_option(root)}`."
        )
    return (root / LINK).resolve()


def publication_mark(root: Path) -> Path | None:
    """What is another one whenever something else was published, and costs next to nothing to look at; None before."""
    try:
        return (root / LINK).readlink()
    except OSError:
        return None


def published_since(root: Path) -> datetime:
    """When readers were last switched to another publication, in UTC."""
    moment = datetime.fromtimestamp((root / LINK).lstat().st_mtime, UTC)
    return moment.replace(tzinfo=None, microsecond=0)


def dynamic_folder(root: Path, version: str) -> Path:
    """Where the weights and the record of a dynamic version lie.

    Raises:
        NotPublishedError: it is no name of a version: tags of tables are given by whoever wrote them.
    """
    if not re.fullmatch(r"d-\w+", version, re.ASCII):
        raise NotPublishedError(f"{version!r} is no name of a version.")
    return root / "dynamic" / version


def open_table(folder: Path, name: str, version: str | None = None) -> lance.LanceDataset:
    """A table of a publication, as of a kept `embedding_version` or as published last.

    Raises:
        NotPublishedError: the version is not kept, or the table is damaged.
    """
    path = folder / f"{name}.lance"
    try:
        return lance.dataset(str(path), version=version)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
    if version is not None and version not in (kept := kept_versions(folder)):
        raise NotPublishedError(f"version {version!r} is not kept in {folder}; there are: {', '.join(kept)}.")
    raise NotPublishedError(
        f"{folder}: {name} cannot be read ({reason}). The next `python -m jobs.refresh_dynamic` builds another version."
    )


def nearest(folder: Path, vectors: np.ndarray, k: int) -> list[list[str]]:
    """item_id of what a plain search of `retrieval`, without options, finds for each of (n, dim) vectors."""
    import lancedb  # starts a thread when it is imported: not before a server has forked its workers

    table = lancedb.connect(str(folder)).open_table("retrieval")
    searches = (table.search(vector).select(["item_id", "_distance"]).limit(k) for vector in vectors)
    return [search.to_arrow()["item_id"].to_pylist() for search in searches]


def kept_versions(folder: Path) -> list[str]:
    """The embedding versions that a publication keeps, in the order in which they were first published."""
    return _tagged(open_table(folder, "retrieval"))


def table_bytes(folder: Path, version: str | None) -> dict[str, int]:
    """Bytes on disk of each table of a kept version; None means the newest."""
    sizes = {}
    for name in TABLES:
        data = folder / f"{name}.lance" / "data"
        files = {
            file.path
            for fragment in open_table(folder, name, version).get_fragments()
            for file in fragment.data_files()
        }
        sizes[name] = sum((data / path).stat().st_size for path in files)
    return sizes


@contextmanager
def publishing(root: Path) -> Iterator[None]:
    """Nobody else publishes, rolls back or prunes inside the block.

    Raises:
        WarehouseLockedError: somebody does, and goes on for longer than `PATIENCE`.
    """
    with exclusive(root, "publication", PATIENCE):
        yield


def publish(
    root: Path,
    record: DynamicRecord,
    tables: Tables,
    keep: int,
    check: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Make `record`'s version, with all of `TABLES`, what readers see; the newest `keep` versions stay readable.

    Args:
        check: looks at the publication before anybody reads it; what it raises leaves readers where they are.

    A process killed at any moment leaves readers on the old publication or on the new one; what it left
    behind is removed by the next call. Tables that cannot be opened any more are begun anew.
    """
    with _next_publication(root, anew=not _opens(root)) as partial:
        for name in TABLES:
            before = open_table(partial, name).version if (partial / f"{name}.lance").exists() else None
            dataset = write_version(partial, name, tables[name], record.version)
            # What was served until now goes last, however old it is: a rollback goes back to it.
            for tag in sorted(_tagged(dataset), key={record.follows, record.version}.__contains__)[:-keep]:
                dataset.tags.delete(tag)
            _clean(dataset, before)  # not the one that readers have open
        record.write(partial)
        check(partial)


def republish(root: Path, record: DynamicRecord) -> None:
    """Make a kept version what readers see, as it was; takes no copy of the data."""
    with _next_publication(root) as partial:
        for name in TABLES:
            open_table(partial, name, record.version).restore()
        record.write(partial)


def prune(root: Path, keep: int) -> list[str]:
    """Keep the newest `keep` versions and the served one; returns what was dropped.

    Where something is, no publication stays for readers that are open: they would keep its space.
    """
    folder = published_folder(root)
    served = DynamicRecord.read(folder).version
    dropped = [tag for tag in kept_versions(folder)[:-keep] if tag != served]
    if not dropped:
        return dropped
    with _next_publication(root) as partial:
        for name in TABLES:
            dataset = open_table(partial, name)
            for tag in dropped:
                dataset.tags.delete(tag)
            _clean(dataset)
    _remove_all_but(root, {published_folder(root).name})
    return dropped


def write_version(
    folder: Path, name: str, rows: pa.Table | pa.RecordBatchReader, version: str
) -> lance.LanceDataset:
    """Write one table of a version into a publication that nobody reads yet, as its newest."""
    path = folder / f"{name}.lance"
    dataset = lance.write_dataset(rows, str(path), mode="overwrite" if path.exists() else "create")
    build_indexes(dataset, name)
    if version in dataset.tags.list():
        dataset.tags.update(version, dataset.version)
    else:
        dataset.tags.create(version, dataset.version)
    return dataset


def rewrite(root: Path, versions: Iterable[tuple[DynamicRecord, Tables]], served: DynamicRecord) -> None:
    """Write all kept versions anew, in the order given, and remove every file of the old ones."""
    with _next_publication(root, anew=True) as partial:
        for record, tables in versions:
            for name in TABLES:
                write_version(partial, name, tables[name], record.version)
        if kept_versions(partial)[-1] != served.version:
            for name in TABLES:
                open_table(partial, name, served.version).restore()
        served.write(partial)
    _remove_all_but(root, {published_folder(root).name})


@contextmanager
def _next_publication(root: Path, anew: bool = False) -> Iterator[Path]:
    """A copy of what is published, in hard links, that becomes what readers see at the end of the block.

    Args:
        anew: begin with an empty folder instead.
    """
    publications = root / PUBLICATIONS
    publications.mkdir(exist_ok=True)
    current = published_folder(root) if is_published(root) else None
    number = int(current.name) + 1 if current else 1
    # What killed writers left, and publications that no reader can still need.
    _remove_all_but(root, {current.name, str(number - 2)} if current else set())
    partial = publications / f"{number}.partial"
    try:
        if current and not anew:
            shutil.copytree(current, partial, copy_function=os.link)
        else:
            partial.mkdir()
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    final = publications / str(number)
    partial.rename(final)
    new_link = root / f".{LINK}.new"
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(Path(PUBLICATIONS) / final.name)
    new_link.replace(root / LINK)


def _opens(root: Path) -> bool:
    """Whether all that is published can be gone on from."""
    if not is_published(root):
        return False
    try:
        for name in TABLES:
            open_table(published_folder(root), name)
    except NotPublishedError:
        return False
    return True


def _tagged(dataset: lance.LanceDataset) -> list[str]:
    tags = dataset.tags.list()
    return sorted(tags, key=lambda tag: tags[tag]["version"])


def _clean(dataset: lance.LanceDataset, before: int | None = None) -> None:
    """Remove the files that no tag needs, nor the newest table version, nor the version `before`."""
    needed = {before, dataset.version, *(tag["version"] for tag in dataset.tags.list().values())}
    unneeded = [one["version"] for one in dataset.versions() if one["version"] not in needed]
    if unneeded:
        dataset.cleanup_old_versions(versions=unneeded, delete_unverified=True)


def _remove_all_but(root: Path, keep: set[str]) -> None:
    for folder in (root / PUBLICATIONS).iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder)
