"""Reading the co-interaction graph as of a moment, by the SQL of `sql/graph/`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from gfm_store import progress
from gfm_store.config import GraphConfig
from gfm_store.errors import EmptyWarehouseError, UsageError, WarehouseError
from gfm_store.warehouse.connection import Warehouse

NOBODY = -1
"""As the fold that is left out."""
MAX_ITEM_TYPES = 100
"""Each pair of types is a relation with weights of its own: so many types take gigabytes, and hours."""


@dataclass(frozen=True)
class Interactions:
    """What is known of items by who touched them before a moment."""

    co_interaction: pa.Table
    """src, dst, src_type, dst_type (type indices), n_users, weight; both directions, by src."""
    user_set: pa.Table
    """user_index, fold, node: what each user touched, by user; further back than the edges."""


@dataclass(frozen=True)
class Folds:
    """What the HGNN learns from at a moment: what users touched, and for each fold of users the edges without them."""

    moment: datetime
    user_set: pa.Table
    """user_index, fold, node: what each user touched, by user; further back than the edges."""
    co_interaction: list[pa.Table]
    """By fold; src, dst, src_type, dst_type (type indices), n_users, weight; both directions, by src."""


@dataclass(frozen=True)
class GraphTables:
    """The graph as Arrow tables; nodes are numbered densely from 0 in the order of item_id."""

    item_node: pa.Table
    """node, item_id, item_type, type_index, language, genres, published_at, has_events, is_available."""
    item_text: pa.Table
    """node, text, text_hash; one row per node, in its order."""
    co_interaction: pa.Table
    """src, dst, src_type, dst_type (type indices), n_users, weight; both directions, by src."""
    co_interaction_edge: pa.Table
    """The same edges by item_id, as published."""
    folds: Folds
    """As of the graph's moment."""
    early_folds: Folds | None
    """As they stood before the last days; None where these are not asked for, or less than half was touched by then."""
    window_days: int
    """What the window was in the end: `GraphConfig.window_days`, or more where data is thin."""
    min_users: int
    """What the least number of users was in the end."""

    @property
    def item_types(self) -> list[str]:
        """Item types by type index."""
        return sorted(self.item_node["item_type"].unique().to_pylist())


def read_item_nodes(warehouse: Warehouse, as_of: datetime) -> pa.Table:
    """Number the items known at `as_of` and return them; `item_node` stays as a temporary table.

    Raises:
        EmptyWarehouseError: there is no event before `as_of`.
    """
    if not warehouse.scalar("SELECT count(*) FROM interaction_event WHERE event_ts < $as_of", as_of=as_of):
        first = warehouse.scalar("SELECT min(event_ts) FROM interaction_event")
        raise EmptyWarehouseError(
            f"{warehouse.root} holds no event before {as_of:%Y-%m-%d %H:%M}"
            + (f"; the first is at {first:%Y-%m-%d %H:%M}. Choose a later --as-of." if first else ".")
        )
    warehouse.create("graph/item_node", as_of=as_of)
    return warehouse.arrow("SELECT * FROM item_node ORDER BY node")


def read_graph(
    warehouse: Warehouse, as_of: datetime, config: GraphConfig, held_out_days: int = 0
) -> GraphTables:
    """Item nodes, their texts and their co-interactions inside the window that ends at `as_of`.

    Where fewer than `config.min_coverage` of the items touched inside the window have an edge, the window is
    doubled up to all of history, then `min_users` is lowered; both are said.

    Args:
        held_out_days: the last days, without which `early_folds` are made.

    Raises:
        EmptyWarehouseError: there is no event before `as_of`.
        UsageError: there are more than `MAX_ITEM_TYPES`.
        WarehouseError: an audit of `sql/audit/` found offending rows.
    """
    item_node = read_item_nodes(warehouse, as_of)
    _check_types(warehouse, item_node["item_type"].unique().sort().to_pylist())
    window_days, min_users = _make_edges(warehouse, as_of, config)
    audit(warehouse, "event_without_item")
    audit(warehouse, "duplicate_item")
    audit(warehouse, "one_way_edge")
    audit(warehouse, "weak_edge", min_users=min_users)
    co_interaction = _co_interaction(warehouse)
    co_interaction_edge = warehouse.select("graph/co_interaction_edge")
    folds = _read_folds(warehouse, as_of, config, window_days, min_users)
    early_folds, touched = None, folds.user_set.num_rows
    if held_out_days:
        before = as_of - timedelta(days=held_out_days)
        early_folds = _read_folds(warehouse, before, config, window_days, min_users)
    return GraphTables(
        item_node=item_node,
        item_text=warehouse.select("graph/item_text"),
        co_interaction=co_interaction,
        co_interaction_edge=co_interaction_edge,
        folds=folds,
        early_folds=early_folds if early_folds and 2 * early_folds.user_set.num_rows >= touched else None,
        window_days=window_days,
        min_users=min_users,
    )


def _check_types(warehouse: Warehouse, item_types: list[str]) -> None:
    if len(item_types) > MAX_ITEM_TYPES:
        some = ", ".join(map(repr, item_types[:3]))
        raise UsageError(
            f"{warehouse.root} holds {len(item_types):,} item types ({some}, ...). Each pair of them is a relation of "
            f"the graph, so there may be {MAX_ITEM_TYPES} at most: ingest into a new warehouse, since items keep their "
            "type, with a coarser item_type and what is finer in genres."
        )


