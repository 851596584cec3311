"""Lists for users: the exact ranking, then, where asked for, a cap per creator and diversity."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gfm_store.dynamic_layer.similarity import as_query
from gfm_store.errors import UsageError
from gfm_store.schema import RECOMMENDATION
from gfm_store.serving.diversity import marginal_relevance, within_cap
from gfm_store.serving.filters import ItemFilter
from gfm_store.serving.partition import PartitionIndex
from gfm_store.serving.published import PublishedVersion
from gfm_store.serving.ranking import Pairs, Ranked, top_k
from gfm_store.serving.session import AskedUsers, Session

DIVERSE_POOL = 10
"""Diversity chooses among so many times k items."""
MIN_POOL = 50
REORDERED_AT_ONCE = 64
"""Users whose pools are held at once."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a list beside whom it is for."""

    k: int = 10
    filter: ItemFilter = field(default_factory=ItemFilter)
    include_seen: bool = False
    max_per_creator: int | None = None
    diversity: float = 0.0

    @property
    def reorders(self) -> bool:
        """Whether lists are other than the best by score."""
        return self.max_per_creator is not None or self.diversity > 0

    def check(self) -> None:
        """
        Raises:
            UsageError: a number is out of its bounds.
        """
        check_whole(self.k, "k")
        if self.max_per_creator is not None:
            check_whole(self.max_per_creator, "max_per_creator")
        if not isinstance(self.diversity, int | float | np.number) or not 0 <= self.diversity <= 1:
            raise UsageError(f"diversity is {self.diversity!r}; it must lie between 0 and 1.")


