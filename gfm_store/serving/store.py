"""The store that `gfm_store.open` gives: read-only, bound to one version for all its tables."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from sqlalchemy import Engine

from gfm_store.arguments import Moment, Texts, as_moment, one_text, texts
from gfm_store.config import Config
from gfm_store.errors import NotPublishedError, UsageError
from gfm_store.schema import EVENT_TYPES, RECOMMENDATION
from gfm_store.serving import explain, lists, search, similar
from gfm_store.serving.filters import ItemFilter
from gfm_store.serving.lists import Wish
from gfm_store.serving.published import PublishedVersion
from gfm_store.serving.session import AskedUsers, Session
from gfm_store.serving.time_travel import Past, PastSession, past_at, past_of
from gfm_store.vectors.publication import publication_mark, published_folder
from gfm_store.vectors.version import DynamicRecord
from gfm_store.warehouse.analysis import run_select
from gfm_store.warehouse.connection import open_warehouse, warehouse_mark
from gfm_store.warehouse.engine import create_engine

log = logging.getLogger("gfm_store")
USERS_AT_ONCE = 20_000
"""Users whose histories are read with one pass over the events."""

HistoryEvent = tuple[str, str, Moment]
"""item_id, event_type, moment (UTC)."""


class Store:
    """Recommendations from the published version and the newest events.

    A store follows what is published: a new version or an ingest is noticed at the next request. One that
    was opened with `version=` stays on it, and answers as it did when that version was built. Requests of several
    threads wait for each other.

    Raises:
        EmptyWarehouseError: there is no warehouse.
        NotPublishedError: nothing is published, or `version` is not kept.
        UsageError: `version` is no text.
    """

    def __init__(self, root: Path, *, version: str | None = None, config: Config | None = None) -> None:
        self._root, self._config = root, config or Config()
        self._pinned = None if version is None else one_text(version, "version")
        self._lock = RLock()
        self._session: Session | None = None
        self._past: PastSession | None = None
        self._marks: tuple[tuple[int, int] | None, Path | None] = None, None
        self._follow()

    @property
    def version(self) -> str:
        """The `embedding_version` that is being served."""
        return self._bound().record.version

    @property
    def engine(self) -> Engine:
        """A read-only SQLAlchemy engine over the same tables and macros as `sql`."""
        return create_engine(self._root, self._tables)

    def recommend(
        self,
        users: Texts | None = None,
        k: int = 10,
        *,
        item_type: Texts | None = None,
        history: Sequence[HistoryEvent] | None = None,
        include_seen: bool = False,
        as_of: Moment | None = None,
        languages: Texts | None = None,
        published_after: Moment | None = None,
        creators: Texts | None = None,
        exclude: Texts | None = None,
        max_per_creator: int | None = None,
        diversity: float = 0.0,
    ) -> pa.Table:
        """The k best available items for each user, from their newest history.

        Filters come before the search, so k rows come whenever k exist.

        Args:
            users: one user id or several; a user without history gets what is popular in their country.
            item_type, languages, creators: only items of this one, or of these.
            history: instead of `users`, events that are not ingested: (item_id, event_type, moment) each; the
                user_id of the rows is then null.
            include_seen: also items that the user has streamed before.
            as_of: answer as it was at this moment (UTC), with the newest kept version from before it, and the events
                that were known then.
            published_after: only items known to be published after this moment (UTC).
            exclude: item ids to leave out.
            max_per_creator: at most so many items of one creator in a list.
            diversity: 0 ranks by score alone; up to 1, items unlike those above them come first (maximal marginal
                relevance among the best 10 k).

        Returns:
            user_id, rank (from 1), item_id, item_type, score, source (`model` or `popular`), embedding_version;
            by user in the order asked, then rank. Fewer than k rows where fewer items are left.

        Raises:
            UsageError: a number out of bounds, an unknown item type, language or creator, an item or event type in
                `history` that is not known, neither or both of `users` and `history`.
            NotPublishedError: no kept version is from before `as_of`.
        """
        if (users is None) == (history is None):
            raise UsageError("recommend needs either users or history.")
        wanted = ItemFilter(item_type, languages, creators, published_after, exclude)
        wish = Wish(k, wanted, include_seen, max_per_creator, diversity)
        wish.check()
        moment = None if as_of is None else as_moment(as_of, "as_of")
        with self._current(moment) as session:
            if history is not None:
                return lists.recommend(session, _somebody(session, history, moment), wish)
            assert users is not None
            ids = _as_ids(users)
            blocks = [
                lists.recommend(session, session.users(ids.slice(begin, USERS_AT_ONCE)), wish)
                for begin in range(0, len(ids), USERS_AT_ONCE)
            ]
        return pa.concat_tables(blocks) if blocks else RECOMMENDATION.empty_table()

    def similar_items(
        self,
        items: Texts,
        k: int = 10,
        *,
        item_type: Texts | None = None,
        languages: Texts | None = None,
        published_after: Moment | None = None,
        creators: Texts | None = None,
        exclude: Texts | None = None,
    ) -> pa.Table:
        """The k available items most similar to an item, or to each of several, across types.

        Returns:
            query_item_id, rank (from 1), item_id, item_type, score (1 for twins), embedding_version.

        Raises:
            UsageError: k below 1, an unknown item, item type, language or creator.
        """
        wanted = ItemFilter(item_type, languages, creators, published_after, exclude)
        with self._current() as session:
            return similar.similar_items(session, texts(items, "items"), k, wanted)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        user: str | None = None,
        item_type: Texts | None = None,
        languages: Texts | None = None,
        published_after: Moment | None = None,
        creators: Texts | None = None,
        exclude: Texts | None = None,
    ) -> pa.Table:
        """The k available items that fit a text best, by meaning and by words; names are found exactly.

        Args:
            user: among what fits, what this user would be recommended comes first, and nothing comes that is not
                offered where they are.

        Returns:
            rank (from 1), item_id, item_type, title, score, embedding_version.

        Raises:
            UsageError: an empty or too long query, k below 1, an unknown item type, language or creator.
        """
        wanted = ItemFilter(item_type, languages, creators, published_after, exclude)
        with self._current() as session:
            asked = None if user is None else session.users(pa.array([one_text(user, "user")]))
            return search.search(session, query, k, wanted, asked)

    def explain(self, user: str, item: str) -> pa.Table:
        """Why an item is recommended to a user: what of the history carried it, measured by taking it away.

        Returns:
            reason (`co_interaction`, `history` or `popular`), item_id (of the history; the item's own for `popular`),
            share (of what lifts the item above the average one, in (0, 1]), rank_without (the item's rank had this
            not happened), title, n_users and weight (of the edge, null without one), rank (now) and
            rank_without_all (had none of the history items named here happened); the greatest share first.

        Raises:
            UsageError: the item is not known, or not offered.
        """
        with self._current() as session:
            asked = session.users(pa.array([one_text(user, "user")]))
            return explain.explain(session, asked, one_text(item, "item"))

    def user_vector(self, user: str) -> np.ndarray:
        """(dim,) float32 from the user's newest history: multiply with `retrieval`'s vectors.

        Raises:
            UsageError: the user has no history.
        """
        with self._current() as session:
            asked = session.users(pa.array([one_text(user, "user")]))
            if not asked.has_history[0]:
                raise UsageError(
                    f"user {user!r} has no history, so there is no vector; `recommend` shows what is popular."
                )
            vector: np.ndarray = asked.vector[0]
            return vector

    def users(self) -> pa.Array:
        """Ids of all users with events, sorted."""
        with self._current() as session:
            table = session.warehouse.arrow("SELECT DISTINCT user_id FROM interaction_event ORDER BY user_id")
            ids: pa.Array = table["user_id"].combine_chunks()
            return ids

    def sql(self, query: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of one SELECT over events, items, users, edges, embeddings, retrieval and versions.

        Args:
            query: DuckDB's SQL, read-only: no files, no network, no settings.
            parameters: values for its `$name` parameters.

        Raises:
            UsageError: not one SELECT, a mistake in it, or it takes more time or memory than `config.sql` allows.
        """
        if not isinstance(parameters or {}, Mapping):
            raise UsageError("sql: parameters are given by name, as {'user': 'u42'} for $user.")
        return run_select(
            self._root,
            self._tables(),
            one_text(query, "sql"),
            dict(parameters or {}),
            self._config.sql,
            self._config.threads,
        )

    def _tables(self) -> dict[str, Any]:
        return self._bound().tables.all()

    def _bound(self) -> PublishedVersion:
        with self._lock:
            return self._follow().bound

    @contextmanager
    def _current(self, as_of: datetime | None = None) -> Iterator[Session]:
        """The warehouse, the version and the moment to answer by, for one request at a time: as they stand, or as they
        stood at `as_of`, or when the version that this store stays on was built.
        """
        with self._lock:
            session = self._follow()
            if as_of is None and self._pinned is None:
                yield session
                return
            bound = session.bound
            past = (
                past_of(bound.record)
                if as_of is None
                else past_at(self._root, bound.tables.folder, bound.record, as_of, self._pinned is not None)
            )
            yield self._at(past, bound)

    def _at(self, past: Past, served: PublishedVersion) -> Session:
        """The session of a moment of the past. The last one is kept while nothing changed."""
        if self._past is None or self._past.past != past:
            near = [served] if self._past is None else [served, self._past.session.bound]
            self._leave_past()
            bound = next((one for one in near if one.record.version == past.record.version), None)
            bound = bound or PublishedVersion.load(self._root, served.tables.folder, past.record.version)
            self._past = PastSession(bound, past, self._config)
        return self._past.session

    def _leave_past(self) -> None:
        if self._past is not None:
            self._past.close()
            self._past = None

    def _follow(self) -> Session:
        """The warehouse and the version as they stand; each is kept while it is the same."""
        before, marks = self._session, (warehouse_mark(self._root), publication_mark(self._root))
        if before is not None and marks == self._marks:
            return before
        self._leave_past()
        config = self._config
        if before is not None and marks[0] == self._marks[0]:
            warehouse = before.warehouse
        else:
            warehouse = open_warehouse(self._root, threads=config.threads, memory_limit=config.memory_limit)
        try:
            bound = before.bound if before is not None and marks[1] == self._marks[1] else self._load()
            session = Session(warehouse, bound, config)
        except BaseException:
            if before is None or warehouse is not before.warehouse:
                warehouse.close()
            raise
        if before is not None and warehouse is not before.warehouse:
            before.warehouse.close()
        self._session, self._marks = session, marks
        return session

    def _load(self) -> PublishedVersion:
        """What is published; where that cannot be read, what was served before goes on being served."""
        before = None if self._session is None else self._session.bound
        while True:
            folder = published_folder(self._root)
            if self._pinned is not None and before is not None:  # it lies there now
                return replace(before, tables=replace(before.tables, folder=folder))
            try:
                version = DynamicRecord.read(folder).version if self._pinned is None else self._pinned
                return PublishedVersion.load(self._root, folder, version)
            except NotPublishedError as error:
                if published_folder(self._root) != folder:
                    continue  # the next one was published while this one was read
                if before is None:
                    raise
                log.warning("%s is served still: %s", before.record.version, error)
                return before

    def close(self) -> None:
        """Give the warehouse free."""
        with self._lock:
            self._leave_past()
            if self._session is not None:
                self._session.warehouse.close()
                self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_ids(users: Texts) -> pa.Array:
    if isinstance(users, pa.ChunkedArray):
        users = users.combine_chunks()
    if isinstance(users, pa.StringArray) and not users.null_count:
        return users  # they may be many: nothing is copied
    return pa.array(texts(users, "users"), pa.string())


def _somebody(session: Session, history: Sequence[HistoryEvent], as_of: datetime | None) -> AskedUsers:
    """The nameless user of a request's own events, by default just after them."""
    try:
        items, kinds, moments = zip(*history, strict=True) if history else ((), (), ())
    except (TypeError, ValueError):
        raise UsageError("history holds (item_id, event_type, moment) each.") from None
    node = session.bound.known_nodes(texts(items, "history: an item id"))
    if wrong := sorted(set(texts(kinds, "history: an event type")) - set(EVENT_TYPES)):
        raise UsageError(f"history holds unknown event types {wrong}; known: {', '.join(EVENT_TYPES)}.")
    at = [as_moment(ts, "history") for ts in moments]
    built = session.bound.record.as_of
    after = max(max(at, default=built) + timedelta(microseconds=1), built)
    return session.somebody(node, list(kinds), pa.array(at, pa.timestamp("us")), as_of or after)
