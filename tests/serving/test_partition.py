"""The index in memory: what it finds against exact search, whatever the filter, and how it is chosen."""

import numpy as np
import pyarrow as pa
import pytest

from gfm_store.config import ServingConfig
from gfm_store.serving.partition import ROWS, Partition, PartitionIndex, choose_index, common_filters, measure


@pytest.fixture(scope="module")
def vectors():
    """4,000 rows of one norm around 40 centres."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 16))[rng.integers(40, size=4_000)] + 0.5 * rng.normal(size=(4_000, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).normal(size=(30, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def lists(monkeymodule):
    monkeymodule.setattr("gfm_store.serving.partition.LISTS_PER_ROOT", 40 / 4_000**0.5)


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def partition(vectors, lists):
    return Partition.learn(vectors, seed=0)


def exact(vectors, query, k, allowed):
    scores = np.where(allowed, vectors @ query, -np.inf)
    best = np.argsort(-scores, kind="stable")[:k]
    return best[scores[best] > -np.inf]


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01, 0.0])
@pytest.mark.parametrize("k", [1, 10, 5_000])
def test_all_lists_are_exact_search(partition, vectors, queries, share, k):
    rows = vectors[partition.order]
    index = PartitionIndex(partition, rows, len(rows), len(rows))
    allowed = np.random.default_rng(2).random(len(rows)) < share
    for query in queries[:5]:
        row, score = index.search(query, k, allowed)
        assert row.tolist() == exact(rows, query, k, allowed).tolist()
        assert np.allclose(score, rows[row] @ query, atol=1e-5)


def test_k_rows_come_whenever_k_exist(partition, vectors, queries):
    """One row is enough, and one in a hundred passes; of a list that holds none nothing is wasted."""
    rows = vectors[partition.order]
    index = PartitionIndex(partition, rows, 1, 1)
    allowed = np.zeros(len(rows), dtype=bool)
    allowed[::101] = True
    for query in queries:
        assert len(index.search(query, 10, allowed)[0]) == 10
        assert len(index.search(query, 1_000, allowed)[0]) == allowed.sum()
        assert allowed[index.search(query, 10, allowed)[0]].all()


def test_what_is_stored_is_what_is_found(partition, vectors, queries):
    rows = vectors[partition.order]
    every = np.ones(len(rows), dtype=bool)
    filters = {"all": every, "few": np.random.default_rng(3).random(len(rows)) < 0.1, "none": ~every}
    enough, recall = measure(partition, rows, queries, filters, 0.95)
    assert set(enough) <= set(ROWS)
    assert set(recall) == {"all", "few"}
    assert min(recall.values()) >= 0.95
    index = PartitionIndex(partition, rows, *enough)
    for name, measured in recall.items():
        wanted = [exact(rows, query, 10, filters[name]) for query in queries]
        found = [index.search(query, 10, filters[name])[0] for query in queries]
        shares = [np.isin(one, other).mean() for one, other in zip(wanted, found, strict=True)]
        assert np.mean(shares) == pytest.approx(measured)


def test_a_filter_that_goes_with_the_vectors_costs_no_recall(partition, vectors, queries):
    """Some 650 rows pass: most in lists far from what is asked for, a little in all others. 200 of them are read."""
    rows, list_of_row = vectors[partition.order], np.sort(partition.list_of_row)
    stray = np.random.default_rng(4).random(len(rows)) < 0.01
    shares = []
    for query in queries:
        far = np.argsort(partition.centroid @ query)[:6]
        allowed = np.isin(list_of_row, far) | stray
        found = PartitionIndex(partition, rows, 1, 200).search(query, 10, allowed)[0]
        shares.append(np.isin(exact(rows, query, 10, allowed), found).mean())
    assert np.mean(shares) > 0.95


def test_filters_that_people_use_are_measured():
    kinds = ["a"] * 6 + ["b"] * 3 + [None]
    spoken = ["sv", "sv", "en", "sv", None, "sv", "en", "en", "sv", "sv"]
    found = common_filters(pa.table({"item_type": kinds, "language": spoken}))
    assert {name: allowed.nonzero()[0].tolist() for name, allowed in found.items()} == {
        "item_type = a": [0, 1, 2, 3, 4, 5],
        "item_type = b": [6, 7, 8],
        "language = sv": [0, 1, 3, 5, 8, 9],
        "language = en": [2, 6, 7],
        "item_type = a and language = sv": [0, 1, 3, 5],
        "item_type = b and language = en": [6, 7],
        "item_type = a and language = en": [2],
        "item_type = b and language = sv": [8],
    }
    unknown = pa.table({name: pa.nulls(3, pa.string()) for name in ("item_type", "language")})
    assert common_filters(unknown) == {}


def test_the_index_is_chosen_by_what_it_finds(vectors, queries, lists):
    few, many = ServingConfig(index_rows=10_000), ServingConfig(index_rows=1_000)
    kinds = pa.array(np.where(np.arange(4_000) % 3, "a", "b").tolist())
    retrieval = pa.table({"item_type": kinds, "language": kinds})
    assert choose_index(vectors, queries, retrieval, few, 0)[1].kind == "exact"
    partition, record = choose_index(vectors, queries, retrieval, many, 0)
    assert partition is not None
    assert (record.kind, record.lists) == ("ivf_flat", 40)
    assert {"1.0", "0.1", "0.01", "item_type = a", "language = b"} < set(record.recall)
    assert min(record.recall.values()) >= 0.98
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4_000, 16)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gfm_store.serving.partition.ROWS", (1, 2))
        partition, record = choose_index(noise, queries, retrieval, many, 0)
    assert partition is None
    assert record.kind == "exact"


def test_it_is_kept_beside_the_weights(partition, tmp_path):
    assert Partition.load(tmp_path) is None
    partition.save(tmp_path)
    again = Partition.load(tmp_path)
    assert (again.centroid == partition.centroid).all()
    assert (again.list_of_row == partition.list_of_row).all()


def test_the_same_seed_gives_the_same_lists(vectors, partition, lists):
    assert (Partition.learn(vectors, seed=0).list_of_row == partition.list_of_row).all()
