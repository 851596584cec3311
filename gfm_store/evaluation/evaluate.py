"""The evaluation: fit at the cut, rank every candidate, compare with baselines tuned before the cut."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.dynamic_layer.fitting import DynamicFit, fit_dynamic
from gfm_store.errors import UsageError
from gfm_store.evaluation.baselines import USERS_AT_ONCE, Baseline, ItemKNN, Popularity
from gfm_store.evaluation.metrics import LIST_LENGTH, METRICS, Estimate, bootstrap, per_user
from gfm_store.evaluation.split import Split, read_split
from gfm_store.serving.ranking import top_k
from gfm_store.static_layer.fitting import fit_static
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.text_cache import TextCache
from gfm_store.warehouse.connection import Warehouse, newest_event
from gfm_store.warehouse.graph import read_graph
from gfm_store.warehouse.history import read_histories, read_training


@dataclass(frozen=True)
class Row:
    """One system on the test window."""

    name: str
    settings: str
    metrics: dict[str, Estimate]
    ratio_to_model: float | None
    """NDCG@10 of the model over this system's."""
    difference: Estimate | None
    """NDCG@10 of the model minus this system's, paired by user."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured: one cut, one horizon, the same users and candidates for every row."""

    as_of: datetime
    horizon_days: int
    n_users: int
    n_candidates: int
    rows: list[Row]


def evaluate(warehouse: Warehouse, config: Config, as_of: datetime | None, horizon_days: int) -> Evaluation:
    """Fit everything on what is before the cut and rank the horizon's new items.

    Args:
        as_of: the cut; None means `horizon_days` before the newest event.

    Raises:
        UsageError: there is nothing to predict.
        EmptyWarehouseError: there is nothing before the cut.
    """
    if horizon_days < 1:
        raise UsageError(f"--horizon-days is {horizon_days}; it must be at least 1.")
    as_of = as_of or newest_event(warehouse) - timedelta(days=horizon_days)
    tuned = [(kind, _tune(kind, warehouse, as_of, horizon_days)) for kind in (Popularity, ItemKNN)]
    split = read_split(warehouse, as_of, horizon_days)
    measured = {"gfm-store": _measure_model(warehouse, split, config)}
    settings = {"gfm-store": ""}
    for kind, best in tuned:
        measured[kind.__name__] = per_user(
            _rank(split, best.scores(split)), split.target_user, split.target_node
        )
        settings[kind.__name__] = str(best).partition("(")[2].rstrip(")")
    return Evaluation(
        as_of,
        horizon_days,
        len(split.user_id),
        int(split.candidates.sum()),
        [_row(name, settings[name], values, measured["gfm-store"]) for name, values in measured.items()],
    )


def _row(name: str, settings: str, values: dict[str, np.ndarray], model: dict[str, np.ndarray]) -> Row:
    mine, theirs = model["NDCG@10"], values["NDCG@10"]
    is_model = values is model
    return Row(
        name,
        settings,
        {metric: bootstrap(values[metric]) for metric in METRICS},
        None if is_model or not theirs.any() else float(mine.mean() / theirs.mean()),
        None if is_model else bootstrap(mine - theirs),
    )


def _tune(kind: type[Baseline], warehouse: Warehouse, as_of: datetime, horizon_days: int) -> Baseline:
    """The settings of `kind` with the best NDCG@10 on a window of the same length before the cut."""
    split = read_split(warehouse, as_of - timedelta(days=horizon_days), horizon_days)
    best, best_ndcg = next(kind.grid()), -1.0
    points = list(kind.grid())
    with progress.task(f"Tune {kind.__name__}", len(points), "settings") as task:
        for point in points:
            ranked = _rank(split, point.scores(split))
            ndcg = per_user(ranked, split.target_user, split.target_node)["NDCG@10"].mean()
            if ndcg > best_ndcg:
                best, best_ndcg = point, ndcg
            task.advance()
    return best


def _rank(split: Split, blocks: Iterator[np.ndarray]) -> np.ndarray:
    """(U, 50) the best candidates that the user had not streamed, by node."""
    user, node = split.seen()
    ranked = []
    for i, block in enumerate(blocks):
        mine = (user >= i * USERS_AT_ONCE) & (user < (i + 1) * USERS_AT_ONCE)
        block[user[mine] - i * USERS_AT_ONCE, node[mine]] = -np.inf
        block[:, ~split.candidates] = -np.inf
        k = min(LIST_LENGTH, block.shape[1])
        top = np.argpartition(-block, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(block, top, axis=1)
        order = np.lexsort((top, -scores), axis=1)
        top = np.take_along_axis(top, order, axis=1)
        ranked.append(np.where(np.take_along_axis(block, top, axis=1) == -np.inf, -1, top))
    return np.concatenate(ranked)


def _measure_model(warehouse: Warehouse, split: Split, config: Config) -> dict[str, np.ndarray]:
    """Fit both layers at the cut, exactly as the refreshes do, and rank by one dot product."""
    fit, vectors, item_type = _fit_at(warehouse, split.as_of, config)
    tables = read_histories(
        warehouse,
        split.user_id,
        split.item_node["item_id"].combine_chunks(),
        split.as_of,
        fit.model.history_days,
    )
    users = np.concatenate(
        [block for block, _ in fit.model.user_vectors(tables, split.as_of, vectors, item_type)]
    )
    row_of_node = np.full(split.item_node.num_rows, -1, dtype=np.int64)
    row_of_node[fit.available] = np.arange(len(fit.available))
    seen_user, seen_node = split.seen()
    row = row_of_node[seen_node]
    ranked = top_k(
        users,
        fit.item_vectors,
        LIST_LENGTH,
        (seen_user[row >= 0], row[row >= 0]),
        split.candidates[fit.available],
    )
    nodes = np.where(ranked.row < 0, -1, fit.available[ranked.row])
    return per_user(nodes, split.target_user, split.target_node)


def _fit_at(
    warehouse: Warehouse, as_of: datetime, config: Config
) -> tuple[DynamicFit, np.ndarray, np.ndarray]:
    """Both layers as of the cut; nothing is published. Returns the fit, item vectors and item types by node."""
    graph = read_graph(warehouse, as_of, config.graph)
    encoder = TextEncoder(config.text, str(choose_device(config)))
    text = encode_items(graph.item_text, encoder, TextCache(warehouse.root, encoder.fingerprint))
    static = fit_static(graph, text, config)
    tables = read_training(warehouse, as_of, config.two_tower)
    fit = fit_dynamic(graph.item_node, graph.item_types, static.vectors, text, tables, config)
    item_type = graph.item_node["type_index"].to_numpy().astype(np.int64)
    return fit, static.vectors, item_type
