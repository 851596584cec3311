"""An inverted-file index in memory (IVF_FLAT): rows lie by list, and a query reads the lists that are nearest to it.

It reads on until so many rows have been read that pass the filter, and not so many lists: the few Swedish podcasts lie
in other lists than what is nearest, and where no more than that pass, the search is exact. How many rows are enough is
measured when a version is built (`index_choice`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional

FILE = "partition.safetensors"
LISTS_PER_ROOT = 2
"""So many lists as the root of the rows has: reading centroids then costs about what reading lists does."""
SAMPLE_PER_LIST = 50
"""Rows from which a centroid is learned."""
ITERATIONS = 8
ROWS_AT_ONCE = 65_536
NEAR = 64
"""A query mostly reads fewer lists, so that not all of them need an order."""
K = 10
"""Places for which rows are counted; more places take proportionally more."""
NAMES = ("item_type", "language")
"""Columns by which people filter most."""
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Partition:
    """Which rows belong together. Shapes: L lists, none of them empty, of n rows."""

    centroid: np.ndarray
    """(L, dim) float32, unit length."""
    begin: np.ndarray
    """(L + 1,) int64: where each list begins in"""
    order: np.ndarray
    """(n,) int64: rows by list, then by type and language, so that what passes a filter lies together."""

    @classmethod
    def learn(cls, vectors: np.ndarray, retrieval: pa.Table, seed: int) -> Self:
        """Spherical k-means on a sample of rows (n, dim) of one norm; then every row goes to its nearest centroid.

        Args:
            retrieval: n rows, columns item_type and language.
        """
        num_lists = min(round(LISTS_PER_ROOT * len(vectors) ** 0.5), len(vectors))
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(vectors), generator=generator)[: num_lists * SAMPLE_PER_LIST]
        sample = functional.normalize(torch.from_numpy(vectors[chosen.numpy()]), dim=-1)
        centroid = sample[:num_lists].clone()
        for _ in range(ITERATIONS):
            sums = torch.zeros_like(centroid).index_add_(0, _nearest(sample, centroid), sample)
            empty = (sums == 0).all(dim=1, keepdim=True)
            centroid = functional.normalize(torch.where(empty, centroid, sums), dim=-1)
        list_of_row = _nearest(torch.from_numpy(vectors), centroid).numpy()
        count = np.bincount(list_of_row, minlength=num_lists)
        begin = np.concatenate([[0], np.cumsum(count[count > 0])])
        order = np.lexsort([*(codes(retrieval, name)[0] for name in reversed(NAMES)), list_of_row])
        return cls(centroid.numpy()[count > 0], begin, order)

    def save(self, folder: Path) -> None:
        """Write it to a version's folder."""
        save_file({"centroid": self.centroid, "begin": self.begin, "order": self.order}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read it back; None where a version has none."""
        path = folder / FILE
        return cls(**load_file(path)) if path.exists() else None

    def nearness(self, query: np.ndarray) -> np.ndarray:
        """(L,) float32: a query (dim,) reads the lists where it is highest first."""
        # A product of matrices would be shared among threads: for so little work they wait longer than they work.
        return np.vecdot(self.centroid, query)

    def nearest_first(self, query: np.ndarray) -> np.ndarray:
        """(L,) int64: the lists in the order in which a query (dim,) reads them."""
        return best_places(self.nearness(query), len(self.centroid))


def _nearest(vectors: Tensor, centroid: Tensor) -> Tensor:
    return torch.cat([(block @ centroid.T).argmax(dim=1) for block in vectors.split(ROWS_AT_ONCE)])


@dataclass(frozen=True)
class Passing:
    """The rows that pass a filter, by list; making it takes a look at all rows, and searching with it does not."""

    row: np.ndarray
    """(p,) int32 ascending."""
    begin: np.ndarray
    """(L + 1,) int64: where begin those of each list."""
    enough: int
    """So many are read for up to K places."""

    @cached_property
    def count(self) -> np.ndarray:
        """(L,) int64."""
        return np.diff(self.begin)


class PartitionIndex:
    """Search over rows that lie by list, n of them."""

    def __init__(self, partition: Partition, vectors: np.ndarray, rows: Mapping[str, int]) -> None:
        """
        Args:
            vectors: (n, dim) float32, in the order of `partition.order`.
            rows: that are read for up to K places, by filter; as many as under any of them where the filter is another.
        """
        self._partition, self._vectors, self._rows = partition, vectors, rows

    def passing(self, allowed: np.ndarray, name: str | None) -> Passing:
        """
        Args:
            allowed: (n,) bool; name: of the filter, as it was measured, or None for another one.
        """
        row = allowed.nonzero()[0]
        enough = self._rows.get(name or "", max(self._rows.values()))
        return Passing(row.astype(np.int32), np.searchsorted(row, self._partition.begin), enough)

    def search(
        self, query: np.ndarray, k: int, passing: Passing, left_out: np.ndarray = NO_ROWS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores, best first, of about the k rows with the highest dot product; fewer only where fewer exist.

        Args:
            query: (dim,) float32; left_out: distinct rows (s,) that do not come even where they pass.
        """
        wanted = max(passing.enough * max(k, K) // K, k) + len(left_out)
        lists = self._nearest(query, passing.count, wanted)
        begin, end = passing.begin[lists], passing.begin[lists + 1]
        score = self._scores(passing.row, begin, end, query)
        best = best_places(score, k + len(left_out))
        row = _places(begin, end, best, passing.row)
        if len(left_out):
            kept = ~np.isin(row, left_out)
            best, row = best[kept][:k], row[kept][:k]
        return row.astype(np.int64), score[best]

    def _nearest(self, query: np.ndarray, count: np.ndarray, wanted: int) -> np.ndarray:
        """The nearest lists that hold so many rows together, nearest first; all where they hold fewer.

        Args:
            count: (L,) rows of each; lists without any are passed over.
        """
        nearness = np.where(count > 0, self._partition.nearness(query), -np.inf)
        lists = best_places(nearness, NEAR)
        if count[lists].sum() < wanted:
            lists = best_places(nearness, len(nearness))
            lists = lists[count[lists] > 0]
        return lists[: int(np.searchsorted(np.cumsum(count[lists]), wanted)) + 1]

    def _scores(self, row: np.ndarray, begin: np.ndarray, end: np.ndarray, query: np.ndarray) -> np.ndarray:
        """(r,) float32 of `row[begin:end]` of each list, one list after the other."""
        score = np.empty(int((end - begin).sum()), dtype=np.float32)
        at = 0
        for start, stop in zip(begin.tolist(), end.tolist(), strict=True):
            first, last = row[start], row[stop - 1]
            # What passes a filter mostly lies together, and is read where it lies.
            together = last - first == stop - start - 1
            vectors = self._vectors[first : last + 1] if together else self._vectors[row[start:stop]]
            np.vecdot(vectors, query, out=score[at : at + stop - start])
            at += stop - start
        return score


def _places(begin: np.ndarray, end: np.ndarray, which: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The values of `row` at some places `which` of all `row[begin:end]`, one after the other."""
    until = np.cumsum(end - begin)
    span = np.searchsorted(until, which, side="right")
    return row[end[span] - until[span] + which]


def best_places(score: np.ndarray, k: int) -> np.ndarray:
    """Places of the k highest, best first."""
    best = np.argpartition(score, -k)[-k:] if k < len(score) else np.arange(len(score))
    return best[np.argsort(-score[best], kind="stable")]


def codes(table: pa.Table, name: str) -> tuple[np.ndarray, list[str]]:
    """(n,) int64 codes of a text column, and their values; what is not known has the code after the last."""
    coded = table[name].combine_chunks().dictionary_encode()
    values = coded.dictionary.to_pylist()
    code = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return code, values
