"""An inverted-file index in memory (IVF_FLAT): rows lie by list, and a query reads the lists that are nearest to it.

Lists without a row that passes the filter are not counted among those that are read, and reading goes on until k rows
are found: a filter costs no recall, as it would where a fixed number of lists is read. What it costs otherwise is
measured when a version is built (`measure`), and the number of lists to read is chosen by it, or exact search is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
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

    def __init__(self, partition: Partition, vectors: np.ndarray, probes: int) -> None:
        """
        Args:
            vectors: (n, dim) float32, in the order of `partition.order`.
            probes: lists to read.
        """
        count = np.bincount(partition.list_of_row, minlength=len(partition.centroid))
        there = count > 0
        # By torch alone: two libraries' threads in one request wait for each other, several times as long as they work.
        self._centroid, self._count = torch.from_numpy(partition.centroid[there]), count[there]
        self._begin = np.concatenate([[0], np.cumsum(self._count)])
        self._vectors, self.probes = torch.from_numpy(vectors), probes

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
        enough = int(np.searchsorted(np.cumsum(passing[lists]), k)) + 1
        lists = lists[: max(self.probes, enough)]
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


PROBES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SELECTIVITIES = (1.0, 0.1, 0.01)
K = 10
QUERIES = 100


def choose_index(
    vectors: np.ndarray, queries: np.ndarray, config: ServingConfig, seed: int
) -> tuple[Partition | None, IndexRecord]:
    """The index of a version, by what is measured: lists where they find nearly all, else exact search.

    Args:
        vectors: (n, dim) float32, rows of `retrieval`; queries: (q, dim), user vectors.
    """
    if len(vectors) < config.index_rows or not len(queries):
        return None, EXACT
    partition = Partition.learn(vectors, seed)
    chosen = np.random.default_rng(seed).permutation(len(queries))[:QUERIES]
    measured = measure(partition, vectors[partition.order], queries[chosen], config.index_recall, seed)
    if measured is None:
        return None, EXACT
    probes, recall = measured
    return partition, IndexRecord(
        kind="ivf_flat", lists=len(partition.centroid), probes=probes, recall=recall
    )


def measure(
    partition: Partition, vectors: np.ndarray, queries: np.ndarray, enough: float, seed: int
) -> tuple[int, dict[str, float]] | None:
    """The fewest lists to read for a mean recall@10 of `enough` whatever the filter, and that recall by selectivity.

    Against exact search over the same rows, without a filter and with filters that random tenths and hundredths pass.

    Args:
        vectors: (n, dim) in the order of `partition.order`; queries: (q, dim).

    Returns:
        None where even the most lists are too few.
    """
    rng = np.random.default_rng(seed)
    filters = {share: rng.random(len(vectors)) < share for share in SELECTIVITIES}
    exact: dict[float, list[np.ndarray]] = {share: [] for share in SELECTIVITIES}
    for query in queries:
        scores = vectors @ query
        for share, allowed in filters.items():
            exact[share].append(_best(np.where(allowed, scores, -np.inf)))
    for probes in PROBES:
        index = PartitionIndex(partition, vectors, probes)
        recall = {
            str(share): float(
                np.mean(
                    [
                        np.isin(index.search(query, K, allowed)[0], found).sum() / max(len(found), 1)
                        for query, found in zip(queries, exact[share], strict=True)
                    ]
                )
            )
            for share, allowed in filters.items()
        }
        if min(recall.values()) >= enough:
            return probes, recall
    return None


def _best(scores: np.ndarray) -> np.ndarray:
    best = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
    return best[scores[best] > -np.inf]