def check_whole(number: int, what: str) -> None:
    """
    Raises:
        UsageError: it is no whole number of at least 1.
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise UsageError(f"{what} is {number!r}; it must be a whole number.")
    if number < 1:
        raise UsageError(f"{what} is {number}; it must be at least 1.")


def recommend(session: Session, users: AskedUsers, wish: Wish) -> pa.Table:
    """Lists as RECOMMENDATION, by user in the order asked, then rank."""
    ranked = rank(session, users, wish)
    user, place = (ranked.row >= 0).nonzero()
    row = pa.array(ranked.row[user, place])
    bound = session.bound
    sources = np.where(users.has_history, "model", "popular").astype(object)
    return pa.table(
        [
            users.user_id.take(pa.array(user)),
            pa.array(place + 1),
            bound.retrieval["item_id"].take(row),
            bound.retrieval["item_type"].take(row),
            pa.array(ranked.score[user, place].astype(np.float64)),
            pa.array(sources[user], pa.string()),
            pa.repeat(bound.record.version, len(user)),
        ],
        schema=RECOMMENDATION,
    )


def rank(session: Session, users: AskedUsers, wish: Wish) -> Ranked:
    """The k best items of each user; rows of `retrieval`."""
    index = session.bound.index
    if index is not None and len(users.vector) == 1 and users.has_history[0] and not wish.reorders:
        return _one(session, index, users, wish)
    allowed = wish.filter.allowed(session.bound) & session.offered
    k = min(wish.k, len(allowed))
    row = np.full((len(users.vector), k), -1, dtype=np.int64)
    score = np.full((len(users.vector), k), -np.inf, dtype=np.float32)
    for group in _groups(session, users):
        here = allowed if group.in_market is None else allowed & group.in_market
        seen = None if wish.include_seen else _of(users.seen, group.user, len(row))
        part = _rank(session.bound, group, k, seen, here, wish)
        row[group.user], score[group.user] = part.row, part.score
    return Ranked(row, score)


@dataclass(frozen=True)
class _Group:
    """Users of a request who are offered the same items, scored in the same way."""

    user: np.ndarray
    """(u,) positions in the request."""
    in_market: np.ndarray | None
    """(n,) bool; None for all."""
    user_side: np.ndarray
    """(u, d) and"""
    item_side: np.ndarray
    """(n, d), whose dot product is the score."""


def _groups(session: Session, users: AskedUsers) -> Iterator[_Group]:
    """By country, users with a history apart from those without; one group where countries make no difference."""
    for has_history in (True, False):
        user = (users.has_history == has_history).nonzero()[0]
        country = users.country[user]
        if has_history and not session.has_markets:
            country = np.full(len(user), None, dtype=object)
        for one in dict.fromkeys(country.tolist()):
            mine = user[country == one]
            if has_history:
                sides = users.vector[mine], session.bound.retrieval_vector
            else:
                popular = session.popularity.scores(one)
                sides = np.ones((len(mine), 1), dtype=np.float32), popular[:, None]
            yield _Group(mine, session.in_market(one), *sides)


def _of(seen: Pairs, user: np.ndarray, num_users: int) -> Pairs:
    """What some of the users have seen, with their positions among these."""
    place = np.full(num_users, -1, dtype=np.int64)
    place[user] = np.arange(len(user))
    mine = place[seen[0]]
    return mine[mine >= 0], seen[1][mine >= 0]


def _rank(
    bound: PublishedVersion,
    group: _Group,
    k: int,
    seen: Pairs | None,
    allowed: np.ndarray,
    wish: Wish,
) -> Ranked:
    if not wish.reorders:
        return top_k(group.user_side, group.item_side, k, seen, allowed)
    row = np.full((len(group.user), k), -1, dtype=np.int64)
    score = np.full((len(group.user), k), -np.inf, dtype=np.float32)
    for begin in range(0, len(group.user), REORDERED_AT_ONCE):
        some = np.arange(begin, min(begin + REORDERED_AT_ONCE, len(group.user)))
        mine = None if seen is None else _of(seen, some, len(group.user))
        part = _reordered(bound, group.user_side[some], group.item_side, k, mine, allowed, wish)
        row[some], score[some] = part.row, part.score
    return Ranked(row, score)


def _one(session: Session, index: PartitionIndex, users: AskedUsers, wish: Wish) -> Ranked:
    """The list of one user, who need not wait for all items."""
    passing = session.passing(index, wish.filter.asked(), users.country[0])
    left_out = wish.filter.excluded(session.bound)
    if not wish.include_seen:
        left_out = np.union1d(left_out, users.seen[1])
    found, scores = index.search(users.vector[0], wish.k, passing, left_out)
    return Ranked(found[None], scores[None])


def _reordered(
    bound: PublishedVersion,
    user_side: np.ndarray,
    item_side: np.ndarray,
    k: int,
    seen: Pairs | None,
    allowed: np.ndarray,
    wish: Wish,
) -> Ranked:
    """Lists under a cap or with diversity, from pools that grow until they hold enough."""
    enough = DIVERSE_POOL * k if wish.diversity else k
    pool = min(max(2 * enough, MIN_POOL), len(allowed))
    while True:
        ranked = top_k(user_side, item_side, pool, seen, allowed)
        there = ranked.row >= 0
        kept = there.copy()
        if wish.max_per_creator is not None:
            creator = np.where(there, bound.creator_code[ranked.row], -1)
            kept &= within_cap(creator, wish.max_per_creator)
        if pool == len(allowed) or ((kept.sum(1) >= enough) | ~there.all(1)).all():
            break
        pool = min(4 * pool, len(allowed))
    order = np.argsort(~kept, axis=1, kind="stable")[:, :enough]  # those kept, best first
    row = np.where(np.take_along_axis(kept, order, 1), np.take_along_axis(ranked.row, order, 1), -1)
    score = np.where(row >= 0, np.take_along_axis(ranked.score, order, 1), np.float32(-np.inf))
    if wish.diversity:
        vector = bound.search_vector[row]
        place = marginal_relevance(score, as_query(vector), k, wish.diversity)
        row = np.where(place >= 0, np.take_along_axis(row, place, 1), -1)
        score = np.where(place >= 0, np.take_along_axis(score, place, 1), np.float32(-np.inf))
    missing = ((0, 0), (0, k - row.shape[1]))
    return Ranked(np.pad(row, missing, constant_values=-1), np.pad(score, missing, constant_values=-np.inf))
