"""Reading user histories, training pairs and item popularity, by the SQL of `sql/history/`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import TwoTowerConfig
from gfm_store.warehouse.catalogue import statement
from gfm_store.warehouse.connection import Warehouse

MIN_HISTORY_EVENTS = 5
"""Half of the training pairs should have this much history; where they have less, it is read further back."""


@dataclass(frozen=True)
class HistoryTables:
    """User histories as Arrow tables, by the dense numbers of `user_node` and `item_node`."""

    as_of: datetime
    user_node: pa.Table
    """user_index, user_id."""
    user_event: pa.Table
    """user_index, node, signal (0 strong, 1 weak, 2 skip), event_ts, n_before; by user, then time."""
    user_feature: pa.Table
    """user_index and the columns of user_profile; one row per user, in order."""
    history_days: int
    """How far back `user_event` reaches from any moment that it is asked for."""


@dataclass(frozen=True)
class TrainingTables:
    """What the two-tower learns from."""

    history: HistoryTables
    training_pair: pa.Table
    """user_index, node, event_ts, n_before; by time."""
    item_day: pa.Table
    """node, days_ago, n_streams; by node, then days_ago."""
    beginning: datetime
    """Where what is known begins; see `read_beginning`."""


def read_beginning(warehouse: Warehouse, as_of: datetime) -> datetime:
    """The first event before `as_of`, unless it and few others lie further from the rest than the rest is long."""
    (row,) = warehouse.select("history/beginning", as_of=as_of).to_pylist()
    beginning: datetime = row["event_ts"]
    if few := row["n_before"]:
        progress.say(
            f"Events far before all others: {few:,}. Windows reach back to {beginning:%Y-%m-%d} at most."
        )
    return beginning


def read_training(warehouse: Warehouse, as_of: datetime, config: TwoTowerConfig) -> TrainingTables:
    """Pairs of the last `train_days` and the histories before them; `item_node` must have been made.

    Where data is thin, the training window is doubled until it holds `min_pairs` and the history until half
    of the pairs have some; both are said.
    """
    warehouse.create("history/user_node", as_of=as_of)
    beginning = read_beginning(warehouse, as_of)
    whole = (as_of - beginning).days + 1
    train_days, history_days = config.train_days, config.history_days
    while True:
        train_start = as_of - timedelta(days=train_days)
        _create_user_event(warehouse, train_start - timedelta(days=history_days), as_of)
        n_pairs = warehouse.create("history/training_pair", train_start=train_start, as_of=as_of)
        if n_pairs < config.min_pairs and train_days < whole:
            train_days = min(2 * train_days, whole)
        elif _is_history_thin(warehouse) and history_days < whole:
            history_days = min(2 * history_days, whole)
        else:
            break
    if (train_days, history_days) != (config.train_days, config.history_days):
        progress.say(
            f"Two-tower: data is thin, so it learns from {train_days} days (asked: {config.train_days}) with "
            f"histories of {history_days} days (asked: {config.history_days}): {n_pairs:,} pairs."
        )
    return TrainingTables(
        history=_history_tables(warehouse, as_of, history_days),
        training_pair=warehouse.arrow("SELECT * FROM training_pair ORDER BY event_ts, user_index, node"),
        item_day=warehouse.select("history/item_day", as_of=as_of),
        beginning=beginning,
    )


def read_histories(
    warehouse: Warehouse, user_ids: pa.Array, item_id: pa.Array, as_of: datetime, history_days: int
) -> HistoryTables:
    """Histories of the given users alone, against items numbered by their place in `item_id`."""
    user_node = pa.table({"user_index": pa.array(range(len(user_ids)), pa.int32()), "user_id": user_ids})
    item_node = pa.table({"node": pa.array(range(len(item_id)), pa.int32()), "item_id": item_id})
    warehouse.register("user_node", user_node)
    warehouse.register("item_node", item_node)
    _create_user_event(warehouse, as_of - timedelta(days=history_days), as_of)
    return _history_tables(warehouse, as_of, history_days)


def _create_user_event(warehouse: Warehouse, history_start: datetime, as_of: datetime) -> None:
    warehouse.create("history/user_event", history_start=history_start, as_of=as_of)


def _is_history_thin(warehouse: Warehouse) -> bool:
    median = warehouse.scalar("SELECT median(n_before) FROM training_pair")
    return median is not None and median < MIN_HISTORY_EVENTS


def _history_tables(warehouse: Warehouse, as_of: datetime, history_days: int) -> HistoryTables:
    return HistoryTables(
        as_of=as_of,
        user_node=warehouse.arrow("SELECT user_index, user_id FROM user_node ORDER BY user_index"),
        user_event=warehouse.arrow("SELECT * FROM user_event ORDER BY user_index, event_ts, node, signal"),
        user_feature=warehouse.select("history/user_feature"),
        history_days=history_days,
    )


@dataclass(frozen=True)
class AskedTables:
    """What a request reads of its users."""

    history: HistoryTables
    """Without `n_before`."""
    seen_user: np.ndarray
    """(s,) user_index, ascending, and"""
    seen_node: np.ndarray
    """(s,) item of all that was ever streamed; pairs may repeat."""


def number_items(warehouse: Warehouse, item_id: pa.Array) -> None:
    """Make `item_node`, items numbered by their place in `item_id`, and `known_history` above it."""
    node = pa.array(np.arange(len(item_id), dtype=np.int32))
    warehouse.execute("DROP VIEW IF EXISTS known_history")
    warehouse.register("given_item_node", pa.table({"node": node, "item_id": item_id}))
    warehouse.execute("CREATE OR REPLACE TEMP TABLE item_node AS SELECT node, item_id FROM given_item_node")
    warehouse.connection.unregister("given_item_node")
    warehouse.execute(f"CREATE TEMP VIEW known_history AS\n{statement('history/known_history').text}")


def read_user_ids(warehouse: Warehouse) -> pa.Array:
    """All users with an event or a profile, ascending."""
    users = warehouse.arrow(
        "SELECT user_id FROM interaction_event UNION SELECT user_id FROM user_profile ORDER BY user_id"
    )
    ids: pa.Array = users["user_id"].combine_chunks()
    return ids


def read_asked(warehouse: Warehouse, user_ids: pa.Array, as_of: datetime, history_days: int) -> AskedTables:
    """Histories of the given users alone, in one pass; `number_items` comes first."""
    user_index = pa.array(np.arange(len(user_ids), dtype=np.int32))
    user_node = pa.table({"user_index": user_index, "user_id": user_ids})
    if len(user_ids) == 1:
        user = user_ids[0].as_py()
        event = warehouse.select("history/one_history", user=user, as_of=as_of)
        feature = warehouse.select("history/one_feature", user=user)
    else:
        warehouse.register("user_node", user_node)
        event = warehouse.select("history/asked_event", as_of=as_of)
        feature = warehouse.select("history/user_feature")
    return _asked(user_node, event, feature, as_of, history_days)


def given_history(
    warehouse: Warehouse,
    node: np.ndarray,
    signal: np.ndarray,
    event_ts: pa.Array,
    as_of: datetime,
    history_days: int,
) -> AskedTables:
    """The same for one user without a name, of whom these events are known, (E,) each."""
    event = pa.table(
        {
            "user_index": pa.array(np.zeros(len(node), dtype=np.int32)),
            "node": pa.array(node.astype(np.int32)),
            "signal": pa.array(signal.astype(np.int8)),
            "event_ts": event_ts,
        }
    )
    event = event.filter(pc.less(event["event_ts"], pa.scalar(as_of, pa.timestamp("us"))))
    event = event.sort_by([(name, "ascending") for name in ("event_ts", "node", "signal")])
    user_node = pa.table({"user_index": pa.array([0], pa.int32()), "user_id": pa.array([""])})
    feature = warehouse.select("history/one_feature", user="")
    return _asked(user_node, event, feature, as_of, history_days)


def _asked(
    user_node: pa.Table, event: pa.Table, feature: pa.Table, as_of: datetime, history_days: int
) -> AskedTables:
    start = pa.scalar(as_of - timedelta(days=history_days), pa.timestamp("us"))
    streamed = event.filter(pc.equal(event["signal"], 0))
    history = HistoryTables(
        as_of=as_of,
        user_node=user_node,
        user_event=event.filter(pc.greater_equal(event["event_ts"], start)),
        user_feature=feature,
        history_days=history_days,
    )
    return AskedTables(history, streamed["user_index"].to_numpy(), streamed["node"].to_numpy())


def read_recent_streams(warehouse: Warehouse, as_of: datetime, days: int) -> pa.Table:
    """`recent_stream` of the last days before `as_of`; further back while nobody streamed. Needs `item_node`."""
    first = warehouse.scalar("SELECT min(event_ts) FROM interaction_event")
    while True:
        start = as_of - timedelta(days=days)
        recent = warehouse.select("history/recent_stream", start=start, as_of=as_of)
        if recent.num_rows or first is None or start < first:
            return recent
        days *= 2


def read_withdrawn(warehouse: Warehouse, as_of: datetime) -> np.ndarray:
    """Items of `item_node`, by number, that were withdrawn by `as_of`."""
    withdrawn: np.ndarray = warehouse.select("history/withdrawn_item", as_of=as_of)["node"].to_numpy()
    return withdrawn
