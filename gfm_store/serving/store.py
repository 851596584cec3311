"""The store that `gfm_store.open` gives: read-only, bound to one version for all its tables."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from gfm_store.config import Config
from gfm_store.errors import NotPublishedError, UsageError
from gfm_store.schema import EVENT_TYPES, RECOMMENDATION
from gfm_store.serving.published import PublishedVersion
from gfm_store.serving.ranking import Ranked, top_k
from gfm_store.serving.time_travel import as_it_was, past_at, past_of
from gfm_store.vectors.publication import published_folder
from gfm_store.vectors.version import DynamicRecord
from gfm_store.warehouse.connection import Warehouse, newest_event, open_warehouse, warehouse_file
from gfm_store.warehouse.engine import create_engine
from gfm_store.warehouse.history import HistoryTables, read_histories, read_seen, read_withdrawn

log = logging.getLogger("gfm_store")
USERS_AT_ONCE = 20_000
"""Users whose histories are read with one pass over the events."""

HistoryEvent = tuple[str, str, datetime | str]
"""item_id, event_type, moment (UTC)."""


class Store:
    """Recommendations from the published version and the newest events.

    A store follows what is published: a new version or an ingest is noticed at the next request. One that
    was opened with `version=` stays on it, and answers as it did when that version was built. Requests of several
    threads wait for each other.

    Raises:
        EmptyWarehouseError: there is no warehouse.
        NotPublishedError: nothing is published, or `version` is not kept.
    """

    def __init__(self, root: Path, *, version: str | None = None, config: Config | None = None) -> None:
        self._root, self._pinned, self._config = root, version, config or Config()
        self._lock = RLock()
        self._warehouse: Warehouse | None = None
        self._warehouse_state: tuple[int, int] | None = None
        self._bound: tuple[Path, PublishedVersion] | None = None
        self._follow()

    @property
    def version(self) -> str:
        """The `embedding_version` that is being served."""
        with self._lock:
            return self._follow()[1].record.version

    @property
    def engine(self) -> Engine:
        """A read-only SQLAlchemy engine over the warehouse's tables."""
        return create_engine(self._root)

    def recommend(
        self,
        users: str | Sequence[str] | pa.Array | None = None,
        k: int = 10,
        *,
        item_type: str | Sequence[str] | None = None,
        history: Sequence[HistoryEvent] | None = None,
        include_seen: bool = False,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """The k best available items for each user, from their newest history.

        Args:
            users: one user id or several; a user without history gets what is popular.
            item_type: only items of this type, or of these.
            history: instead of `users`, events that are not ingested: (item_id, event_type, moment) each; the
                user_id of the rows is then null.
            include_seen: also items that the user has streamed before.
            as_of: answer as it was at this moment, with the newest kept version from before it, and the events
                that were known then.

        Returns:
            user_id, rank (from 1), item_id, item_type, score, source (`model` or `popular`), embedding_version;
            by user in the order asked, then rank. Fewer than k rows where fewer items are left.

        Raises:
            UsageError: k below 1, an unknown item type, an item or event type in `history` that is not known,
                neither or both of `users` and `history`.
            NotPublishedError: no kept version is from before `as_of`.
        """
        if (users is None) == (history is None):
            raise UsageError("recommend needs either users or history.")
        if k < 1:
            raise UsageError(f"k is {k}; it must be at least 1.")
        ids = pa.array(
            [users] if isinstance(users, str) else (users if users is not None else []), pa.string()
        )
        with self._at(as_of, history is None) as (warehouse, bound, moment):
            allowed = _allowed(bound, item_type)
            if history is not None:
                return self._recommend_anonymous(warehouse, bound, history, k, allowed, include_seen, as_of)
            blocks = [
                self._recommend(
                    warehouse, bound, ids.slice(begin, USERS_AT_ONCE), k, allowed, include_seen, moment
                )
                for begin in range(0, len(ids), USERS_AT_ONCE)
            ]
        return pa.concat_tables([RECOMMENDATION.empty_table(), *blocks])

    def _recommend_anonymous(
        self,
        warehouse: Warehouse,
        bound: PublishedVersion,
        history: Sequence[HistoryEvent],
        k: int,
        allowed: np.ndarray,
        include_seen: bool,
        as_of: datetime | None,
    ) -> pa.Table:
        """The request's own events stand in for `interaction_event`, of one user without a name."""
        events, moment = _as_events(history, bound, as_of)
        warehouse.connection.register("interaction_event", events)
        try:
            nobody = pa.array([""])
            return self._recommend(warehouse, bound, nobody, k, allowed, include_seen, moment, anonymous=True)
        finally:
            warehouse.connection.unregister("interaction_event")

    def user_vector(self, user: str) -> np.ndarray:
        """(dim,) float32 from the user's newest history: multiply with `retrieval`'s vectors."""
        with self._at() as (warehouse, bound, moment):
            tables = _histories(warehouse, bound, pa.array([user], pa.string()), moment)
            vectors, _ = next(bound.model.user_vectors(tables, moment, bound.item_vector, bound.item_type))
            return vectors[0]

    def users(self) -> pa.Array:
        """Ids of all users with events, sorted."""
        with self._lock:
            warehouse, _ = self._follow()
            table = warehouse.arrow(
                "SELECT DISTINCT user_id FROM warehouse.interaction_event ORDER BY user_id"
            )
            ids: pa.Array = table["user_id"].combine_chunks()
            return ids

    def _recommend(
        self,
        warehouse: Warehouse,
        bound: PublishedVersion,
        users: pa.Array,
        k: int,
        allowed: np.ndarray,
        include_seen: bool,
        moment: datetime,
        anonymous: bool = False,
    ) -> pa.Table:
        tables = _histories(warehouse, bound, users, moment)
        withdrawn = bound.row_of_node[read_withdrawn(warehouse, moment)]
        allowed = allowed.copy()
        allowed[withdrawn[withdrawn >= 0]] = False
        seen = _seen_rows(warehouse, bound, moment, include_seen)
        blocks = list(bound.model.user_vectors(tables, moment, bound.item_vector, bound.item_type))
        vectors = np.concatenate([block for block, _ in blocks])
        has_history = np.concatenate([known for _, known in blocks])
        ranked = top_k(vectors, bound.retrieval_vector, k, seen, allowed)
        popular = _popular(bound, ~has_history, ranked, seen, allowed)
        return _as_table(bound, users, popular, has_history, anonymous)

    def _follow(self) -> tuple[Warehouse, PublishedVersion]:
        """The newest state of the warehouse and the version to serve; both are kept while nothing changed."""
        path = warehouse_file(self._root)
        state = (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None
        if self._warehouse is None or state != self._warehouse_state:
            self._close_warehouse()
            self._warehouse = open_warehouse(self._root, threads=self._config.threads)
            self._warehouse_state = state
        if self._bound is None or (self._pinned is None and published_folder(self._root) != self._bound[0]):
            self._bound = self._load()
        return self._warehouse, self._bound[1]

    def _load(self) -> tuple[Path, PublishedVersion]:
        """What is published; where that cannot be read, what was served before goes on being served."""
        while True:
            folder = published_folder(self._root)
            try:
                version = self._pinned or DynamicRecord.read(folder).version
                return folder, PublishedVersion.load(self._root, folder, version)
            except NotPublishedError as error:
                if published_folder(self._root) != folder:
                    continue  # the next one was published while this one was read
                if self._bound is None:
                    raise
                log.warning("%s is served still: %s", self._bound[1].record.version, error)
                return folder, self._bound[1]

    @contextmanager
    def _at(
        self, as_of: datetime | None = None, events: bool = True
    ) -> Iterator[tuple[Warehouse, PublishedVersion, datetime]]:
        """The warehouse, the version and the moment to answer by: as they stand, or as they stood at `as_of`, or
        when the version that this store stays on was built; `events` says whether the warehouse's events matter."""
        with self._lock:
            warehouse, bound = self._follow()
            if as_of is None and self._pinned is None:
                yield warehouse, bound, newest_event(warehouse)
                return
            folder = published_folder(self._root)
            past = (
                past_of(bound.record)
                if as_of is None
                else past_at(self._root, folder, bound.record, as_of, self._pinned is not None)
            )
            if past.record.version != bound.record.version:
                bound = PublishedVersion.load(self._root, folder, past.record.version)
            with as_it_was(warehouse, self._root, folder, past, events):
                yield warehouse, bound, past.moment

    def _close_warehouse(self) -> None:
        if self._warehouse is not None:
            self._warehouse.close()
            self._warehouse = None

    def close(self) -> None:
        """Give the warehouse free."""
        with self._lock:
            self._close_warehouse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _histories(
    warehouse: Warehouse, bound: PublishedVersion, users: pa.Array, moment: datetime
) -> HistoryTables:
    return read_histories(warehouse, users, bound.item_id, moment, bound.model.history_days)


def _allowed(bound: PublishedVersion, item_type: str | Sequence[str] | None) -> np.ndarray:
    """(n,) bool: the retrieval rows of the types asked for."""
    column = bound.retrieval["item_type"]
    if item_type is None:
        return np.ones(len(column), dtype=bool)
    asked = [item_type] if isinstance(item_type, str) else list(item_type)
    known = sorted(column.unique().to_pylist())
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise UsageError(f"unknown item type {', '.join(map(repr, unknown))}; there are: {', '.join(known)}.")
    allowed: np.ndarray = pc.is_in(column, pa.array(asked, pa.string())).to_numpy()
    return allowed


def _as_events(
    history: Sequence[HistoryEvent], bound: PublishedVersion, as_of: datetime | None
) -> tuple[pa.Table, datetime]:
    """A request's own events as an `interaction_event` of one nameless user, and the moment after them."""
    items = [str(item) for item, _, _ in history]
    kinds = [kind for _, kind, _ in history]
    moments = [_as_moment(ts) for _, _, ts in history]
    unknown = sorted(
        set(items)
        - set(bound.item_id.filter(pc.is_in(bound.item_id, pa.array(items, pa.string()))).to_pylist())
    )
    if unknown:
        raise UsageError(f"history holds {len(unknown)} unknown item ids: {', '.join(unknown[:5])}.")
    if wrong := sorted(set(kinds) - set(EVENT_TYPES)):
        raise UsageError(f"history holds unknown event types {wrong}; known: {', '.join(EVENT_TYPES)}.")
    events = pa.table(
        {
            "user_id": pa.array([""] * len(items), pa.string()),
            "item_id": pa.array(items, pa.string()),
            "event_type": pa.array(kinds, pa.string()),
            "event_ts": pa.array(moments, pa.timestamp("us")),
        }
    )
    newest = max(moments, default=bound.record.as_of) + timedelta(microseconds=1)
    return events, as_of or max(newest, bound.record.as_of)


def _as_moment(ts: datetime | str) -> datetime:
    """UTC without a zone."""
    try:
        moment = datetime.fromisoformat(ts) if isinstance(ts, str) else ts
    except ValueError:
        raise UsageError(f"history: {ts!r} is not a moment; write 2026-01-31T06:00.") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _seen_rows(
    warehouse: Warehouse, bound: PublishedVersion, moment: datetime, include_seen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """User positions and retrieval rows that are left out."""
    if include_seen:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing
    user, node = read_seen(warehouse, moment)
    row = bound.row_of_node[node]
    return user[row >= 0], row[row >= 0]


def _popular(
    bound: PublishedVersion,
    wanted: np.ndarray,
    ranked: Ranked,
    seen: tuple[np.ndarray, np.ndarray],
    allowed: np.ndarray,
) -> Ranked:
    """`ranked`, with the lists of the `wanted` users replaced by what is popular and not seen by them."""
    users = wanted.nonzero()[0]
    if not len(users):
        return ranked
    popularity = bound.retrieval["popularity"].to_numpy().astype(np.float32)[:, None]
    mine = np.isin(seen[0], users)
    seen_of_wanted = np.searchsorted(users, seen[0][mine]), seen[1][mine]
    ones = np.ones((len(users), 1), dtype=np.float32)
    popular = top_k(ones, popularity, ranked.row.shape[1], seen_of_wanted, allowed)
    row, score = ranked.row.copy(), ranked.score.copy()
    row[users], score[users] = popular.row, popular.score
    return Ranked(row, score)


def _as_table(
    bound: PublishedVersion, users: pa.Array, ranked: Ranked, has_history: np.ndarray, anonymous: bool
) -> pa.Table:
    user, place = (ranked.row >= 0).nonzero()
    row = pa.array(ranked.row[user, place])
    names = pa.nulls(len(users), pa.string()) if anonymous else users
    sources = pa.array(np.where(has_history, "model", "popular"))
    return pa.table(
        [
            names.take(pa.array(user)),
            pa.array(place + 1),
            bound.retrieval["item_id"].combine_chunks().take(row),
            bound.retrieval["item_type"].combine_chunks().take(row),
            pa.array(ranked.score[user, place].astype(np.float64)),
            sources.take(pa.array(user)),
            pa.array([bound.record.version]).take(pa.array(np.zeros(len(user), dtype=np.int64))),
        ],
        schema=RECOMMENDATION,
    )
