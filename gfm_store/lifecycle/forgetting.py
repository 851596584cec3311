"""Forgetting a user: out of the warehouse, out of every kept version, out of caches and reports.

The steps may be repeated: a run that was killed is finished by the next one with the same user.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict

from gfm_store import program, progress
from gfm_store.config import Config, GraphConfig
from gfm_store.dynamic_layer.history import Popularity
from gfm_store.dynamic_layer.model import SETTINGS
from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.lifecycle.journal import utc_now
from gfm_store.lifecycle.refused import remove_refused
from gfm_store.lifecycle.storage import storage_errors
from gfm_store.lifecycle.tables import recent_streams
from gfm_store.lifecycle.versions import remove_unkept
from gfm_store.locks import exclusive
from gfm_store.schema import CO_INTERACTION_EDGE
from gfm_store.static_layer.fitting import unfinished
from gfm_store.vectors.publication import (
    TABLES,
    Tables,
    dynamic_folder,
    is_published,
    kept_versions,
    open_table,
    published_folder,
    publishing,
    rewrite,
)
from gfm_store.vectors.static_version import read_table, replace_table, static_folder, static_folders
from gfm_store.vectors.version import DynamicRecord, Origin, StaticRecord
from gfm_store.warehouse.connection import Warehouse, open_warehouse, rewrite_warehouse
from gfm_store.warehouse.forgetting import RemovedRows, remove_user
from gfm_store.warehouse.graph import read_item_nodes, read_published_edges
from gfm_store.warehouse.sample.truth import truth_folder

CERTIFICATES = "certificates"
TELLING_LENGTH = 8
"""Ids as short as less than this stand in files by chance: bytes are not searched for them."""


class Certificate(BaseModel):
    """What was removed of a user. It does not name the user: the hash is that of `forgotten_user`."""

    model_config = ConfigDict(frozen=True)

    user_hash: str
    forgotten_at: datetime
    package: str
    events: int
    profiles: int
    quarantined_rows: int
    user_vectors: dict[str, int]
    """Rows removed from `user_vector`, by kept version."""
    edges: dict[str, tuple[int, int]]
    """Directed edges before and after, by static version: as in a rebuild without the user."""
    evaluation_parts: int
    """Finished parts of evaluations, all of them, since they hold lists of users."""
    reports: list[str]
    trained_with: list[str]
    """Versions whose weights were trained while the user was there. The next refreshes replace them; old ones go with
    `jobs.versions prune`."""
    still_in_files: list[str]
    """Files under the warehouse that hold the id's bytes nevertheless, such as lists that somebody wrote there."""


def forget_user(root: Path, user_id: str, config: Config) -> tuple[Certificate, Path]:
    """Remove a user everywhere under the warehouse; the certificate and where it was written.

    Raises:
        EmptyWarehouseError: there is no warehouse.
        UsageError: there is no trace of such a user; nothing was changed.
        WarehouseLockedError: an ingest, a refresh or an evaluation is at work.
    """
    open_warehouse(root).close()
    with storage_errors(root), exclusive(root, "refresh"), exclusive(root, "evaluation"):
        removed, moment = _forget_rows(root, user_id, config)
        with (
            open_warehouse(root, threads=config.threads, memory_limit=config.memory_limit) as warehouse,
            publishing(root),
        ):
            progress.say("Rewriting the versions that are kept.")
            remove_refused(root)
            statics = [StaticRecord.read(folder) for folder in static_folders(root)]
            edges = {one.version: _rewrite_static(warehouse, one) for one in statics}
            versions = _read_dynamic(root)
            user_vectors = _rewrite_published(warehouse, versions, user_id)
            for record in versions:
                _forget_profile(dynamic_folder(root, record.version), user_id)
        parts, reports = _remove_evaluations(root, user_id)
        _remove_from_truth(root, user_id)
        there: list[StaticRecord | DynamicRecord] = [*statics, *versions]
        certificate = Certificate(
            user_hash=removed.user_hash,
            forgotten_at=moment,
            package=program.version(),
            events=removed.n_events,
            profiles=removed.n_profiles,
            quarantined_rows=removed.n_rejected,
            user_vectors=user_vectors,
            edges=edges,
            evaluation_parts=parts,
            reports=reports,
            trained_with=[one.version for one in there if _saw(one, removed)],
            still_in_files=[str(path.relative_to(root)) for path in files_with(root, user_id)],
        )
        return certificate, _write(root, certificate)


