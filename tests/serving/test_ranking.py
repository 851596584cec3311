"""Exact top-k in blocks, against NumPy."""

import numpy as np
import pytest

from gfm_store.serving import ranking
from gfm_store.serving.ranking import top_k

NOTHING = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def oracle(users, items, k, seen, allowed):
    scores = users @ items.T
    scores[seen[0], seen[1]] = -np.inf
    scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, order, axis=1) == -np.inf, -1, order)


@pytest.mark.parametrize("k", [1, 7, 60])
@pytest.mark.parametrize("block", [(3, 11, 3), (512, 131_072, 64), (10, 40, 1), (4, 38, 4)])
def test_blocks_give_what_the_whole_matrix_gives(monkeypatch, k, block):
    for name, size in zip(("USERS_AT_ONCE", "ITEMS_AT_ONCE", "RUN"), block, strict=True):
        monkeypatch.setattr(ranking, name, size)
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(10, 8)).astype(np.float32), rng.normal(size=(40, 8)).astype(np.float32)
    pairs = rng.choice(400, 60, replace=False)
    seen = (pairs // 40, pairs % 40)
    allowed = rng.random(40) < 0.6
    ranked = top_k(users, items, k, seen, allowed)
    expected = oracle(users, items, min(k, 40), seen, allowed)
    assert (ranked.row == expected).all()
    there = expected >= 0
    assert np.allclose(ranked.score[there], (users @ items.T)[there.nonzero()[0], expected[there]], atol=1e-5)


@pytest.mark.parametrize("num_items", [63, 64, 1_300, 2_560, 2_600])
def test_the_best_lie_in_the_runs_with_the_highest_maxima(num_items):
    """Runs of 64, and what is left over; the best of many items stand side by side."""
    rng = np.random.default_rng(num_items)
    users, items = (rng.normal(size=(n, 4)).astype(np.float32) for n in (20, num_items))
    items = items[np.argsort(items[:, 0])]
    everything = np.ones(num_items, dtype=bool)
    ranked = top_k(users, items, 10, NOTHING, everything)
    assert (ranked.row == oracle(users, items, 10, NOTHING, everything)).all()


def test_filters_come_before_the_search():
    items = np.eye(5, dtype=np.float32)
    user = np.array([[5, 4, 3, 2, 1]], dtype=np.float32)
    allowed = np.array([False, False, False, True, True])
    assert top_k(user, items, 2, NOTHING, allowed).row.tolist() == [[3, 4]]


def test_fewer_items_than_k():
    items = np.eye(3, dtype=np.float32)
    seen = (np.array([0]), np.array([1]))
    assert top_k(np.ones((1, 3), dtype=np.float32), items, 10, seen).row.tolist()[0][2] == -1


def test_no_users():
    assert top_k(np.zeros((0, 3), dtype=np.float32), np.eye(3, dtype=np.float32), 2, NOTHING).row.shape == (
        0,
        2,
    )
