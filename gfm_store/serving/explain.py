"""Why an item is recommended: what of the history carried it, measured by taking it away.

What a score is worth shows beside the other items: the *lift* of an item is its score less the mean score of what might
have been recommended. A reason's share is by how much the lift falls without it, among all that raises it; ranks are
those of a new ranking from the history without it. Nothing is read off weights or estimated.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.errors import UsageError
from gfm_store.schema import EXPLANATION
from gfm_store.serving.session import AskedUsers, Session
from gfm_store.warehouse.history import HistoryTables

MAX_REASONS = 5

Reason = tuple[str, str, float, int | None]
"""reason, item_id, share, rank_without."""


def explain(session: Session, user: AskedUsers, item_id: str) -> pa.Table:
    """The reasons of one user's score of one item, the greatest share first, as EXPLANATION.

    `reason` is `co_interaction` (an item of the history that shares an edge with the item), `history` (another one),
    or `popular` (what anybody without a history would be shown it for; its `item_id` is the item's own).

    Raises:
        UsageError: the item is not known, or not offered.
    """
    bound = session.bound
    target = int(bound.row_of_node[bound.known_nodes([item_id])[0]])
    offered = session.offered
    if target < 0 or not offered[target]:
        raise UsageError(f"item {item_id!r} is not offered at this moment, so there is nothing to explain.")
    in_market = session.in_market(user.country[0])
    offered = offered if in_market is None else offered & in_market
    edges = bound.tables.neighbours(item_id)
    if not user.has_history[0]:
        candidates = offered.copy()
        candidates[user.seen[1]] = False
        now = _rank(session.popularity.scores(user.country[0]), target, candidates)
        return _rows(session, [("popular", item_id, 1.0, None)], edges, now, None)
    return _explain(session, user, item_id, target, offered, edges)


def _explain(
    session: Session, user: AskedUsers, item_id: str, target: int, offered: np.ndarray, edges: pa.Table
) -> pa.Table:
    bound = session.bound
    history = session.history(user.user_id)
    everything = np.unique(history.user_event["node"].to_numpy())
    nodes = _read(history, bound.model.history_events)
    vectors = _vectors(session, history, [nodes[:0], everything, *nodes[:, None]])
    whole, nothing, each = vectors[0], vectors[1], vectors[2:]

    def rank(vector: np.ndarray, taken: np.ndarray) -> int:
        candidates = offered.copy()
        candidates[user.seen[1][~np.isin(user.seen[1], bound.row_of_node[taken])]] = False
        return _rank(bound.retrieval_vector @ vector, target, candidates)

    def rank_without(places: Sequence[int]) -> int:
        taken = nodes[list(places)]
        return rank(_vectors(session, history, [taken])[0], taken)

    direction = bound.retrieval_vector[target] - bound.retrieval_vector[offered].mean(axis=0)
    raised = np.maximum((whole - each) @ direction, 0)
    general = max(float(nothing @ direction), 0.0)
    raising = [int(place) for place in np.argsort(-raised, kind="stable") if raised[place] > 0]
    now = rank(whole, nodes[:0])
    ranks = {place: rank(each[place], nodes[[place]]) for place in raising[:MAX_REASONS]}
    named = [place for place in ranks if ranks[place] >= now]
    if rank_without(named) <= now:  # so few did not bring it where it is; perhaps all together did
        ranks |= {place: rank(each[place], nodes[[place]]) for place in raising[MAX_REASONS:]}
        named = [place for place in raising if ranks[place] >= now]
    without_all = rank_without(named)
    if without_all <= now:
        named, without_all = [], now
    linked = set(edges["item_id"].to_pylist())
    ids = bound.item_id.take(pa.array(nodes)).to_pylist()
    total = raised.sum() + general
    rows: list[Reason] = [
        (
            "co_interaction" if ids[place] in linked else "history",
            ids[place],
            float(raised[place] / total),
            ranks[place],
        )
        for place in named
    ]
    if general > 0:
        rows.append(("popular", item_id, general / total, rank(whole - nothing, nodes[:0])))
    return _rows(session, rows, edges, now, without_all)


def _read(history: HistoryTables, newest: int) -> np.ndarray:
    """(m,) the items of one user's `newest` events: the vector reads no others, so others are no reasons."""
    moment = history.user_event["event_ts"].to_numpy()
    since = np.sort(moment)[-newest:].min()
    read: np.ndarray = np.unique(history.user_event["node"].to_numpy()[moment >= since])
    return read


def _vectors(session: Session, history: HistoryTables, taken: Sequence[np.ndarray]) -> np.ndarray:
    """(len(taken), dim): one user's vector without all events on the items `taken`, each time."""
    return session.vectors(without(history, 0, taken))[0]


def without(history: HistoryTables, user: int, taken: Sequence[np.ndarray]) -> HistoryTables:
    """One user's history, as often as `taken` has entries: each time without the events on those nodes."""
    events = history.user_event.filter(pc.equal(history.user_event["user_index"], user))
    node = events["node"].to_numpy()
    kept = [np.nonzero(~np.isin(node, nodes))[0] for nodes in taken]
    copy = np.repeat(np.arange(len(taken), dtype=np.int32), [len(rows) for rows in kept])
    index = pa.array(np.arange(len(taken), dtype=np.int32))
    feature = history.user_feature.filter(pc.equal(history.user_feature["user_index"], user))
    return replace(
        history,
        user_node=pa.table({"user_index": index, "user_id": index.cast(pa.string())}),
        user_event=_renumbered(events.take(pa.array(np.concatenate(kept))), pa.array(copy)),
        user_feature=_renumbered(feature.take(pa.array([0] * len(taken))), index),
    )


def _renumbered(table: pa.Table, user_index: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index("user_index"), "user_index", user_index)


def _rank(scores: np.ndarray, target: int, candidates: np.ndarray) -> int:
    """Place of a row among the candidates, from 1; itself it need not be one."""
    return int((scores[candidates] > scores[target]).sum()) + 1


def _rows(
    session: Session, rows: list[Reason], edges: pa.Table, rank: int, without_all: int | None
) -> pa.Table:
    """As EXPLANATION, the greatest share first."""
    bound = session.bound
    rows = sorted(rows, key=lambda row: -row[2])
    ids = pa.array([row[1] for row in rows], pa.string())
    place = pc.index_in(ids, edges["item_id"].combine_chunks())
    node = pa.array(bound.nodes_of(ids.to_pylist()))
    title = bound.tables.open("item_embedding").take(node.to_pylist(), columns=["title"])["title"]
    return pa.table(
        [
            pa.array([row[0] for row in rows], pa.string()),
            ids,
            pa.array([row[2] for row in rows], pa.float64()),
            pa.array([row[3] for row in rows], pa.int64()),
            title,
            edges["n_users"].take(place),
            edges["weight"].take(place),
            pa.repeat(rank, len(rows)),
            pa.array([without_all] * len(rows), pa.int64()),
        ],
        schema=EXPLANATION,
    )
