"""The two refreshes: read the warehouse, fit, check, and leave a version behind."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from gfm_store import progress
from gfm_store.config import Config, warehouse_option
from gfm_store.device import choose_device
from gfm_store.dynamic_layer.fitting import DynamicFit, fit_dynamic
from gfm_store.dynamic_layer.held_out import LastDays
from gfm_store.dynamic_layer.moments import held_out_days
from gfm_store.dynamic_layer.similarity import similarity_vectors
from gfm_store.errors import UsageError
from gfm_store.lifecycle.before import (
    built_before,
    current_before,
    served_before,
    static_before,
    towards_served,
    towards_static,
)
from gfm_store.lifecycle.checks import (
    check_coverage,
    check_item_embedding,
    check_retrieval,
    check_user_vector,
    check_written,
)
from gfm_store.lifecycle.frozen import FrozenLayer
from gfm_store.lifecycle.gates import EARLY, Candidate, judge, refusal
from gfm_store.lifecycle.identity import SECTIONS, read_origin, version_name
from gfm_store.lifecycle.journal import utc_now
from gfm_store.lifecycle.oddities import moment_of, tell_what_is_not_listed
from gfm_store.lifecycle.refused import keep_refused, refuse, remove_refused
from gfm_store.lifecycle.staleness import measure_staleness
from gfm_store.lifecycle.storage import storage_errors
from gfm_store.lifecycle.tables import (
    item_embedding_rows,
    item_search_rows,
    retrieval_rows,
    user_vector_rows,
)
from gfm_store.lifecycle.versions import remove_unkept, taking_over
from gfm_store.locks import exclusive
from gfm_store.serving.index_choice import choose_index
from gfm_store.serving.partition import Partition
from gfm_store.static_layer.fitting import checkpoint_path, fit_static, unfinished
from gfm_store.static_layer.structure import unit
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import publish, publishing
from gfm_store.vectors.static_version import (
    make_current,
    new_folder,
    read_table,
    static_folder,
    write_table,
)
from gfm_store.vectors.text_cache import TextCache
from gfm_store.vectors.version import DynamicRecord, StaticRecord
from gfm_store.warehouse.connection import Warehouse, open_warehouse
from gfm_store.warehouse.graph import read_graph, read_item_nodes
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


def _open(root: Path, config: Config) -> Warehouse:
    return open_warehouse(root, threads=config.threads, memory_limit=config.memory_limit)


def refresh_static(root: Path, config: Config, as_of: datetime | None = None) -> StaticRecord:
    """Build a static version as of a moment (default: just after the newest event) and make it current.

    Readers see nothing of it until a dynamic version is published on it. A version that exists already from
    the same inputs is not built again.

    Raises:
        EmptyWarehouseError: there is nothing before `as_of`.
        UsageError: there are more item types than it takes, or nobody has a history at so late an `as_of`.
        WarehouseLockedError: another refresh is at work.
        WarehouseError: a file could not be read or written.
    """
    with storage_errors(root), _open(root, config) as warehouse, exclusive(root, "refresh"):
        return _refresh_static(warehouse, config, moment_of(warehouse, as_of, config), current_before(root))


def _refresh_static(
    warehouse: Warehouse, config: Config, as_of: datetime, current: StaticRecord | None
) -> StaticRecord:
    root, watch = warehouse.root, Stopwatch()
    encoder = TextEncoder(config.text, str(choose_device(config)))
    read_item_nodes(warehouse, as_of)
    origin = read_origin("s-", warehouse, as_of, config)
    days = held_out_days(warehouse, as_of, config)
    parents = {"text": encoder.fingerprint, "held_out_days": str(days)}
    inputs = version_name("s-", origin, as_of, **parents)
    built = static_before(root, inputs)
    if built is not None and _made_current(root, built.version):
        progress.say(f"Static version {built.version} was built from the same inputs before; nothing to do.")
        return built
    graph = read_graph(warehouse, as_of, config.graph, days)
    detail = warehouse.select("graph/item_detail")
    watch.lap("graph")
    text = encode_items(graph.item_text, encoder, TextCache(root, encoder.fingerprint))
    watch.lap("text")
    model = fit_static(graph, text, config, checkpoint_path(root, inputs))
    watch.lap("hgnn")
    version, aligned = inputs, None
    if current is not None and (turn := towards_static(root, current, graph.item_node, model)) is not None:
        rotation, aligned = turn
        model = model.rotated(rotation)
        version = version_name("s-", origin, as_of, **parents, aligned=aligned.version)
    item_embedding = item_embedding_rows(graph.item_node, detail, model.vectors, text, version)
    check_item_embedding(item_embedding)
    watch.lap("vectors")
    record = StaticRecord(
        version=version,
        inputs=inputs,
        aligned=aligned,
        origin=origin,
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
        seen_until=None if graph.early_folds is None else graph.early_folds.moment,
        validation_mrr=model.epochs[-1].validation_mrr if model.epochs else 0.0,
        epochs=len(model.epochs),
        seconds=watch.seconds,
    )
    with publishing(root):
        with new_folder(root / "static", version) as partial:
            model.encoder.save(partial)
            write_table(partial, "item_embedding", item_embedding)
            write_table(partial, "co_interaction_edge", graph.co_interaction_edge)
            record.write(partial)
        make_current(root, version)
    for path in unfinished(root):
        path.unlink()
    return record


def _made_current(root: Path, version: str) -> bool:
    """Unless it is gone: what is neither current nor published goes when versions are pruned."""
    with publishing(root):
        there = static_folder(root, version).is_dir()
        if there:
            make_current(root, version)
        return there


def refresh_dynamic(root: Path, config: Config, as_of: datetime | None = None) -> DynamicRecord:
    """Fit the two-tower on the current static version and publish the pair.

    Without a static version one is built first, at the same moment, and this is said.

    Raises:
        GateError: it does not pass; what was served stays.
        EmptyWarehouseError: there is nothing before `as_of`.
        UsageError: the static version has seen events at or after `as_of`, or nobody has a history at so late an
            `as_of`.
        WarehouseLockedError: another refresh is at work.
        WarehouseError: a file could not be read or written.
    """
    with storage_errors(root), _open(root, config) as warehouse, exclusive(root, "refresh"):
        as_of = moment_of(warehouse, as_of, config)
        item_node = read_item_nodes(warehouse, as_of)
        tell_what_is_not_listed(warehouse, as_of)
        static = current_before(root)
        if static is None:
            progress.say("There is no static version, so it is built first.")
            static = _refresh_static(warehouse, config, as_of, current=None)
        if static.as_of > as_of:
            raise UsageError(
                f"The static version {static.version} is of {static.as_of:%Y-%m-%d %H:%M} and has seen events after "
                f"{as_of:%Y-%m-%d %H:%M}. Run `python -m jobs.refresh_static {warehouse_option(root)} "
                f"--as-of {as_of:%Y-%m-%dT%H:%M}` first."
            )
        _tell_other_settings(root, config, static)
        return _refresh_dynamic(warehouse, config, as_of, item_node, static)


def _tell_other_settings(root: Path, config: Config, static: StaticRecord) -> None:
    """A dynamic refresh takes the static layer as it was built, whatever is set for it since."""
    now = config.inputs(*SECTIONS["s-"])
    other = [name for name, value in now.items() if value != static.origin.settings.get(name)]
    if other:
        progress.say(
            f"Other settings than those of {static.version} ({', '.join(other)}) wait for "
            f"`python -m jobs.refresh_static {warehouse_option(root)}`."
        )


def _refresh_dynamic(
    warehouse: Warehouse, config: Config, as_of: datetime, item_node: pa.Table, static: StaticRecord
) -> DynamicRecord:
    root, watch = warehouse.root, Stopwatch()
    origin, served = read_origin("d-", warehouse, as_of, config), served_before(root)
    inputs = version_name("d-", origin, as_of, static=static.version)
    if (built := built_before(root, inputs, served)) is not None:
        return built
    frozen = FrozenLayer(warehouse, item_node, static, config)
    text = frozen.text
    item_text = warehouse.select("graph/item_text")
    tables = read_training(warehouse, as_of, config.two_tower)
    profile = warehouse.arrow("SELECT * FROM user_profile")
    watch.lap("read")
    fit = fit_dynamic(item_node, static.item_types, frozen.vectors_at, text, item_text, tables, config)
    vectors = unit(fit.hgnn_vectors)
    watch.lap("two-tower")
    version, aligned = inputs, None
    if served is not None and (turn := towards_served(root, item_node, fit)) is not None:
        rotation, aligned = turn
        fit = fit.rotated(rotation)
        version = version_name("d-", origin, as_of, static=static.version, aligned=aligned.version)
    rows = _rows(warehouse, item_node, static, fit, vectors, text, tables, version, config)
    watch.lap("vectors")
    partition, index = choose_index(
        fit.item_vectors,
        to_numpy(rows["user_vector"]["vector"]),
        rows["retrieval"],
        config.serving,
        config.seed,
    )
    watch.lap("index")
    days = None
    if fit.early is not None:
        days = LastDays(item_node, item_text, tables, fit.lexical, fit.held_out_days, config)
    held_out = judge(warehouse, item_node, Candidate(fit, days, static, text, config), served)
    watch.lap("quality")
    staleness = measure_staleness(warehouse, as_of, item_node, vectors, static, config.gates)
    watch.lap("staleness")
    record = DynamicRecord(
        version=version,
        inputs=inputs,
        aligned=aligned,
        staleness=staleness,
        static_version=static.version,
        origin=origin,
        follows=None if served is None else served.version,
        as_of=as_of,
        built_at=utc_now(),
        n_items=rows["retrieval"].num_rows,
        n_users=rows["user_vector"].num_rows,
        n_pairs=tables.training_pair.num_rows,
        index=index,
        held_out=held_out,
        refused=refusal(held_out, config.gates),
        seconds=watch.seconds,
    )

    return _publish(root, record, rows, fit, partition, profile, config.serving.keep_versions)


def _rows(
    warehouse: Warehouse,
    item_node: pa.Table,
    static: StaticRecord,
    fit: DynamicFit,
    vectors: np.ndarray,
    text: np.ndarray,
    tables: TrainingTables,
    version: str,
    config: Config,
) -> dict[str, pa.Table]:
    """The tables that a version publishes, checked."""
    detail = warehouse.select("graph/item_detail")
    words = warehouse.select("graph/item_words").add_column(0, "title", detail["title"])
    item_type = fit.model.item_features(item_node, vectors, text).item_type.numpy()
    found = similarity_vectors(text, vectors)
    rows = {
        "retrieval": retrieval_rows(item_node, fit, config, version),
        "user_vector": user_vector_rows(tables, fit, vectors, item_type, tables.history.as_of, version),
        "item_embedding": item_embedding_rows(item_node, detail, vectors, text, version),
        "item_search": item_search_rows(item_node, words, found, fit.available, version),
        "co_interaction_edge": read_table(
            static_folder(warehouse.root, static.version), "co_interaction_edge"
        ),
    }
    check_item_embedding(rows["item_embedding"])
    check_retrieval(rows["retrieval"])
    check_retrieval(rows["item_search"])
    check_user_vector(rows["user_vector"], rows["retrieval"])
    check_coverage(rows["retrieval"], item_node, rows["user_vector"], tables.history)
    return rows


def _publish(
    root: Path,
    record: DynamicRecord,
    rows: dict[str, pa.Table],
    fit: DynamicFit,
    partition: Partition | None,
    profile: pa.Table,
    keep: int,
) -> DynamicRecord:
    """Let readers see a version, or keep it beside the served one where gates refuse it.

    Raises:
        GateError: they do.
    """

    def write_weights(folder: Path) -> None:
        fit.model.save(folder)
        if partition is not None:
            partition.save(folder)
        if fit.early is not None:
            (folder / EARLY).mkdir()
            fit.early.save(folder / EARLY)
        write_table(folder, "user_profile", profile)
        record.write(folder)

    if record.refused is not None:
        keep_refused(root, record, write_weights, rows)
        raise refuse(root, record)
    with publishing(root):
        record = taking_over(root, record)
        with new_folder(root / "dynamic", record.version) as partial:
            write_weights(partial)
        publish(root, record, rows, keep, lambda folder: check_written(folder, record))
        remove_refused(root)
        remove_unkept(root)
    return record