def _forget_rows(root: Path, user_id: str, config: Config) -> tuple[RemovedRows, datetime]:
    moment = utc_now()
    with rewrite_warehouse(
        root, threads=config.threads, memory_limit=config.memory_limit, compact=True
    ) as warehouse:
        removed = remove_user(warehouse, user_id, moment)
        if removed.is_empty and removed.forgotten_before is None and not _has_vector(root, user_id):
            raise UsageError(
                f"{root} holds no trace of that user, so nothing was changed for them. Ids are compared letter by "
                "letter."
            )
    return removed, moment


def _has_vector(root: Path, user_id: str) -> bool:
    if not is_published(root):
        return False
    folder = published_folder(root)
    return any(
        pc.any(pc.equal(batch["user_id"], user_id)).as_py()
        for version in kept_versions(folder)
        for batch in open_table(folder, "user_vector", version).to_batches(columns=["user_id"])
    )


def _saw(one: StaticRecord | DynamicRecord, removed: RemovedRows) -> bool:
    """Whether the user may have been there when a version was trained."""
    before, event, ingest = removed.forgotten_before, removed.first_event, removed.first_ingest
    if before is not None and one.built_at <= before:
        return True
    return (
        event is not None and ingest is not None and event < one.as_of and ingest <= one.origin.last_ingest_id
    )


def _read_dynamic(root: Path) -> list[DynamicRecord]:
    if not is_published(root):
        return []
    names = kept_versions(published_folder(root))
    return [DynamicRecord.read(dynamic_folder(root, name)) for name in names]


def _rewrite_static(warehouse: Warehouse, record: StaticRecord) -> tuple[int, int]:
    """Edges and counts as a rebuild without the user has them; how many edges there were and are."""
    folder = static_folder(warehouse.root, record.version)
    before = read_table(folder, "co_interaction_edge", ["n_users"]).num_rows
    with _then(warehouse, record.as_of, record.origin):
        try:
            read_item_nodes(warehouse, record.as_of)
            config = GraphConfig.model_validate(record.origin.settings["graph"])
            edges = read_published_edges(
                warehouse, record.as_of, config, record.window_days, record.min_users
            )
        except EmptyWarehouseError:  # nobody else was there
            edges = CO_INTERACTION_EDGE.empty_table()
    replace_table(folder, "co_interaction_edge", edges)
    record.model_copy(update={"n_edges": edges.num_rows}).write(folder)
    return before, edges.num_rows


def _rewrite_published(warehouse: Warehouse, versions: list[DynamicRecord], user_id: str) -> dict[str, int]:
    """All kept versions anew, without the user; how many user vectors went, by version."""
    if not versions:
        return {}
    root, folder = warehouse.root, published_folder(warehouse.root)
    served = DynamicRecord.read(folder)
    removed, rewritten = {}, []
    for record in versions:
        users = open_table(folder, "user_vector", record.version)
        n_gone = removed[record.version] = sum(
            pc.sum(pc.equal(batch["user_id"], user_id)).as_py() or 0
            for batch in users.to_batches(columns=["user_id"])
        )
        record = record.model_copy(update={"n_users": users.count_rows() - n_gone})
        record.write(dynamic_folder(root, record.version))
        rewritten.append(record)
    # One version's tables at a time: together they may be more than memory holds.
    tables = ((record, _tables_without(warehouse, folder, record, user_id)) for record in rewritten)
    now = next(record for record in rewritten if record.version == served.version)
    rewrite(root, tables, now.model_copy(update={"follows": served.follows}))
    remove_unkept(root)
    return removed


def _tables_without(warehouse: Warehouse, folder: Path, record: DynamicRecord, user_id: str) -> Tables:
    found = {name: open_table(folder, name, record.version) for name in TABLES}
    retrieval = found["retrieval"].to_table()
    place = retrieval.schema.get_field_index("popularity")
    popularity = pa.array(_popularity(warehouse, record, retrieval["item_id"]), pa.float64())
    users = (
        batch.filter(pc.not_equal(batch["user_id"], user_id)) for batch in found["user_vector"].to_batches()
    )
    # What no user stands in is copied as it is.
    return {
        **{name: _reader(one.schema, one.to_batches()) for name, one in found.items()},
        "retrieval": retrieval.set_column(place, "popularity", popularity),
        "user_vector": _reader(found["user_vector"].schema, users),
        "co_interaction_edge": read_table(
            static_folder(warehouse.root, record.static_version), "co_interaction_edge"
        ),
    }


