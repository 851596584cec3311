"""One cut in time for everybody: what is known before it, and what users newly streamed after it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import read_item_nodes

FIRST_ITEMS = 5
"""Headline targets: the first items that a user newly streams in the horizon."""


@dataclass(frozen=True)
class Split:
    """Shapes: U users with a target, N items known at the cut, P users before the cut."""

    as_of: datetime
    horizon_days: int
    item_node: pa.Table
    candidates: np.ndarray
    """(N,) bool: what is ranked: available at the cut and warm (with an event before it)."""
    user_id: pa.Array
    """(U,) users with a headline target."""
    target_user: np.ndarray
    """Positions in `user_id`, one per target."""
    target_node: np.ndarray
    """The items, by node."""
    streams: sparse.csr_array
    """(P, N): days from the last stream of the item to the cut (at least 0), stored where there was one."""
    known_user: np.ndarray
    """(U,) int64: row of `streams`, or -1 for a user who is new altogether."""

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `user_id` and nodes of what the users streamed before the cut."""
        known = (self.known_user >= 0).nonzero()[0]
        rows = self.streams[self.known_user[known]].tocoo()
        return known[rows.row], rows.col.astype(np.int64)


def read_split(warehouse: Warehouse, as_of: datetime, horizon_days: int) -> Split:
    """Split at `as_of`; the labels are in [as_of, as_of + horizon).

    Raises:
        EmptyWarehouseError: there is no event before the cut.
        UsageError: nobody newly streams a known item in the horizon.
    """
    item_node = read_item_nodes(warehouse, as_of)
    warehouse.create("history/user_node", as_of=as_of)
    user_node = warehouse.arrow("SELECT user_id FROM user_node ORDER BY user_index")[
        "user_id"
    ].combine_chunks()
    before = warehouse.select("history/user_item", as_of=as_of)
    target = warehouse.select(
        "history/hold_out_target", as_of=as_of, horizon_end=as_of + timedelta(days=horizon_days)
    )
    available = item_node["is_available"].to_numpy(zero_copy_only=False)
    candidates = available & item_node["has_events"].to_numpy(zero_copy_only=False)
    warm = target.filter(pc.and_(target["is_warm"], pc.less_equal(target["place"], FIRST_ITEMS)))
    warm = warm.filter(pa.array(candidates[warm["node"].to_numpy().astype(np.int64)]))
    if not warm.num_rows:
        raise UsageError(
            f"Nobody newly streams a known item in the {horizon_days} days after {as_of:%Y-%m-%d}: there is nothing "
            "to predict. Choose an earlier --as-of or a longer --horizon-days."
        )
    user_id = warm["user_id"].combine_chunks().unique()
    days = (
        np.datetime64(as_of, "us") - before["last_ts"].to_numpy().astype("datetime64[us]")
    ) / np.timedelta64(1, "D")
    streams = sparse.csr_array(
        (days.astype(np.float64), (before["user_index"].to_numpy(), before["node"].to_numpy())),
        shape=(len(user_node), item_node.num_rows),
    )
    return Split(
        as_of=as_of,
        horizon_days=horizon_days,
        item_node=item_node,
        candidates=candidates,
        user_id=user_id,
        target_user=pc.index_in(warm["user_id"].combine_chunks(), user_id).to_numpy().astype(np.int64),
        target_node=warm["node"].to_numpy().astype(np.int64),
        streams=streams,
        known_user=pc.fill_null(pc.index_in(user_id, user_node), -1)
        .to_numpy(zero_copy_only=False)
        .astype(np.int64),
    )
