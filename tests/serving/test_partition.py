"""The index in memory: what it finds against exact search, whatever the filter, and how it is chosen."""

import numpy as np
import pytest

from gfm_store.config import ServingConfig
from gfm_store.serving.partition import Partition, PartitionIndex, choose_index, measure


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
    index = PartitionIndex(partition, rows, probes=len(partition.centroid))
    allowed = np.random.default_rng(2).random(len(rows)) < share
    for query in queries[:5]:
        row, score = index.search(query, k, allowed)
        assert row.tolist() == exact(rows, query, k, allowed).tolist()
        assert np.allclose(score, rows[row] @ query, atol=1e-5)


def test_k_rows_come_whenever_k_exist(partition, vectors, queries):
    """One list is read, and one row in a hundred passes; of a list that holds none nothing is wasted."""
    rows = vectors[partition.order]
    index = PartitionIndex(partition, rows, probes=1)
    allowed = np.zeros(len(rows), dtype=bool)
    allowed[::101] = True
    for query in queries:
        assert len(index.search(query, 10, allowed)[0]) == 10
        assert len(index.search(query, 1_000, allowed)[0]) == allowed.sum()
        assert allowed[index.search(query, 10, allowed)[0]].all()


def test_what_is_stored_is_what_is_found(partition, vectors, queries):
    rows = vectors[partition.order]
    probes, recall = measure(partition, rows, queries, 0.95, seed=0)
    assert 4 <= probes < len(partition.centroid)
    assert set(recall) == {"1.0", "0.1", "0.01"}
    assert min(recall.values()) >= 0.95
    index = PartitionIndex(partition, rows, probes)
    every = np.ones(len(rows), dtype=bool)
    found = [len({*index.search(q, 10)[0]} & {*exact(rows, q, 10, every)}) / 10 for q in queries]
    assert np.mean(found) == pytest.approx(recall["1.0"])


def test_the_index_is_chosen_by_what_it_finds(vectors, queries, lists):
    few = ServingConfig(index_rows=10_000)
    assert choose_index(vectors, queries, few, 0)[1].kind == "exact"
    partition, record = choose_index(vectors, queries, ServingConfig(index_rows=1_000), 0)
    assert partition is not None
    assert (record.kind, record.lists) == ("ivf_flat", 40)
    assert min(record.recall.values()) >= 0.98
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4_000, 16)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gfm_store.serving.partition.PROBES", (1, 2))
        partition, record = choose_index(noise, queries, ServingConfig(index_rows=1_000), 0)
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
