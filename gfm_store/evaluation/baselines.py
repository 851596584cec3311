"""What a model must beat: popularity and ItemKNN, each tuned on the time before the cut."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Protocol, Self

import numpy as np
from scipy import sparse

from gfm_store.evaluation.split import Split

USERS_AT_ONCE = 1024


class Baseline(Protocol):
    """Settings that can score every item for the users of a split."""

    @classmethod
    def grid(cls) -> Iterator[Self]:
        """The settings that tuning tries."""
        ...

    def scores(self, split: Split) -> Iterator[np.ndarray]:
        """Blocks of users (b, N) in the order of `split.user_id`, USERS_AT_ONCE at once; higher is better."""
        ...


def popularity(streams: sparse.csr_array, days: float) -> np.ndarray:
    """(N,) users who last streamed an item inside the trailing window."""
    counts = sparse.csr_array((streams.data <= days, streams.indices, streams.indptr), streams.shape)
    return np.asarray(counts.sum(axis=0), dtype=np.float64).ravel()


@dataclass(frozen=True)
class Popularity:
    """Users per item in a trailing window, all of history breaking ties."""

    days: float
    windows: ClassVar[tuple[float, ...]] = (3, 7, 14, 30, 90, 365, np.inf)

    @classmethod
    def grid(cls) -> Iterator[Self]:
        """Windows from three days to all time."""
        return (cls(days) for days in cls.windows)

    def scores(self, split: Split) -> Iterator[np.ndarray]:
        """The same order for everybody."""
        ever = popularity(split.streams, np.inf)
        score = popularity(split.streams, self.days) + ever / (ever.max() + 1)
        for begin in range(0, len(split.user_id), USERS_AT_ONCE):
            yield np.tile(score, (len(split.user_id[begin : begin + USERS_AT_ONCE]), 1))


@dataclass(frozen=True)
class ItemKNN:
    """Cosine between items' users; the user's items count less the longer ago they were streamed."""

    neighbours: int
    shrink: float
    half_life_days: float

    @classmethod
    def grid(cls) -> Iterator[Self]:
        """Neighbours, shrinkage and half-life of recency."""
        return (cls(*point) for point in product((50, 200), (0.0, 10.0), (30.0, 180.0, np.inf)))

    def scores(self, split: Split) -> Iterator[np.ndarray]:
        """Weighted sum of the similarities to the user's items."""
        similarity = item_similarity(split.streams, self.neighbours, self.shrink)
        profile = split.streams.copy()
        profile.data = np.exp2(-profile.data / self.half_life_days)
        for begin in range(0, len(split.user_id), USERS_AT_ONCE):
            known = split.known_user[begin : begin + USERS_AT_ONCE]
            block = (profile[np.maximum(known, 0)] @ similarity).toarray()
            block[known < 0] = 0.0
            yield block


def item_similarity(streams: sparse.csr_array, neighbours: int, shrink: float) -> sparse.csr_array:
    """(N, N) shrunk cosine between the items' user sets, the strongest `neighbours` of each item kept."""
    ones = streams.copy()
    ones.data = np.ones_like(ones.data)
    common = (ones.T @ ones).tocsr()
    norm = np.sqrt(np.asarray(ones.sum(axis=0)).ravel())
    common = common.tocoo()
    keep = common.row != common.col
    row, col, shared = common.row[keep], common.col[keep], common.data[keep]
    value = shared / (norm[row] * norm[col] + shrink)
    order = np.lexsort((-value, row))
    row, col, value = row[order], col[order], value[order]
    first = np.concatenate([[0], np.bincount(row, minlength=streams.shape[1]).cumsum()[:-1]])
    strong = np.arange(len(row)) - first[row] < neighbours
    return sparse.csr_array((value[strong], (row[strong], col[strong])), shape=common.shape)
