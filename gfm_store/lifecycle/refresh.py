"""The two refreshes: read the warehouse, fit, check, and leave a version behind."""

import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.dynamic_layer.fitting import DynamicFit, fit_dynamic
from gfm_store.dynamic_layer.similarity import similarity_vectors
from gfm_store.errors import UsageError
from gfm_store.lifecycle.checks import check_item_embedding, check_retrieval, check_user_vector
from gfm_store.lifecycle.identity import fingerprint
from gfm_store.locks import exclusive
from gfm_store.schema import item_embedding_schema, item_search_schema, retrieval_schema, user_vector_schema
from gfm_store.serving.partition import choose_index
from gfm_store.static_layer.encoder import ItemEncoder
from gfm_store.static_layer.fitting import fit_static
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.arrow import to_arrow, to_numpy
from gfm_store.vectors.publication import kept_versions, publish, published_folder
from gfm_store.vectors.static_version import (
    current_static,
    make_current,
    new_folder,
    read_table,
    static_folder,
    write_table,
)
from gfm_store.vectors.text_cache import TextCache
from gfm_store.vectors.version import DynamicRecord, StaticRecord
from gfm_store.warehouse.connection import Warehouse, newest_event, open_warehouse
from gfm_store.warehouse.graph import read_graph, read_interactions, read_item_nodes
from gfm_store.warehouse.history import TrainingTables, read_training


