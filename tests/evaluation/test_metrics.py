"""Ranking metrics, worked out by hand, and intervals against what is known of them."""

from dataclasses import astuple
from math import log2

import numpy as np
import pytest
import torch
from scipy import sparse
from torch_geometric.metrics import LinkPredAveragePopularity, LinkPredCoverage

from gfm_store.evaluation.metrics import (
    COVERAGE,
    METRICS,
    NOVELTY,
    TAIL,
    Bootstrap,
    Estimate,
    Sums,
    mean_sample,
    measure,
    overlap,
    per_user,
    type_shares,
)


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


def test_the_reciprocal_of_the_first_targets_place_counts_up_to_100():
    long_list = list(range(200, 300))
    ranked = [long_list, long_list, long_list, long_list]
    found = measured(ranked, [200], [203, 201], [299], [300])
    assert found["MRR@100"] == pytest.approx([1, 1 / 2, 1 / 100, 0])
    beyond = [list(range(101))]
    assert measured(beyond, [100])["MRR@100"] == [0]


def test_hits_among_the_first_50():
    long_list = list(range(100))
    found = measured([long_list] * 3, [49], [50], [99, 48])
    assert found["HR@50"] == [1, 0, 1]
    assert found["HR@10"] == [0, 0, 0]
    assert found["Recall@50"] == pytest.approx([1, 0, 1 / 2])


def test_lists_without_places_hit_nothing():
    found = per_user(np.zeros((2, 0), dtype=np.int32), np.array([0, 1]), np.array([3, 0]))
    assert {name: values.tolist() for name, values in found.items()} == {name: [0, 0] for name in found}


# Everything about a system: six items, two users.

SHARE = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64])
TAIL_ITEMS = np.array([False, False, False, True, True, True])


def figures(sums, users=None):
    """Values by name, None where they cannot be computed."""
    users = np.arange(len(sums.above)) if users is None else users
    sample = Bootstrap(int(users.max()) + 1).sample(users, sums)
    return {name: (one.value if (one := sample.estimate(name)) else None) for name in sample.names}


def test_novelty_long_tail_and_coverage_by_hand():
    ranked = np.array([[0, 3, 1], [4, 0, -1]])
    # u0 wants 3 and 0, u1 wants 4 and 5: of three hits, two are in the tail.
    sums = measure(ranked, np.array([0, 0, 1, 1]), np.array([3, 0, 4, 5]), SHARE, TAIL_ITEMS, 6)
    assert sums.above[:, sums.names.index(TAIL)].tolist() == [1, 1]
    assert sums.below[:, sums.names.index(TAIL)].tolist() == [2, 1]
    assert sums.above[:, sums.names.index(NOVELTY)].tolist() == [1 + 4 + 2, 5 + 1]
    assert sums.below[:, sums.names.index(NOVELTY)].tolist() == [3, 2]
    found = figures(sums)
    assert set(found) == set(METRICS)
    assert found[TAIL] == pytest.approx(2 / 3)
    assert found[NOVELTY] == pytest.approx(13 / 5)
    assert found[COVERAGE] == pytest.approx(4 / 6)  # 0, 1, 3, 4
    assert found["HR@10"] == 1
    assert found["MRR@100"] == 1
    assert found["Recall@50"] == pytest.approx(3 / 4)


def test_only_the_first_ten_count_for_novelty_tail_and_coverage():
    share, tail = np.full(20, 1 / 2), np.arange(20) >= 10
    share[10:] = 1 / 1024
    sums = measure(np.arange(20)[None], np.array([0, 0]), np.array([9, 10]), share, tail, 20)
    found = figures(sums)
    assert found[NOVELTY] == 1
    assert found[TAIL] == 0
    assert found[COVERAGE] == 0.5


def test_coverage_counts_the_candidates_of_the_view_alone():
    ranked = np.array([[0, 1], [1, 2], [1, 0]])
    sums = measure(ranked, np.arange(3), np.array([5, 5, 5]), SHARE, TAIL_ITEMS, 4)
    assert figures(sums)[COVERAGE] == 3 / 4
    without = Bootstrap(3).sample(np.arange(3), sums, coverage=False)
    assert COVERAGE not in without.names


def test_torch_geometric_agrees_on_coverage_and_novelty():
    generator = np.random.default_rng(3)
    ranked = np.stack([generator.permutation(60)[:30] for _ in range(4)])
    share = generator.uniform(0.01, 1, 60)
    found = figures(measure(ranked, np.arange(4), np.arange(4), share, np.zeros(60, bool), 60))
    coverage = LinkPredCoverage(10, num_dst_nodes=60)
    surprise = LinkPredAveragePopularity(10, popularity=torch.from_numpy(-np.log2(share)))
    for metric in (coverage, surprise):
        metric.update(torch.from_numpy(ranked), torch.zeros(2, 1, dtype=torch.int64))
    assert found[COVERAGE] == pytest.approx(float(coverage.compute()))
    assert 0.3 < found[COVERAGE] < 0.6
    assert found[NOVELTY] == pytest.approx(float(surprise.compute()), rel=1e-5)


