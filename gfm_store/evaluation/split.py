"""One cut in time for everybody: what is known before it, and what users newly streamed after it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import read_item_nodes

MAX_USERS = 20_000
"""Users who are evaluated at most."""

EncodeText = Callable[[pa.Table], np.ndarray]
"""Columns `text` and `text_hash`, n rows, to (n, text_dim) float32."""


@dataclass(frozen=True, eq=False)
class Split:
    """Everything a system may know, and what it is asked.

    Shapes: N items (the first K are known at the cut; the others come inside the horizon and are listed only where
    the catalogue is taken as known), P users with an event before the cut, U users with a target, n targets, T types.
    """

    as_of: datetime
    horizon_days: int
    item: pa.Table
    """(N,) node, item_id, item_type, title, language, genres, published_at, markets, has_events, is_available,
    is_known; text is what the sentence transformer reads."""
    text_vector: np.ndarray
    """(N, text_dim) float32: sentence vectors, unit length, zero where there is no text."""
    streams: sparse.csr_array
    """(P, N): days from the last stream of the item to the cut (at least 0), stored where there was one."""
    user_id: pa.Array
    """(U,)."""
    country: pa.Array
    """(U,) text, null where it is not known."""
    known_user: np.ndarray
    """(U,) int64: row of `streams`, or -1 for a user who is new altogether."""
    target_user: np.ndarray
    """(n,) int64: positions in `user_id`, ascending; the targets of a user in the order of time."""
    target_node: np.ndarray
    """(n,) int64."""

    @cached_property
    def available(self) -> np.ndarray:
        """(N,) bool: what may be recommended at the cut."""
        return self._flag("is_available")

    @cached_property
    def warm(self) -> np.ndarray:
        """(N,) bool: items with an event before the cut."""
        return self._flag("has_events")

    @cached_property
    def known(self) -> np.ndarray:
        """(N,) bool: items that were there at the cut at all."""
        return self._flag("is_known")

    @cached_property
    def item_types(self) -> list[str]:
        """(T,) types of the items that are known at the cut, sorted: the type indices of the model."""
        return sorted(self.item.filter(self.item["is_known"])["item_type"].unique().to_pylist())

    @cached_property
    def type_index(self) -> np.ndarray:
        """(N,) int64: positions in `item_types`; -1 for a type that only comes later."""
        index = pc.index_in(self.item["item_type"], pa.array(self.item_types))
        return pc.fill_null(index, -1).to_numpy().astype(np.int64)

    def seen(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `users` (b,), positions in `user_id`, streamed before the cut: positions in `users`, and nodes."""
        known = (self.known_user[users] >= 0).nonzero()[0]
        rows = self.streams[self.known_user[users[known]]].tocoo()
        return known[rows.row], rows.col.astype(np.int64)

    def without_streams(self, users: np.ndarray) -> np.ndarray:
        """(b,) bool: which of `users` (b,), positions in `user_id`, streamed nothing before the cut."""
        known = self.known_user[users]
        count = np.append(np.diff(self.streams.indptr), 0)  # a new user's -1 finds the last
        without: np.ndarray = count[known] == 0
        return without

    def profile(self, users: np.ndarray) -> sparse.csr_array:
        """(b, N): the rows of `streams` of `users` (b,), positions in `user_id`; a new user's row is empty."""
        position, node = self.seen(users)
        known = users[self.known_user[users] >= 0]
        data = self.streams[self.known_user[known]].data
        return sparse.csr_array((data, (position, node)), shape=(len(users), self.item.num_rows))

    def offered_elsewhere(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items with markets that are without the country of `users` (b,): positions in `users`, and nodes.

        Where the country is not known, nothing is.
        """
        node, countries, offered = self._offers
        country = self.country.take(pa.array(users))
        code = pc.fill_null(pc.index_in(country, countries), len(countries)).to_numpy()
        row, place = (~offered[code] & country.is_valid().to_numpy(zero_copy_only=False)[:, None]).nonzero()
        return row, node[place]

    @cached_property
    def _offers(self) -> tuple[np.ndarray, pa.Array, np.ndarray]:
        """Nodes of the m items with markets, all c countries there, and (c + 1, m) bool: which is offered where."""
        markets = self.item["markets"].combine_chunks()
        node, place = np.unique(
            pc.list_parent_indices(markets).to_numpy(zero_copy_only=False), return_inverse=True
        )
        market = pc.list_flatten(markets)
        countries = market.unique().drop_null()
        offered = np.zeros((len(countries) + 1, len(node)), dtype=bool)
        there = market.is_valid().to_numpy(zero_copy_only=False)
        offered[_index_in(market, countries)[there], place[there]] = True
        return node.astype(np.int64), countries, offered

    def _flag(self, name: str) -> np.ndarray:
        flags: np.ndarray = self.item[name].to_numpy(zero_copy_only=False)
        return flags


def read_split(
    warehouse: Warehouse, as_of: datetime, horizon_days: int, encode: EncodeText, max_users: int = MAX_USERS
) -> Split:
    """Split at `as_of`; the labels are in [as_of, as_of + horizon).

    Args:
        encode: sentence vectors of texts.
        max_users: with more users than this, as many are drawn at random.

    Raises:
        EmptyWarehouseError: there is no event before the cut.
        UsageError: nobody newly streams anything in the horizon.
    """
    horizon_end = as_of + timedelta(days=horizon_days)
    read_item_nodes(warehouse, as_of)
    warehouse.create("evaluation/catalogue_item", horizon_end=horizon_end)
    target = warehouse.select("evaluation/hold_out_target", as_of=as_of, horizon_end=horizon_end)
    if not target.num_rows:
        raise UsageError(
            f"Nobody newly streams an item in the {horizon_days} days after {as_of:%Y-%m-%d %H:%M}: there is nothing "
            "to predict. Choose an earlier --as-of or a longer --horizon-days."
        )
    return make_split(warehouse, as_of, horizon_days, target, encode, max_users)


def make_split(
    warehouse: Warehouse,
    as_of: datetime,
    horizon_days: int,
    target: pa.Table,
    encode: EncodeText,
    max_users: int = MAX_USERS,
) -> Split:
    """A split with these targets (user_id, node), by user, then time; `catalogue_item` must have been made."""
    warehouse.create("history/user_node", as_of=as_of)
    user_node = warehouse.arrow("SELECT user_id FROM user_node ORDER BY user_index")[
        "user_id"
    ].combine_chunks()
    before = warehouse.select("history/user_item", as_of=as_of)
    item = warehouse.arrow("SELECT * FROM catalogue_item ORDER BY node")
    warehouse.register("item_node", item.select(["node", "item_id"]))
    item_text = warehouse.select("graph/item_text")
    user_id = target["user_id"].combine_chunks().unique()
    if len(user_id) > max_users:
        drawn = np.sort(np.random.default_rng(0).permutation(len(user_id))[:max_users])
        user_id = user_id.take(pa.array(drawn))
        target = target.filter(pc.is_in(target["user_id"], user_id))
    age = np.datetime64(as_of, "us") - before["last_ts"].to_numpy().astype("datetime64[us]")
    return Split(
        as_of=as_of,
        horizon_days=horizon_days,
        item=item.append_column("text", item_text["text"]),
        text_vector=encode(item_text),
        streams=sparse.csr_array(
            (age / np.timedelta64(1, "D"), (before["user_index"].to_numpy(), before["node"].to_numpy())),
            shape=(len(user_node), item.num_rows),
        ),
        user_id=user_id,
        country=_countries(warehouse, user_id),
        known_user=_index_in(user_id, user_node),
        target_user=_index_in(target["user_id"].combine_chunks(), user_id),
        target_node=target["node"].to_numpy().astype(np.int64),
    )


def _countries(warehouse: Warehouse, user_id: pa.Array) -> pa.Array:
    """(U,) text."""
    profile = warehouse.arrow("SELECT user_id, country FROM user_profile")
    place = pc.index_in(user_id, profile["user_id"].combine_chunks())
    return profile["country"].combine_chunks().take(place)


def _index_in(values: pa.Array, among: pa.Array) -> np.ndarray:
    """(n,) int64 positions, -1 where there is none."""
    index: np.ndarray = pc.fill_null(pc.index_in(values, among), -1).to_numpy(zero_copy_only=False)
    return index.astype(np.int64)