@dataclass
class Stopwatch:
    """Wall seconds of named steps."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """The step that ends now was `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


def utc_now() -> datetime:
    """The wall clock, for records only: nothing is computed from it."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def _open(root: Path, config: Config) -> Warehouse:
    return open_warehouse(root, threads=config.threads, memory_limit=config.memory_limit)


def refresh_static(root: Path, config: Config, as_of: datetime | None = None) -> StaticRecord:
    """Build a static version as of a moment (default: just after the newest event) and make it current.

    Readers see nothing of it until a dynamic version is published on it. A version that exists already from
    the same inputs is not built again.

    Raises:
        EmptyWarehouseError: there is nothing before `as_of`.
        WarehouseLockedError: another refresh is at work.
    """
    with _open(root, config) as warehouse, exclusive(root, "refresh"):
        return _refresh_static(warehouse, config, as_of or newest_event(warehouse))


def _refresh_static(warehouse: Warehouse, config: Config, as_of: datetime) -> StaticRecord:
    root, watch = warehouse.root, Stopwatch()
    encoder = TextEncoder(config.text, str(choose_device(config)))
    read_item_nodes(warehouse, as_of)
    version = fingerprint("s-", warehouse, as_of, config, text=encoder.fingerprint)
    folder = static_folder(root, version)
    if folder.is_dir():
        make_current(root, version)
        progress.say(f"Static version {version} was built from the same inputs before; nothing to do.")
        return StaticRecord.read(folder)
    graph = read_graph(warehouse, as_of, config.graph)
    detail = warehouse.select("graph/item_detail")
    watch.lap("graph")
    text = encode_items(graph.item_text, encoder, TextCache(root, encoder.fingerprint))
    watch.lap("text")
    checkpoint = root / "cache" / f"{version}.safetensors"
    model = fit_static(graph, text, config, checkpoint)
    watch.lap("hgnn")
    item_embedding = _item_embedding(graph.item_node, detail, model.vectors, text, version)
    check_item_embedding(item_embedding)
    with new_folder(root / "static", version) as partial:
        model.encoder.save(partial)
        write_table(partial, "item_embedding", item_embedding)
        write_table(partial, "co_interaction_edge", graph.co_interaction_edge)
        watch.lap("write")
        record = StaticRecord(
            version=version,
            as_of=as_of,
            built_at=utc_now(),
            item_types=graph.item_types,
            n_items=graph.item_node.num_rows,
            n_edges=graph.co_interaction.num_rows,
            window_days=graph.window_days,
            min_users=graph.min_users,
            text_model=config.text.model,
            text_max_tokens=config.text.max_tokens,
            text_fingerprint=encoder.fingerprint,
            text_dim=text.shape[1],
            dim=model.vectors.shape[1],
            graph=config.graph,
            seed=config.seed,
            validation_mrr=max((epoch.validation_mrr for epoch in model.epochs), default=0.0),
            epochs=len(model.epochs),
            seconds=watch.seconds,
        )
        record.write(partial)
    make_current(root, version)
    checkpoint.unlink(missing_ok=True)
    return record


def _item_embedding(
    item_node: pa.Table, detail: pa.Table, vectors: np.ndarray, text: np.ndarray, version: str
) -> pa.Table:
    schema = item_embedding_schema(vectors.shape[1], text.shape[1])
    columns = {
        "item_id": item_node["item_id"],
        "item_type": item_node["item_type"],
        "vector": to_arrow(vectors),
        "text_vector": to_arrow(text),
        "embedding_version": pa.array([version]).take(pa.array(np.zeros(len(vectors), dtype=np.int64))),
        **{name: detail[name] for name in detail.column_names},
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def refresh_dynamic(root: Path, config: Config, as_of: datetime | None = None) -> DynamicRecord:
    """Fit the two-tower on the current static version and publish the pair.

    Without a static version one is built first, at the same moment, and this is said.

    Raises:
        EmptyWarehouseError: there is nothing before `as_of`.
        UsageError: the static version has seen events at or after `as_of`.
        WarehouseLockedError: another refresh is at work.
    """
    with _open(root, config) as warehouse, exclusive(root, "refresh"):
        as_of = as_of or newest_event(warehouse)
        item_node = read_item_nodes(warehouse, as_of)
        static = current_static(root)
        if static is None:
            progress.say("There is no static version yet, so it is built first.")
            static = _refresh_static(warehouse, config, as_of)
        if static.as_of > as_of:
            raise UsageError(
                f"The static version {static.version} is of {static.as_of:%Y-%m-%d %H:%M} and has seen events after "
                f"{as_of:%Y-%m-%d %H:%M}. Run `python -m jobs.refresh_static --as-of {as_of:%Y-%m-%dT%H:%M}` first."
            )
        return _refresh_dynamic(warehouse, config, as_of, item_node, static)


def _refresh_dynamic(
    warehouse: Warehouse, config: Config, as_of: datetime, item_node: pa.Table, static: StaticRecord
) -> DynamicRecord:
    root, watch = warehouse.root, Stopwatch()
    version = fingerprint("d-", warehouse, as_of, config, static=static.version)
    folder = root / "dynamic" / version
    if folder.is_dir() and version == _served(root):
        progress.say(f"Version {version} was built from the same inputs and is published; nothing to do.")
        return DynamicRecord.read(folder)
    detail = warehouse.select("graph/item_detail")
    encoder, text = _static_layer(warehouse, item_node, static, config)

    def vectors_at(moment: datetime) -> np.ndarray:
        known = read_interactions(warehouse, moment, encoder.graph, encoder.window_days, encoder.min_users)
        return encoder.vectors(item_node["item_type"], text, known)

    item_text = warehouse.select("graph/item_text")
    tables = read_training(warehouse, as_of, config.two_tower)
    watch.lap("read")
    fit = fit_dynamic(item_node, static.item_types, vectors_at, text, item_text, tables, config)
    vectors = fit.hgnn_vectors
    watch.lap("two-tower")
    item_type = fit.model.item_features(item_node, vectors, text).item_type.numpy()
    item_embedding = _item_embedding(item_node, detail, vectors, text, version)
    retrieval = _retrieval(item_node, fit, config, version)
    user_vector = _user_vector(tables, fit, vectors, item_type, as_of, version)
    words = warehouse.select("graph/item_words").add_column(0, "title", detail["title"])
    item_search = _item_search(item_node, words, similarity_vectors(text, vectors), fit.available, version)
    check_item_embedding(item_embedding)
    check_retrieval(retrieval)
    check_retrieval(item_search)
    check_user_vector(user_vector, retrieval)
    watch.lap("vectors")
    partition, index = choose_index(
        fit.item_vectors, to_numpy(user_vector["vector"]), config.serving, config.seed
    )
    watch.lap("index")
    record = DynamicRecord(
        version=version,
        static_version=static.version,
        as_of=as_of,
        built_at=utc_now(),
        n_items=retrieval.num_rows,
        n_users=user_vector.num_rows,
        n_pairs=tables.training_pair.num_rows,
        index=index,
        validation_ndcg=max((epoch.validation_ndcg for epoch in fit.epochs), default=0.0),
        epochs=len(fit.epochs),
        seconds=watch.seconds,
    )
    with new_folder(root / "dynamic", version) as partial:
        fit.model.save(partial)
        if partition is not None:
            partition.save(partial)
        record.write(partial)
    edges = read_table(static_folder(root, static.version), "co_interaction_edge")
    publish(
        root,
        record,
        {
            "retrieval": retrieval,
            "user_vector": user_vector,
            "item_embedding": item_embedding,
            "item_search": item_search,
            "co_interaction_edge": edges,
        },
        keep=config.serving.keep_versions,
    )
    _remove_unkept(root)
    return record


def _served(root: Path) -> str | None:
    """The version that readers see, if any."""
    return DynamicRecord.read(published_folder(root)).version if (root / "vectors").is_symlink() else None


def _static_layer(
    warehouse: Warehouse, item_node: pa.Table, static: StaticRecord, config: Config
) -> tuple[ItemEncoder, np.ndarray]:
    """The encoder and the text vectors (N, text_dim) of a static version by the nodes of `item_node`, which may hold
    items that came after it."""
    folder = static_folder(warehouse.root, static.version)
    embedded = read_table(folder, "item_embedding", ["item_id", "text_vector"])
    place = pc.index_in(item_node["item_id"], embedded["item_id"].combine_chunks()).combine_chunks()
    rows = pc.fill_null(place, -1).to_numpy()
    known = rows >= 0
    text = np.zeros((item_node.num_rows, static.text_dim), dtype=np.float32)
    text[known] = to_numpy(embedded["text_vector"])[rows[known]]
    if not known.all():
        text_encoder = TextEncoder(config.text, str(choose_device(config)))
        if text_encoder.fingerprint != static.text_fingerprint:
            raise UsageError(
                "text.model changed since the static version; run `python -m jobs.refresh_static` first."
            )
        new = pa.array(~known)
        cache = TextCache(warehouse.root, text_encoder.fingerprint)
        text[~known] = encode_items(warehouse.select("graph/item_text").filter(new), text_encoder, cache)
        progress.say(f"{(~known).sum():,} items came after the static version; the frozen HGNN embeds them.")
    encoder = ItemEncoder.load(
        folder, static.item_types, static.graph, static.window_days, static.min_users, static.seed
    )
    return encoder.numbered(rows), text


def _retrieval(item_node: pa.Table, fit: DynamicFit, config: Config, version: str) -> pa.Table:
    """The table that is searched: the available items."""
    schema = retrieval_schema(fit.model.dim)
    items = item_node.take(pa.array(fit.available))
    columns = {
        "item_id": items["item_id"],
        "item_type": items["item_type"],
        "vector": to_arrow(fit.item_vectors),
        "language": items["language"],
        "published_at": items["published_at"],
        "popularity": pa.array(_recent_streams(fit, config.serving.popular_days)),
        "embedding_version": pa.array([version] * items.num_rows, pa.string()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _item_search(
    item_node: pa.Table, words: pa.Table, vectors: np.ndarray, available: np.ndarray, version: str
) -> pa.Table:
    """The table of search and similarity: the available items, from words and vectors (N, dim) by node."""
    schema = item_search_schema(vectors.shape[1])
    items, words = item_node.take(pa.array(available)), words.take(pa.array(available))
    columns = {
        "item_id": items["item_id"],
        "item_type": items["item_type"],
        **{name: words[name] for name in words.column_names},
        "vector": to_arrow(vectors[available]),
        "language": items["language"],
        "published_at": items["published_at"],
        "embedding_version": pa.array([version] * items.num_rows, pa.string()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _recent_streams(fit: DynamicFit, days: int) -> np.ndarray:
    """(n,) float64: streams of each available item in the last days; further back while nobody streamed."""
    nodes, now = torch.from_numpy(fit.available), torch.tensor(-1)
    while True:
        counts = fit.popularity.count(nodes, now, torch.tensor(days))
        if counts.any() or days >= fit.popularity.num_days:
            return counts.double().numpy()
        days *= 2


def _user_vector(
    tables: TrainingTables,
    fit: DynamicFit,
    vectors: np.ndarray,
    item_type: np.ndarray,
    as_of: datetime,
    version: str,
) -> pa.Table:
    """Vectors of all users with a history at `as_of`."""
    blocks, kept = [], []
    for block, has_history in fit.model.user_vectors(tables.history, as_of, vectors, item_type):
        blocks.append(block[has_history])
        kept.append(has_history)
    users = tables.history.user_node["user_id"].filter(pa.array(np.concatenate(kept)))
    return pa.table(
        [
            users,
            to_arrow(np.concatenate(blocks)),
            pa.array([as_of] * len(users), pa.timestamp("us")),
            pa.array([version] * len(users), pa.string()),
        ],
        schema=user_vector_schema(fit.model.dim),
    )


def _remove_unkept(root: Path) -> None:
    """Remove weights of versions whose tables are not kept any more."""
    kept = set(kept_versions(published_folder(root)))
    records = {path.name: path for path in (root / "dynamic").iterdir() if path.is_dir()}
    current = current_static(root)
    parents = {current.version} if current else set()
    for name, path in records.items():
        if name in kept:
            parents.add(DynamicRecord.read(path).static_version)
        else:
            shutil.rmtree(path)
    for path in (root / "static").iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in parents:
            shutil.rmtree(path)