def test_what_cannot_be_computed_is_none_and_not_zero():
    # No hit at all: HR is 0 and known to be, a share of no hits is nothing.
    sums = measure(np.array([[0], [1]]), np.array([0, 1]), np.array([5, 5]), SHARE, TAIL_ITEMS, 6)
    found = figures(sums)
    assert found["HR@10"] == 0
    assert found[TAIL] is None
    nothing = measure(np.full((2, 3), -1), np.array([0, 1]), np.array([5, 5]), SHARE, TAIL_ITEMS, 0)
    found = figures(nothing)
    assert found[NOVELTY] is None
    assert found["NDCG@10"] == 0
    assert COVERAGE not in found


def test_a_share_that_most_resamples_know_is_told_and_others_are_not():
    # One hit among 5 users is missed by (4/5)^5 = 33% of the resamples; three hits by (2/5)^5 = 1%.
    for hits, told in ((1, False), (3, True)):
        target = np.where(np.arange(5) < hits, 3, 5)
        sums = measure(np.full((5, 1), 3), np.arange(5), target, SHARE, TAIL_ITEMS, 6)
        assert figures(sums)[TAIL] == (1 if told else None)


# Intervals.


def sums_of(*columns, below=None):
    """Sums of M made-up metrics "0", "1", ... from values (u,) each."""
    above = np.stack(columns, axis=1).astype(float)
    below = np.ones_like(above) if below is None else np.stack([below] * len(columns), axis=1).astype(float)
    names = tuple(str(i) for i in range(len(columns)))
    return Sums(names, above, below, sparse.csr_array((len(above), 1), dtype=np.float32), 0)


def estimate_of(values, seed=0):
    """The mean of values (u,) with its interval."""
    return Bootstrap(len(values), seed).sample(np.arange(len(values)), sums_of(values)).estimate("0")


def width(estimate):
    return estimate.high - estimate.low


def test_an_interval_agrees_with_the_normal_approximation_and_narrows_with_more_users():
    few, many = (np.tile([0.0, 1.0, 0.0, 0.0], n) for n in (25, 1000))
    for values in (few, many):
        found, expected = estimate_of(values), 1.96 * (0.25 * 0.75 / len(values)) ** 0.5
        assert found.value == 0.25
        assert found.high - 0.25 == pytest.approx(expected, rel=0.1)
        assert 0.25 - found.low == pytest.approx(expected, rel=0.1)
    assert width(estimate_of(few)) / width(estimate_of(many)) == pytest.approx(40**0.5, rel=0.1)
    values = np.random.default_rng(0).random(50)
    assert estimate_of(values, seed=3) == estimate_of(values, seed=3) != estimate_of(values, seed=4)
    assert estimate_of(np.full(5, 0.5)) == Estimate(0.5, 0.5, 0.5)
    assert str(Estimate(0.25, 0.1, 0.41234)) == "0.2500 [0.1000, 0.4123]"


def test_intervals_hold_the_true_mean_nineteen_times_in_twenty():
    generator = np.random.default_rng(1)
    samples = generator.gamma(2.0, 0.5, (300, 200))  # 200 samples of 300 users; the true mean is 1
    drawn = Bootstrap(300).sample(np.arange(300), sums_of(*samples.T))
    found = [drawn.estimate(name) for name in drawn.names]
    holds = np.mean([one.low <= 1 <= one.high for one in found])
    assert 0.91 <= holds <= 0.985


def test_intervals_of_a_ratio_of_sums_hold_the_true_ratio():
    # Users differ in how many hits they have; each hit is in the tail with a chance of 0.3.
    generator = np.random.default_rng(2)
    holds = []
    bootstrap = Bootstrap(300)
    for _ in range(200):
        hits = generator.poisson(3, 300)
        one = bootstrap.sample(np.arange(300), sums_of(generator.binomial(hits, 0.3), below=hits))
        found = one.estimate("0")
        holds.append(found.low <= 0.3 <= found.high)
    assert 0.91 <= np.mean(holds) <= 0.985


def pair(first, second):
    bootstrap = Bootstrap(len(first))
    return [bootstrap.sample(np.arange(len(first)), sums_of(one)) for one in (first, second)]


def test_equal_systems_differ_by_exactly_nothing():
    values = np.random.default_rng(0).random(50)
    one, same = pair(values, values.copy())
    assert one.difference(same, "0") == Estimate(0, 0, 0)
    assert one.ratio(same, "0") == Estimate(1, 1, 1)


