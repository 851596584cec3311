"""What a request stands on: one state of the warehouse and one published version, and what both say of users."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.config import Config
from gfm_store.schema import SKIP_SIGNAL, STRONG_SIGNALS, WEAK_SIGNALS
from gfm_store.serving.filters import AskedOfItems
from gfm_store.serving.known_users import KnownUsers
from gfm_store.serving.partition import PartitionIndex, Passing
from gfm_store.serving.popular import Popularity
from gfm_store.serving.published import PublishedVersion
from gfm_store.warehouse.connection import Warehouse, newest_event
from gfm_store.warehouse.history import (
    AskedTables,
    HistoryTables,
    given_history,
    number_items,
    read_asked,
    read_recent_streams,
    read_withdrawn,
)

SIGNALS = dict.fromkeys(STRONG_SIGNALS, 0) | dict.fromkeys(WEAK_SIGNALS, 1) | {SKIP_SIGNAL: 2}
KEPT_FILTERS = 32
"""Each takes four bytes for every item that passes."""
REQUESTS_OF_STRANGERS = 30
"""Reading all users costs about as much as so many requests of one user that pass over all events."""


@dataclass(frozen=True)
class AskedUsers:
    """U users of a request as the model sees them."""

    user_id: pa.Array
    """(U,), null for somebody without a name."""
    vector: np.ndarray
    """(U, dim) float32."""
    has_history: np.ndarray
    """(U,) bool."""
    country: np.ndarray
    """(U,) text, or None where it is not known."""
    seen: tuple[np.ndarray, np.ndarray]
    """User positions and rows of `retrieval`, of all that they have streamed."""


class Session:
    """Reads users against one version at one moment, by default just after the newest event.

    A connection serves the session that was made with it last: it knows items by that version's nodes.
    """

    def __init__(
        self, warehouse: Warehouse, bound: PublishedVersion, config: Config, now: datetime | None = None
    ) -> None:
        self.warehouse, self.bound, self._config, self._now = warehouse, bound, config, now
        number_items(warehouse, bound.item_id)
        self._requests = 0
        self._known: KnownUsers | None = None

    @cached_property
    def now(self) -> datetime:
        """The moment of all answers."""
        return self._now or newest_event(self.warehouse)

    def users(self, user_ids: pa.Array) -> AskedUsers:
        """Users of the warehouse, as they stand by their histories."""
        if len(user_ids) == 1:
            self._requests += 1
            if self._requests == REQUESTS_OF_STRANGERS:
                self._known = KnownUsers.read(self.warehouse, self.bound, self.now)
            if self._known is not None:
                return self._one(user_ids, self._known)
        return self._asked(user_ids, self._read(user_ids))

    def history(self, user_ids: pa.Array) -> HistoryTables:
        """Histories of users of the warehouse."""
        return self._read(user_ids).history

    def _read(self, user_ids: pa.Array) -> AskedTables:
        return read_asked(self.warehouse, user_ids, self.now, self.bound.model.history_days)

    def _one(self, user_id: pa.Array, known: KnownUsers) -> AskedUsers:
        place = known.place(user_id[0].as_py())
        vector, has_history = known.vector(place, self.bound, self.now)
        country = np.array([known.country[place].as_py()], dtype=object)
        row = self.bound.row_of_node[known.seen(place)]
        row = row[row >= 0]
        return AskedUsers(user_id, vector, has_history, country, (np.zeros(len(row), dtype=np.int64), row))

    def somebody(
        self, node: np.ndarray, event_type: list[str], event_ts: pa.Array, moment: datetime
    ) -> AskedUsers:
        """One user without a name, with the events of a request alone, (E,) each."""
        signal = np.array([SIGNALS[kind] for kind in event_type], dtype=np.int8)
        days = self.bound.model.history_days
        tables = given_history(self.warehouse, node, signal, event_ts, moment, days)
        return self._asked(pa.nulls(1, pa.string()), tables)

    def vectors(self, history: HistoryTables) -> tuple[np.ndarray, np.ndarray]:
        """(U, dim) float32 vectors, and (U,) bool: who has a history."""
        bound = self.bound
        blocks = list(bound.model.user_vectors(history, history.as_of, bound.item_vector, bound.item_type))
        if not blocks:
            return np.zeros((0, bound.model.dim), dtype=np.float32), np.zeros(0, dtype=bool)
        return np.concatenate([block for block, _ in blocks]), np.concatenate([known for _, known in blocks])

    @cached_property
    def offered(self) -> np.ndarray:
        """(n,) bool: rows of `retrieval` that are not withdrawn."""
        withdrawn = self.bound.row_of_node[read_withdrawn(self.warehouse, self.now)]
        offered = np.ones(self.bound.retrieval.num_rows, dtype=bool)
        offered[withdrawn[withdrawn >= 0]] = False
        return offered

    @cached_property
    def popularity(self) -> Popularity:
        """What users without a history are shown."""
        bound = self.bound
        recent = read_recent_streams(self.warehouse, self.now, self._config.serving.popular_days)
        row = pa.array(bound.row_of_node[recent["node"].to_numpy()])
        recent = recent.set_column(0, "node", row).filter(pc.greater_equal(row, 0))
        nobody = self.somebody(np.zeros(0, dtype=np.int64), [], pa.array([], pa.timestamp("us")), self.now)
        expected = bound.retrieval_vector @ nobody.vector[0]
        listed = np.ones(len(expected), dtype=bool)
        return Popularity(expected, bound.attribute["language"], recent, listed)

    def passing(self, index: PartitionIndex, asked: AskedOfItems, country: str | None) -> Passing:
        """What of the index may be shown in a country to somebody who asks so. The last few answers are kept."""
        key = asked, country if self.has_markets else None
        if key not in self._passing:
            allowed = asked.allowed(self.bound) & self.offered
            if (in_market := self.in_market(country)) is not None:
                allowed &= in_market
            if len(self._passing) >= KEPT_FILTERS:
                self._passing.pop(next(iter(self._passing)))
            self._passing[key] = index.passing(allowed, asked.name)
        return self._passing[key]

    @cached_property
    def _passing(self) -> dict[tuple[AskedOfItems, str | None], Passing]:
        return {}

    @property
    def has_markets(self) -> bool:
        """Whether any item is offered in some countries only."""
        return self._markets is not None

    def in_market(self, country: str | None) -> np.ndarray | None:
        """(n,) bool: rows that may be offered in a country, or None for all; what is unknown forbids nothing."""
        offers = self._markets
        if country is None or offers is None:
            return None
        codes, row, market = offers
        code = codes.get(country, -1)
        allowed = np.ones(self.bound.retrieval.num_rows, dtype=bool)
        allowed[row] = False
        allowed[row[market == code]] = True
        return allowed

    @cached_property
    def _markets(self) -> tuple[dict[str, int], np.ndarray, np.ndarray] | None:
        """Codes of countries, and rows and codes of all offers of items with markets; None without any."""
        markets = self.bound.attribute["markets"]
        row = pc.list_parent_indices(markets).to_numpy(zero_copy_only=False)
        if not len(row):
            return None
        coded = pc.list_flatten(markets).dictionary_encode()
        codes = {name: code for code, name in enumerate(coded.dictionary.to_pylist())}
        return codes, row, pc.fill_null(coded.indices, -2).to_numpy(zero_copy_only=False)

    def _asked(self, user_ids: pa.Array, tables: AskedTables) -> AskedUsers:
        vector, has_history = self.vectors(tables.history)
        feature = tables.history.user_feature
        country = np.array(
            feature["country"].to_pylist() if "country" in feature.column_names else [None] * len(user_ids),
            dtype=object,
        )
        row = self.bound.row_of_node[tables.seen_node]
        seen = tables.seen_user[row >= 0].astype(np.int64), row[row >= 0]
        return AskedUsers(user_ids, vector, has_history, country, seen)