def _read_folds(
    warehouse: Warehouse, moment: datetime, config: GraphConfig, window_days: int, min_users: int
) -> Folds:
    _create_interaction(warehouse, moment, config, window_days, config.newest_items_per_user)
    edges = []
    for fold in range(config.folds):
        _create_edges(warehouse, min_users, config, left_out_fold=fold)
        edges.append(_co_interaction(warehouse))
    return Folds(moment, read_user_set(warehouse, moment, config), edges)


def read_interactions(
    warehouse: Warehouse, moment: datetime, config: GraphConfig, window_days: int, min_users: int
) -> Interactions:
    """What was known before a moment, by the numbers of `item_node`, which may be of a later moment.

    Args:
        window_days, min_users: what they were in the end in a graph of the same warehouse.
    """
    _create_window(warehouse, moment, config, window_days, min_users)
    return Interactions(_co_interaction(warehouse), read_user_set(warehouse, moment, config))


def read_user_set(warehouse: Warehouse, moment: datetime, config: GraphConfig) -> pa.Table:
    """user_index, fold, node: what each user had touched before a moment, by the numbers of `item_node`."""
    _create_interaction(warehouse, moment, config, config.user_set_days, config.user_set_items)
    return warehouse.arrow("SELECT user_index, fold, node FROM graph_interaction ORDER BY user_index, node")


def _create_interaction(
    warehouse: Warehouse, moment: datetime, config: GraphConfig, window_days: int, newest_items: int
) -> None:
    warehouse.create(
        "graph/graph_interaction",
        as_of=moment,
        window_start=moment - timedelta(days=window_days),
        edge_signals=list(config.edge_signals),
        newest_items_per_user=newest_items,
        folds=config.folds,
    )


def _create_edges(warehouse: Warehouse, min_users: int, config: GraphConfig, left_out_fold: int) -> None:
    warehouse.create(
        "graph/co_interaction",
        min_users=min_users,
        strongest_neighbours=config.strongest_neighbours,
        left_out_fold=left_out_fold,
    )


def _create_window(
    warehouse: Warehouse, moment: datetime, config: GraphConfig, window_days: int, min_users: int
) -> None:
    """The edges of a window of just this length; `item_node` must have been made."""
    _create_interaction(warehouse, moment, config, window_days, config.newest_items_per_user)
    _create_edges(warehouse, min_users, config, left_out_fold=NOBODY)


def _co_interaction(warehouse: Warehouse) -> pa.Table:
    return warehouse.arrow("SELECT * FROM co_interaction ORDER BY src, dst_type, dst")


def read_edges(
    warehouse: Warehouse, as_of: datetime, config: GraphConfig, window_days: int, min_users: int
) -> pa.Table:
    """Columns src, dst: the co-interactions in a window of just this length; `item_node` must have been made."""
    _create_window(warehouse, as_of, config, window_days, min_users)
    return warehouse.arrow("SELECT src, dst FROM co_interaction ORDER BY src, dst")


def read_published_edges(
    warehouse: Warehouse, as_of: datetime, config: GraphConfig, window_days: int, min_users: int
) -> pa.Table:
    """The same by item_id, with their weights, as a version publishes them."""
    _create_window(warehouse, as_of, config, window_days, min_users)
    return warehouse.select("graph/co_interaction_edge")


def _make_edges(warehouse: Warehouse, as_of: datetime, config: GraphConfig) -> tuple[int, int]:
    """Make `co_interaction`; returns the window in days and the least number of users that it took."""
    first = warehouse.scalar("SELECT min(event_ts) FROM interaction_event")
    history_days = (as_of - first).days + 1
    window_days, min_users = config.window_days, config.min_users
    while True:
        _create_window(warehouse, as_of, config, window_days, min_users)
        coverage = warehouse.scalar(
            "SELECT (SELECT count(DISTINCT src) FROM co_interaction)"
            " / greatest((SELECT count(DISTINCT node) FROM graph_interaction), 1)"
        )
        enough = coverage >= config.min_coverage
        if enough or (window_days >= history_days and min_users == 1):
            break
        if window_days < history_days:
            window_days = min(2 * window_days, history_days)
        else:
            min_users -= 1
    if (window_days, min_users) != (config.window_days, config.min_users):
        progress.say(
            f"Graph: data is thin, so it reads {window_days} days (asked: {config.window_days}) with "
            f"min_users {min_users} (asked: {config.min_users}): {coverage:.0%} of the items there have an edge "
            f"(wanted: {config.min_coverage:.0%})."
        )
    return window_days, min_users


def audit(warehouse: Warehouse, name: str, **parameters: object) -> None:
    """Run an audit of `sql/audit/`: a SELECT that returns offending rows.

    Raises:
        WarehouseError: there are such rows; the message shows the first.
    """
    offending = warehouse.select(f"audit/{name}", **parameters)
    if offending.num_rows:
        raise WarehouseError(
            f"{warehouse.root}: audit {name} found {offending.num_rows:,} offending rows, the first: "
            f"{offending.slice(0, 1).to_pylist()[0]}. See sql/audit/{name}.sql."
        )
