"""Which index a version has: how many rows a search must read is measured, for each filter that people use.

Filters are the most common types and languages, all pairs of them, and some that are drawn at random. Where a quarter
of all rows would have to be read, exact search stays.
"""

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from gfm_store.config import ServingConfig
from gfm_store.serving.partition import NAMES, K, Partition, best_places, codes
from gfm_store.vectors.version import EXACT, IndexRecord

QUERIES = 300
QUERIES_AT_ONCE = 20
CONFIDENCE = 3
"""Standard errors by which recall must be above what is asked for: others will ask, and a few find far less."""
SELECTIVITIES = (1.0, 0.1, 0.01)
"""Shares of the rows that pass filters drawn at random."""
COMMON = 5
"""Most common types and languages, and all pairs of them, by which filters are measured."""
WORTH = 0.25
"""Reading a greater share of all rows, list by list, is no faster than reading them all."""


def filter_name(asked: Mapping[str, str]) -> str:
    """What a filter by these columns' values is called; without any, all rows pass."""
    return " and ".join(f"{name} = {asked[name]}" for name in NAMES if name in asked) or str(SELECTIVITIES[0])


def common_filters(retrieval: pa.Table) -> dict[str, np.ndarray]:
    """(n,) bool each, by name: of `retrieval`'s most common types and languages, and their pairs."""
    equal: dict[str, dict[str, np.ndarray]] = {}
    for name in NAMES:
        code, values = codes(retrieval, name)
        count = np.bincount(code, minlength=len(values) + 1)[:-1]
        most = sorted(range(len(values)), key=lambda one: (-count[one], values[one]))[:COMMON]
        equal[name] = {values[one]: code == one for one in most}
    found = {filter_name({name: value}): rows for name in NAMES for value, rows in equal[name].items()}
    for kind, of_kind in equal[NAMES[0]].items():
        for language, spoken in equal[NAMES[1]].items():
            if (both := of_kind & spoken).any():
                found[filter_name(dict(zip(NAMES, (kind, language), strict=True)))] = both
    return found


def choose_index(
    vectors: np.ndarray, queries: np.ndarray, retrieval: pa.Table, config: ServingConfig, seed: int
) -> tuple[Partition | None, IndexRecord]:
    """The index of a version, by what is measured: lists where reading few rows finds nearly all, else exact search.

    Args:
        vectors: (n, dim) float32, rows of `retrieval`; queries: (q, dim), user vectors.
        retrieval: columns item_type and language.
    """
    if len(vectors) < config.index_rows or not len(queries):
        return None, EXACT
    partition = Partition.learn(vectors, retrieval, seed)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(queries))[:QUERIES]
    filters = {str(share): rng.random(len(vectors)) < share for share in SELECTIVITIES}
    filters |= common_filters(retrieval)
    order = partition.order
    filters = {name: allowed[order] for name, allowed in filters.items()}
    rows, recall = measure(partition, vectors[order], queries[chosen], filters, config.index_recall)
    if rows[filter_name({})] > WORTH * len(vectors):
        return None, EXACT
    return partition, IndexRecord(kind="ivf_flat", lists=len(partition.centroid), rows=rows, recall=recall)


def measure(
    partition: Partition,
    vectors: np.ndarray,
    queries: np.ndarray,
    filters: Mapping[str, np.ndarray],
    enough: float,
) -> tuple[dict[str, int], dict[str, float]]:
    """The fewest rows to read for a recall@K of surely `enough`, and the mean recall that they have, by filter.

    Args:
        vectors: (n, dim) in the order of `partition.order`; queries: (q, dim).
        filters: (n,) bool each, in that order; those that nothing passes are left out.
    """
    passing = {name: allowed.nonzero()[0] for name, allowed in filters.items() if allowed.any()}
    before: dict[str, list[np.ndarray]] = {name: [] for name in passing}
    for begin in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries[begin : begin + QUERIES_AT_ONCE]
        for query, scores in zip(some, some @ vectors.T, strict=True):
            lists = partition.nearest_first(query)
            for name, row in passing.items():
                best = row[best_places(scores[row], K)]
                before[name].append(_read_before(partition, lists, row, best))
    rows, recall = {}, {}
    for name, many in before.items():
        read = np.stack(many)  # (q, K), or fewer where fewer pass
        rows[name] = _fewest(read, enough)
        recall[name] = float((read < rows[name]).mean())
    return rows, recall


def _fewest(read: np.ndarray, enough: float) -> int:
    """Rows that surely find `enough` of what is found after more rows than `read` (q, K)."""
    tried: list[int] = (np.unique(read) + 1).tolist()
    return tried[bisect_left(tried, True, key=lambda rows: _surely(read < rows) >= enough)]


def _surely(found: np.ndarray) -> float:
    """The recall that other queries will at least have on average, from what some have found, (q, K) bool."""
    recall = found.mean(axis=1)
    return float(recall.mean() - CONFIDENCE * recall.std() / len(recall) ** 0.5)


def _read_before(partition: Partition, lists: np.ndarray, row: np.ndarray, best: np.ndarray) -> np.ndarray:
    """(b,) int64: how many of the rows `row` that pass are read before the lists that hold the rows `best` (b,)."""
    count = np.diff(np.searchsorted(row, partition.begin))
    before = np.empty(len(lists), dtype=np.int64)
    before[lists] = np.cumsum(count[lists]) - count[lists]
    return before[np.searchsorted(partition.begin, best, side="right") - 1]
