"""The baselines against plain Python."""

from collections import defaultdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from worlds import AS_OF, catalogue, make_warehouse, stream

from gfm_store.evaluation import baselines
from gfm_store.evaluation.baselines import ItemKNN, Popularity, item_similarity, popularity
from gfm_store.evaluation.split import read_split
from gfm_store.warehouse.connection import open_warehouse

NUM_USERS, NUM_ITEMS = 7, 6


def matrix(days):
    """(users, items) from {(user, item): days since the last stream}."""
    user, item = ([key[i] for key in days] for i in (0, 1))
    return sparse.csr_array((list(map(float, days.values())), (user, item)), shape=(NUM_USERS, NUM_ITEMS))


days_of_streams = st.dictionaries(
    st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1)),
    st.integers(0, 40).map(float),
    min_size=1,
    max_size=30,
)


def similarity_oracle(days, shrink):
    """{item: {other: shrunk cosine}} where users are shared."""
    users = defaultdict(set)
    for user, item in days:
        users[item].add(user)
    return {
        a: {
            b: len(users[a] & users[b]) / (sqrt(len(users[a])) * sqrt(len(users[b])) + shrink)
            for b in users
            if a != b and users[a] & users[b]
        }
        for a in users
    }


@given(days=days_of_streams, neighbours=st.integers(1, 6), shrink=st.sampled_from([0.0, 2.5]))
@settings(max_examples=60, deadline=None)
def test_item_similarity_is_the_shrunk_cosine_of_the_strongest(days, neighbours, shrink):
    found = item_similarity(matrix(days), neighbours, shrink).toarray()
    assert np.diag(found).tolist() == [0.0] * NUM_ITEMS
    oracle = similarity_oracle(days, shrink)
    for item in range(NUM_ITEMS):
        others = oracle.get(item, {})
        kept = {int(other): found[item, other] for other in found[item].nonzero()[0]}
        assert kept == pytest.approx({other: others[other] for other in kept})
        strongest = sorted(others.values(), reverse=True)[:neighbours]
        assert sorted(kept.values(), reverse=True) == pytest.approx(strongest)


@given(days=days_of_streams, window=st.sampled_from([3, 7.5, 30, np.inf]))
@settings(max_examples=40, deadline=None)
def test_popularity_counts_users_inside_the_window(days, window):
    expected = [sum(d <= window for (_, i), d in days.items() if i == item) for item in range(NUM_ITEMS)]
    assert popularity(matrix(days), window).tolist() == expected


ITEMS = [f"p{i}" for i in range(6)]
HISTORY = {
    "u": {"p0": 20, "p1": 2},
    "v": {"p0": 5, "p1": 40, "p2": 1},
    "w": {"p0": 50, "p3": 4},
    "x": {"p1": 30},
}
FUTURE = {"u": "p3", "w": "p2", "new": "p0"}


@pytest.fixture
def split(tmp_path):
    events = [stream(user, item, day) for user, items in HISTORY.items() for item, day in items.items()]
    events += [stream(user, item, -1) for user, item in FUTURE.items()]
    make_warehouse(tmp_path, catalogue(*ITEMS), events)
    with open_warehouse(tmp_path) as warehouse:
        return read_split(warehouse, AS_OF, 14)


def blocks(baseline, split):
    return np.concatenate(list(baseline.scores(split)))


@pytest.mark.parametrize("window", [3, 30])
def test_popularity_breaks_ties_by_all_of_history(split, window):
    scores = blocks(Popularity(window), split)
    days = [[items.get(item, np.inf) for items in HISTORY.values()] for item in ITEMS]
    recent = [sum(d <= window for d in one) for one in days]
    ever = [sum(d < np.inf for d in one) for one in days]
    order = sorted(range(6), key=lambda i: (-recent[i], -ever[i], i))
    assert scores.shape == (3, 6)
    for row in scores:
        assert np.argsort(-row, kind="stable").tolist() == order
        assert np.floor(row).tolist() == recent


@pytest.mark.parametrize("half_life", [10.0, np.inf])
def test_item_knn_sums_similarities_weighted_by_recency(split, half_life):
    scores = blocks(ItemKNN(neighbours=50, shrink=1.0, half_life_days=half_life), split)
    streams = {(u, int(i[1])): d for u, items in HISTORY.items() for i, d in items.items()}
    similarity = similarity_oracle(streams, 1.0)
    assert split.user_id.to_pylist() == ["new", "u", "w"]
    for user, row in zip(split.user_id.to_pylist(), scores, strict=True):
        expected = [
            sum(
                0.5 ** (day / half_life) * similarity[int(mine[1])].get(item, 0.0)
                for mine, day in HISTORY.get(user, {}).items()
            )
            for item in range(6)
        ]
        assert row.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("baseline", [Popularity(7), ItemKNN(50, 0.0, 30.0)], ids=["popularity", "knn"])
def test_blocks_of_users_give_the_same_scores(split, monkeypatch, baseline):
    whole = blocks(baseline, split)
    monkeypatch.setattr(baselines, "USERS_AT_ONCE", 2)
    parts = list(baseline.scores(split))
    assert [len(part) for part in parts] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_grids_hold_what_is_tuned():
    assert [one.days for one in Popularity.grid()] == [3, 7, 14, 30, 90, 365, np.inf]
    assert len(set(ItemKNN.grid())) == 2 * 2 * 3
