"""Ranking metrics, worked out by hand."""

from math import log2

import numpy as np
import pytest

from gfm_store.evaluation.metrics import Estimate, bootstrap, per_user


def measured(ranked, *targets):
    """Metrics of lists (one a user) against the users' sets of targets."""
    user = np.array([u for u, items in enumerate(targets) for _ in items], dtype=np.int64)
    item = np.array([item for items in targets for item in items], dtype=np.int64)
    return {name: values.tolist() for name, values in per_user(np.array(ranked), user, item).items()}


def test_one_target_at_each_place():
    ranked = [[7, 8, 9, 1], [8, 7, 9, 1], [8, 9, 1, 7], [8, 9, 1, 2]]
    found = measured(ranked, [7], [7], [7], [7])
    assert found["HR@10"] == [1, 1, 1, 0]
    assert found["NDCG@10"] == pytest.approx([1, 1 / log2(3), 1 / log2(5), 0])
    assert found["Recall@50"] == [1, 1, 1, 0]


def test_several_targets_against_the_best_possible_order():
    found = measured([[1, 5, 2, 6], [1, 2, 5, 6]], [1, 2, 3], [5])
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert found["HR@10"] == [1, 1]
    assert found["NDCG@10"] == pytest.approx([(1 + 1 / log2(4)) / ideal, 1 / log2(4)])
    assert found["Recall@50"] == pytest.approx([2 / 3, 1])


def test_what_stands_beyond_the_cut_does_not_count():
    list_of_fifty = list(range(100, 150))
    found = measured([list_of_fifty, list_of_fifty], [109, 110], [110, 149])
    assert found["HR@10"] == [1, 0]
    ideal = 1 + 1 / log2(3)
    assert found["NDCG@10"] == pytest.approx([1 / log2(11) / ideal, 0])
    assert found["Recall@50"] == [1, 1]


def test_more_targets_than_the_list_has_places():
    found = measured([list(range(50))], list(range(60)))
    assert found["NDCG@10"] == pytest.approx([1])
    assert found["Recall@50"] == pytest.approx([50 / 60])


def test_places_without_an_item_hit_nothing():
    # Read as an item number, -1 of the second user would be the last item of the first.
    found = measured([[-1, -1, -1], [3, -1, -1], [-1, -1, -1]], [9], [3], [0])
    assert found["HR@10"] == [0, 1, 0]
    assert found["NDCG@10"] == pytest.approx([0, 1, 0])
    assert found["Recall@50"] == [0, 1, 0]


def test_the_users_of_the_targets_may_come_in_any_order():
    ranked = np.array([[1, 2], [3, 4], [5, 6]])
    found = per_user(ranked, np.array([2, 0, 1, 0]), np.array([6, 9, 3, 1]))
    assert found["HR@10"].tolist() == [1, 1, 1]
    assert found["Recall@50"].tolist() == [0.5, 1, 1]


def test_an_interval_covers_the_mean_and_narrows_with_more_users():
    few, many = (np.tile([0.0, 1.0, 0.0, 0.0], n) for n in (10, 1000))
    assert bootstrap(few).mean == bootstrap(many).mean == 0.25
    # Normal approximation: 1.96 * sqrt(p (1 - p) / n).
    assert bootstrap(many).high - 0.25 == pytest.approx(1.96 * (0.25 * 0.75 / 4000) ** 0.5, rel=0.15)
    assert 0.25 - bootstrap(few).low == pytest.approx(1.96 * (0.25 * 0.75 / 40) ** 0.5, rel=0.25)
    assert bootstrap(few, seed=3) == bootstrap(few, seed=3)
    assert bootstrap(np.full(5, 0.5)) == Estimate(0.5, 0.5, 0.5)
    assert str(Estimate(0.25, 0.1, 0.41234)) == "0.2500 [0.1000, 0.4123]"
