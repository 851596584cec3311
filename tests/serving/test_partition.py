"""The index in memory: what it finds against exact search, whatever the filter, and how it is chosen."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from gfm_store.config import ServingConfig
from gfm_store.serving.index_choice import (
    CONFIDENCE,
    choose_index,
    common_filters,
    filter_name,
    measure,
)
from gfm_store.serving.partition import Partition, PartitionIndex


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
def retrieval(vectors):
    """Two types and three languages, which have nothing to do with the vectors."""
    rng = np.random.default_rng(5)
    columns = {"item_type": ["a", "b"], "language": ["en", "sv", None]}
    return pa.table(
        {name: pa.array(rng.choice(values, len(vectors)).tolist()) for name, values in columns.items()}
    )


@pytest.fixture(scope="module")
def partition(vectors, retrieval, lists):
    return Partition.learn(vectors, retrieval, seed=0)


def searching(partition, rows, enough):
    """An index that reads so many rows that pass."""
    return PartitionIndex(partition, rows, {"1.0": enough})


def list_of_row(partition):
    """(n,) in the order of the partition."""
    return np.repeat(np.arange(len(partition.centroid)), np.diff(partition.begin))


def exact(vectors, query, k, allowed):
    scores = np.where(allowed, vectors @ query, -np.inf)
    best = np.argsort(-scores, kind="stable")[:k]
    return best[scores[best] > -np.inf]


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01, 0.0])
@pytest.mark.parametrize("k", [1, 10, 5_000])
def test_all_lists_are_exact_search(partition, vectors, queries, share, k):
    rows = vectors[partition.order]
    index = searching(partition, rows, len(rows))
    rng = np.random.default_rng(2)
    allowed, left_out = rng.random(len(rows)) < share, rng.integers(0, len(rows), 300)
    passing = index.passing(allowed, None)
    without = allowed.copy()
    without[left_out] = False
    for query in queries[:5]:
        row, score = index.search(query, k, passing)
        assert row.tolist() == exact(rows, query, k, allowed).tolist()
        assert np.allclose(score, rows[row] @ query, atol=1e-5)
        assert (
            index.search(query, k, passing, left_out)[0].tolist() == exact(rows, query, k, without).tolist()
        )


def test_k_rows_come_whenever_k_exist(partition, vectors, queries):
    """One row is enough, and one in a hundred passes; of a list that holds none nothing is wasted."""
    rows = vectors[partition.order]
    index = searching(partition, rows, 1)
    allowed = np.zeros(len(rows), dtype=bool)
    allowed[::101] = True
    passing = index.passing(allowed, None)
    for query in queries:
        found = index.search(query, 10, passing)[0]
        assert len(found) == 10
        assert allowed[found].all()
        assert len(index.search(query, 1_000, passing)[0]) == allowed.sum()
        others = index.search(query, 10, passing, found)[0]
        assert len(others) == 10
        assert not np.isin(others, found).any()
        assert len(index.search(query, 10, passing, allowed.nonzero()[0][3:])[0]) == 3


def test_what_is_stored_is_what_is_found(partition, vectors, queries):
    rows = vectors[partition.order]
    every = np.ones(len(rows), dtype=bool)
    filters = {"1.0": every, "few": np.random.default_rng(3).random(len(rows)) < 0.1, "none": ~every}
    enough, recall = measure(partition, rows, queries, filters, 0.95)
    assert set(recall) == set(enough) == {"1.0", "few"}
    assert max(enough.values()) < len(rows) / 2

    def found(name, fewer):
        index = PartitionIndex(partition, rows, {name: enough[name] - fewer})
        passing = index.passing(filters[name], name)
        wanted = [exact(rows, query, 10, filters[name]) for query in queries]
        return np.array(
            [
                np.isin(own, index.search(query, 10, passing)[0]).mean()
                for own, query in zip(wanted, queries, strict=True)
            ]
        )

    for name, measured in recall.items():
        shares, fewer = found(name, 0), found(name, 1)
        assert shares.mean() == pytest.approx(measured)
        assert shares.mean() - CONFIDENCE * shares.std() / 30**0.5 >= 0.95  # so other users find as much
        assert fewer.mean() - CONFIDENCE * fewer.std() / 30**0.5 < 0.95  # they are the fewest


def test_each_filter_reads_what_was_measured_for_it(partition, vectors, queries):
    index = PartitionIndex(partition, vectors[partition.order], {"1.0": 5, "item_type = a": 7, "few": 3})
    every = np.ones(len(vectors), dtype=bool)
    assert [index.passing(every, name).enough for name in ("1.0", "item_type = a", "few")] == [5, 7, 3]
    assert [index.passing(every, name).enough for name in (None, "creator = x")] == [7, 7]


def test_a_filter_that_goes_with_the_vectors_costs_no_recall(partition, vectors, queries):
    """Some 650 rows pass: most in lists far from what is asked for, a little in all others. 200 of them are read."""
    rows = vectors[partition.order]
    stray = np.random.default_rng(4).random(len(rows)) < 0.01
    index = searching(partition, rows, 200)
    shares = []
    for query in queries:
        far = partition.nearest_first(query)[-6:]
        allowed = np.isin(list_of_row(partition), far) | stray
        found = index.search(query, 10, index.passing(allowed, None))[0]
        shares.append(np.isin(exact(rows, query, 10, allowed), found).mean())
    assert np.mean(shares) > 0.95


def test_what_passes_a_filter_lies_together(partition, retrieval):
    lists = list_of_row(partition)
    ordered = retrieval.take(pa.array(partition.order)).to_pylist()
    keys = [(int(one), row["item_type"], row["language"]) for one, row in zip(lists, ordered, strict=True)]
    changes = sum(a != b for a, b in pairwise(keys))
    assert changes + 1 == len(set(keys))
    assert sorted(partition.order.tolist()) == list(range(len(lists)))


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
    assert filter_name({"language": "sv", "item_type": "a"}) == "item_type = a and language = sv"
    assert filter_name({}) == "1.0"
    unknown = pa.table({name: pa.nulls(3, pa.string()) for name in ("item_type", "language")})
    assert common_filters(unknown) == {}


def test_the_index_is_chosen_by_what_it_finds(vectors, queries, lists):
    few, many = (ServingConfig(index_rows=rows, index_recall=0.95) for rows in (10_000, 1_000))
    kinds = pa.array(np.where(np.arange(4_000) % 3, "a", "b").tolist())
    retrieval = pa.table({"item_type": kinds, "language": kinds})
    assert choose_index(vectors, queries, retrieval, few, 0)[1].kind == "exact"
    partition, record = choose_index(vectors, queries, retrieval, many, 0)
    assert partition is not None
    assert (record.kind, record.lists) == ("ivf_flat", 40)
    assert {"1.0", "0.1", "0.01", "item_type = a", "language = b"} < set(record.recall)
    assert min(record.recall.values()) >= 0.95
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4_000, 16)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    partition, record = choose_index(noise, queries, retrieval, many, 0)
    assert partition is None  # too much would have to be read
    assert record.kind == "exact"


def test_it_is_kept_beside_the_weights(partition, tmp_path):
    assert Partition.load(tmp_path) is None
    partition.save(tmp_path)
    again = Partition.load(tmp_path)
    for name in ("centroid", "begin", "order"):
        assert (getattr(again, name) == getattr(partition, name)).all()


def test_the_same_seed_gives_the_same_lists(vectors, retrieval, partition, lists):
    assert (Partition.learn(vectors, retrieval, seed=0).order == partition.order).all()


@pytest.mark.parametrize("near", [1, 3, 10_000])
def test_how_many_lists_are_put_in_order_first_changes_nothing(
    partition, vectors, queries, near, monkeypatch
):
    index = searching(partition, vectors[partition.order], 40)
    some = np.random.default_rng(4).random(len(vectors)) < 0.05
    for allowed in (np.ones(len(vectors), dtype=bool), some, np.zeros(len(vectors), dtype=bool)):
        passing = index.passing(allowed, None)
        whole = [index.search(query, 10, passing) for query in queries]
        with monkeypatch.context() as patch:
            patch.setattr("gfm_store.serving.partition.NEAR", near)
            again = [index.search(query, 10, passing) for query in queries]
        for one, other in zip(whole, again, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