def _reader(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches)


def _popularity(warehouse: Warehouse, record: DynamicRecord, item_id: pa.ChunkedArray) -> list[float]:
    """Recent streams of a version's items, counted without the user."""
    with _then(warehouse, record.as_of, record.origin):
        try:
            item_node = read_item_nodes(warehouse, record.as_of)
        except EmptyWarehouseError:
            return [0.0] * len(item_id)
        item_day = warehouse.select("history/item_day", as_of=record.as_of)
    popularity = Popularity.from_table(item_day, ())
    node = pc.index_in(item_id, item_node["item_id"].combine_chunks()).fill_null(-1).to_numpy()
    days = record.origin.settings["serving"]["popular_days"]
    counts: list[float] = recent_streams(popularity, torch.from_numpy(node.astype("int64")), days).tolist()
    return counts


def _then(warehouse: Warehouse, as_of: datetime, origin: Origin) -> AbstractContextManager[None]:
    """The events that a version was made from, less the forgotten."""
    last = origin.last_ingest_id
    return warehouse.stand_in(
        "interaction_event", "history/event_then", as_of=as_of, last_ingest_id=last, later_ingest_id=last
    )


def _forget_profile(folder: Path, user_id: str) -> None:
    """The profile goes, and values that nobody else had stand in no vocabulary any more."""
    profile = read_table(folder, "user_profile")
    profile = profile.filter(pc.not_equal(profile["user_id"], user_id))
    replace_table(folder, "user_profile", profile)
    for path in folder.rglob(SETTINGS):
        settings = json.loads(path.read_text(encoding="utf-8"))
        for name, values in settings["user_vocabulary"].items():
            there = set(profile[name].unique().to_pylist())
            # Empty text is never looked up: ingest takes it for unknown.
            settings["user_vocabulary"][name] = [value if value in there else "" for value in values]
        partial = path.with_name(f".{path.name}.new")
        partial.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)


def _remove_evaluations(root: Path, user_id: str) -> tuple[int, list[str]]:
    """Parts of evaluations hold lists of users, and reports show some by name."""
    parts = list((root / "evaluation").glob("*.npz*"))
    for path in parts:
        path.unlink()
    for path in unfinished(root):
        path.unlink()  # of an interrupted refresh: trained with the user
    removed = []
    report = root / "report"
    if _report_names(report / "metrics.json", user_id):
        for name in ("report.html", "metrics.json"):
            if (report / name).exists():
                (report / name).unlink()
                removed.append(f"report/{name}")
    return len(parts), removed


def _report_names(metrics: Path, user_id: str) -> bool:
    if not metrics.exists():
        return False
    try:
        examples = json.loads(metrics.read_text(encoding="utf-8"))["examples"]
        return any(one["user"] == user_id for one in examples)
    except (ValueError, KeyError, TypeError):
        return True  # whatever it is, it is not what the evaluation writes


def _remove_from_truth(root: Path, user_id: str) -> None:
    """A made world's users have a hidden truth."""
    path = truth_folder(root) / "user.parquet"
    if path.exists():
        users = pq.read_table(path)
        partial = path.with_name(".user.parquet.new")
        pq.write_table(users.filter(pc.not_equal(users["user_id"], user_id)), partial)
        partial.replace(path)


def files_with(root: Path, user_id: str) -> Iterator[Path]:
    """Files under a warehouse that hold the bytes of an id; of short ids, which stand anywhere by chance, none."""
    wanted = user_id.encode()
    if len(wanted) < TELLING_LENGTH:
        return
    for path in sorted(_files(root)):
        if _holds(path, wanted):
            yield path


def _files(root: Path) -> Iterable[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _holds(path: Path, wanted: bytes) -> bool:
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(2**22):
            piece = rest + piece
            if wanted in piece:
                return True
            rest = piece[-len(wanted) :]
    return False


def _write(root: Path, certificate: Certificate) -> Path:
    folder = root / CERTIFICATES
    folder.mkdir(exist_ok=True)
    path = folder / f"{certificate.forgotten_at:%Y%m%dT%H%M%S}-{certificate.user_hash[:12]}.json"
    path.write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
