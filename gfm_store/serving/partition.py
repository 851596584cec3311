"""An inverted-file index in memory (IVF_FLAT): rows lie by list, and a query reads the lists that are nearest to it.

It reads on until so many rows have been read that pass the filter, and not so many lists: the few Swedish podcasts lie
in other lists than what is nearest, and where no more than that pass, the search is exact. How many rows are enough is
measured when a version is built, under filters that are drawn at random and under those that people use (`measure`);
where no number is, exact search stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional

from gfm_store.config import ServingConfig
from gfm_store.vectors.version import EXACT, IndexRecord

FILE = "partition.safetensors"
LISTS_PER_ROOT = 2
"""So many lists as the root of the rows has: reading centroids then costs about what reading lists does."""
SAMPLE_PER_LIST = 50
"""Rows from which a centroid is learned."""
ITERATIONS = 8
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Partition:
    """Which rows belong together. Shapes: L lists, n rows."""

    centroid: np.ndarray
    """(L, dim) float32, unit length."""
    list_of_row: np.ndarray
    """(n,) int64."""

    @classmethod
    def learn(cls, vectors: np.ndarray, seed: int) -> Self:
        """Spherical k-means on a sample of rows (n, dim) of one norm; then every row goes to its nearest centroid."""
        num_lists = min(round(LISTS_PER_ROOT * len(vectors) ** 0.5), len(vectors))
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(vectors), generator=generator)[: num_lists * SAMPLE_PER_LIST]
        sample = functional.normalize(torch.from_numpy(vectors[chosen.numpy()]), dim=-1)
        centroid = sample[:num_lists].clone()
        for _ in range(ITERATIONS):
            sums = torch.zeros_like(centroid).index_add_(0, _nearest(sample, centroid), sample)
            empty = (sums == 0).all(dim=1, keepdim=True)
            centroid = functional.normalize(torch.where(empty, centroid, sums), dim=-1)
        return cls(centroid.numpy(), _nearest(torch.from_numpy(vectors), centroid).numpy())

    @property
    def order(self) -> np.ndarray:
        """(n,) int64: rows by list."""
        return np.argsort(self.list_of_row, kind="stable")

    def save(self, folder: Path) -> None:
        """Write it to a version's folder."""
        save_file({"centroid": self.centroid, "list_of_row": self.list_of_row}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read it back; None where a version has none."""
        path = folder / FILE
        return cls(**load_file(path)) if path.exists() else None


def _nearest(vectors: Tensor, centroid: Tensor) -> Tensor:
    return torch.cat([(block @ centroid.T).argmax(dim=1) for block in vectors.split(ROWS_AT_ONCE)])


class PartitionIndex:
    """Search over rows that lie by list, n of them."""

    def __init__(self, partition: Partition, vectors: np.ndarray, rows: int, filtered_rows: int) -> None:
        """
        Args:
            vectors: (n, dim) float32, in the order of `partition.order`.
            rows: to read for up to ten places, and in proportion for more, where most pass the filter.
            filtered_rows: that pass, to read where fewer do.
        """
        count = np.bincount(partition.list_of_row, minlength=len(partition.centroid))
        there = count > 0
        # By torch alone: two libraries' threads in one request wait for each other, several times as long as they work.
        self._centroid, self._count = torch.from_numpy(partition.centroid[there]), count[there]
        self._begin = np.concatenate([[0], np.cumsum(self._count)])
        self._vectors, self._rows, self._filtered_rows = torch.from_numpy(vectors), rows, filtered_rows

    def search(
        self, query: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores, best first, of about the k rows with the highest dot product; fewer only where fewer exist.

        Args:
            query: (dim,) float32; allowed: (n,) bool, or None for all.
        """
        passing = self._count
        if allowed is not None:
            passing = np.add.reduceat(allowed.view(np.uint8), self._begin[:-1], dtype=np.int64)
        asked = torch.from_numpy(query)
        lists = torch.argsort(self._centroid @ asked, descending=True, stable=True).numpy()
        lists = lists[passing[lists] > 0]
        most_pass = passing.sum() > MOST * self._begin[-1]
        wanted = max((self._rows if most_pass else self._filtered_rows) * max(k, K) // K, k)
        lists = lists[: int(np.searchsorted(np.cumsum(passing[lists]), wanted)) + 1]
        count = self._count[lists]
        first = np.cumsum(count) - count
        row = np.repeat(self._begin[lists] - first, count) + np.arange(count.sum())
        passes = np.ones(len(row), dtype=bool) if allowed is None else allowed[row]
        if 4 * passes.sum() < len(row):
            row = row[passes]
            score = (self._vectors[torch.from_numpy(row)] @ asked).numpy()
        else:
            scores = torch.empty(len(row))
            for one, begin, length in zip(lists.tolist(), first.tolist(), count.tolist(), strict=True):
                vectors = self._vectors[self._begin[one] : self._begin[one + 1]]
                torch.mv(vectors, asked, out=scores[begin : begin + length])
            score = scores.masked_fill_(torch.from_numpy(~passes), -torch.inf).numpy()
        if not len(row):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        best = np.argpartition(-score, min(k, len(score)) - 1)[:k]
        best = best[np.argsort(-score[best], kind="stable")]
        best = best[score[best] > -np.inf]
        return row[best], score[best]


K = 10
QUERIES = 60
ROWS = tuple(500 * 2**i for i in range(8))
"""Rows to read that are tried."""
SELECTIVITIES = (1.0, 0.1, 0.01)
"""Shares of the rows that pass filters drawn at random."""
MOST = 0.9
"""Where a greater share of the rows passes, there is hardly a filter: some items are withdrawn, or were streamed."""
COMMON = 5
"""Most common types and languages, and pairs of them, by which filters are measured."""


def common_filters(retrieval: pa.Table) -> dict[str, np.ndarray]:
    """(n,) bool each, by what they ask for: of `retrieval`'s types and languages, and pairs from common to rare."""
    found = {}
    columns = {name: retrieval[name].combine_chunks() for name in ("item_type", "language")}
    for name, column in columns.items():
        for count in _by_count(retrieval, [name])[:COMMON]:
            found[f"{name} = {count[name]}"] = _equal(column, count[name])
    pairs = _by_count(retrieval, list(columns))
    for place in sorted(
        {round(i * (len(pairs) - 1) / max(COMMON - 1, 1)) for i in range(COMMON)} if pairs else ()
    ):
        pair = pairs[place]
        name = " and ".join(f"{column} = {pair[column]}" for column in columns)
        found[name] = np.logical_and.reduce([_equal(columns[column], pair[column]) for column in columns])
    return found


def _by_count(table: pa.Table, names: list[str]) -> list[dict[str, str]]:
    """The distinct values that are known, most common first."""
    counts = table.select(names).drop_null().group_by(names).aggregate([([], "count_all")])
    order = [("count_all", "descending"), *((name, "ascending") for name in names)]
    rows: list[dict[str, str]] = counts.sort_by(order).select(names).to_pylist()
    return rows


def _equal(column: pa.Array, value: str) -> np.ndarray:
    equal: np.ndarray = pc.fill_null(pc.equal(column, value), False).to_numpy(zero_copy_only=False)
    return equal


def choose_index(
    vectors: np.ndarray, queries: np.ndarray, retrieval: pa.Table, config: ServingConfig, seed: int
) -> tuple[Partition | None, IndexRecord]:
    """The index of a version, by what is measured: lists where they find nearly all, else exact search.

    Args:
        vectors: (n, dim) float32, rows of `retrieval`; queries: (q, dim), user vectors.
        retrieval: columns item_type and language.
    """
    if len(vectors) < config.index_rows or not len(queries):
        return None, EXACT
    partition = Partition.learn(vectors, seed)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(queries))[:QUERIES]
    filters = {str(share): rng.random(len(vectors)) < share for share in SELECTIVITIES} | common_filters(
        retrieval
    )
    order = partition.order
    filters = {name: allowed[order] for name, allowed in filters.items()}
    measured = measure(partition, vectors[order], queries[chosen], filters, config.index_recall)
    if measured is None:
        return None, EXACT
    (rows, filtered_rows), recall = measured
    record = IndexRecord(
        kind="ivf_flat",
        lists=len(partition.centroid),
        rows=rows,
        filtered_rows=filtered_rows,
        recall=recall,
    )
    return partition, record


def measure(
    partition: Partition,
    vectors: np.ndarray,
    queries: np.ndarray,
    filters: Mapping[str, np.ndarray],
    enough: float,
) -> tuple[tuple[int, int], dict[str, float]] | None:
    """The fewest rows to read for a mean recall@10 of `enough` under every filter, and that recall by filter.

    First for filters that most rows pass, then for the others.

    Args:
        vectors: (n, dim) in the order of `partition.order`; queries: (q, dim).
        filters: (n,) bool each, in that order.

    Returns:
        None where even the most rows are too few.
    """
    exact: dict[str, list[np.ndarray]] = {name: [] for name in filters}
    for query in queries:
        scores = vectors @ query
        for name, allowed in filters.items():
            exact[name].append(_best(np.where(allowed, scores, -np.inf)))
    chosen: list[int] = []
    recall: dict[str, float] = {}
    for most_pass in (True, False):
        asked = {
            name: allowed
            for name, allowed in filters.items()
            if allowed.any() and (allowed.mean() > MOST) == most_pass
        }
        for rows in ROWS:
            index = PartitionIndex(partition, vectors, rows, rows)
            found = {name: _recall(index, queries, exact[name], allowed) for name, allowed in asked.items()}
            if min(found.values(), default=1.0) >= enough:
                break
        else:
            return None
        chosen.append(rows)
        recall |= found
    return (chosen[0], chosen[1]), recall


def _recall(index: PartitionIndex, queries: np.ndarray, best: list[np.ndarray], allowed: np.ndarray) -> float:
    """Mean over queries of the share of the best rows that is found."""
    found = [index.search(query, K, allowed)[0] for query in queries]
    return float(
        np.mean([np.isin(rows, own).sum() / max(len(own), 1) for rows, own in zip(found, best, strict=True)])
    )


def _best(scores: np.ndarray) -> np.ndarray:
    best = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
    return best[scores[best] > -np.inf]