def test_differences_and_ratios_by_hand():
    values = np.random.default_rng(0).random(400)
    twice, once = pair(2 * values, values)
    assert astuple(twice.ratio(once, "0")) == pytest.approx((2, 2, 2))
    difference, mean = twice.difference(once, "0"), once.estimate("0")
    assert astuple(difference) == pytest.approx(astuple(mean))
    back = once.difference(twice, "0")
    assert astuple(back) == pytest.approx((-mean.value, -mean.high, -mean.low))


def test_systems_that_err_on_the_same_users_are_told_apart_by_less():
    generator = np.random.default_rng(4)
    hard = generator.random(500)
    system = hard + 0.02 * generator.standard_normal(500)
    near, far = hard + 0.01, generator.permutation(hard) + 0.01
    paired = (lambda one, other: one.difference(other, "0"))(*pair(near, system))
    apart = (lambda one, other: one.difference(other, "0"))(*pair(far, system))
    # Standard errors: 0.02 / sqrt(500) where only the noise differs, sqrt(2 / 12 / 500) where all does.
    assert width(paired) == pytest.approx(2 * 1.96 * 0.02 / 500**0.5, rel=0.15)
    assert width(apart) == pytest.approx(2 * 1.96 * (2 / 12 / 500) ** 0.5, rel=0.15)
    assert paired.low > 0
    assert apart.low < 0 < apart.high


def test_a_ratio_to_nothing_is_none():
    some, nothing = pair(np.ones(20), np.zeros(20))
    assert some.ratio(nothing, "0") is None
    assert nothing.ratio(some, "0") == Estimate(0, 0, 0)
    assert some.difference(nothing, "0") == Estimate(1, 1, 1)


def test_the_users_of_a_view_are_drawn_as_they_are_in_all_views():
    values = np.random.default_rng(0).random(30)
    bootstrap = Bootstrap(30)
    mine = np.array([2, 5, 7, 11, 20, 29])
    alone = bootstrap.sample(mine, sums_of(values[mine]))
    weighed = np.where(np.isin(np.arange(30), mine), values, 0)
    inside = np.isin(np.arange(30), mine)
    whole = bootstrap.sample(np.arange(30), sums_of(weighed, below=inside))
    np.testing.assert_allclose(alone.drawn, whole.drawn)
    assert alone.value == pytest.approx(values[mine].mean())


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_coverage_holds_the_coverage(seed):
    generator = np.random.default_rng(seed)
    num_users, num_items = 40, 300
    weight = generator.dirichlet(np.full(num_items, 0.3))
    ranked = np.stack(
        [generator.choice(num_items, 10, replace=False, p=weight + 1e-12) for _ in range(num_users)]
    )
    sums = measure(
        ranked,
        np.arange(num_users),
        ranked[:, 0],
        np.full(num_items, 0.5),
        np.zeros(num_items, bool),
        num_items,
    )
    found = Bootstrap(num_users, seed).sample(np.arange(num_users), sums).estimate(COVERAGE)
    assert found.value == len(set(ranked.flatten().tolist())) / num_items
    assert found.low < found.value < found.high
    # Its spread is that of counting the distinct items of users who are drawn anew.
    spread = [
        len(set(ranked[generator.integers(0, num_users, num_users)].flatten().tolist())) / num_items
        for _ in range(1000)
    ]
    low, high = np.quantile(spread, [0.025, 0.975])
    assert width(found) == pytest.approx(high - low, rel=0.2)


def test_the_interval_of_coverage_ends_at_all():
    ranked = np.arange(40).reshape(4, 10)
    sums = measure(ranked, np.arange(4), ranked[:, 0], np.full(40, 0.5), np.zeros(40, bool), 40)
    found = Bootstrap(4).sample(np.arange(4), sums).estimate(COVERAGE)
    assert found.value == 1
    assert found.low < 1
    assert found.high <= 1


def test_lists_share_what_both_hold_wherever_it_stands():
    one = np.array([[1, 2, 3], [4, 5, -1]])
    other = np.array([[3, 1, 9], [6, -1, -1]])
    assert overlap(one, other) == pytest.approx(2 / 5)  # -1 is nothing that could be shared
    assert overlap(one, one) == 1
    assert overlap(np.full((2, 3), -1), other) == 0


def test_type_shares_count_users_alike_however_many_items_they_have():
    user, kind = np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 1])
    np.testing.assert_allclose(type_shares(user, kind, 3), [0.375, 0.625, 0])  # user 1 has none
    assert type_shares(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [0, 0]


def test_the_mean_over_seeds_is_drawn_with_the_same_users():
    """One seed finds the first half of the users' items, the other the second half: their mean never varies."""
    first = np.repeat([1.0, 0.0], 100)
    bootstrap = Bootstrap(200)
    samples = [bootstrap.sample(np.arange(200), sums_of(values)) for values in (first, 1 - first)]
    assert samples[0].estimate("0").high - samples[0].estimate("0").low > 0.1
    found = mean_sample(samples).estimate("0")
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))
