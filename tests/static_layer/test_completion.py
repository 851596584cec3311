"""Users' sets, and the targets that are drawn from them."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_store.static_layer.completion import BalancedSampler, UserSets


def sets_of(*members):
    """User i has the i-th of these sets."""
    user = [i for i, nodes in enumerate(members) for _ in nodes]
    node = [n for nodes in members for n in nodes]
    return UserSets.from_pairs(torch.tensor(user, dtype=torch.int64), torch.tensor(node, dtype=torch.int64))


def members_of(sets):
    return [part.tolist() for part in sets.node.split(sets.user_ptr.diff().tolist())]


def sampler_of(sets, node_type, balanced=True, seed=0):
    return BalancedSampler(
        sets,
        torch.tensor(node_type),
        balanced=balanced,
        generator=torch.Generator().manual_seed(seed),
    )


def test_sets_of_one_item_are_left_out():
    sets = sets_of([1, 3], [2], [0, 1, 2], [3], [0, 3])
    assert sets.user_ptr.tolist() == [0, 2, 5, 7]
    assert members_of(sets) == [[1, 3], [0, 1, 2], [0, 3]]


@pytest.mark.parametrize("members", [[], [[1], [2]]])
def test_without_sets_there_is_nothing_to_draw_from(members):
    sets = sets_of(*members)
    assert (sets.user_ptr.tolist(), sets.node.tolist()) == ([0], [])
    for balanced in (True, False):
        assert len(sampler_of(sets, [0, 0, 1], balanced)) == 0


@given(
    members=st.lists(st.sets(st.integers(0, 9), min_size=2, max_size=8), min_size=1, max_size=6),
    context_items=st.integers(1, 12),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_context_is_of_the_targets_set_and_never_holds_the_target(members, context_items, seed):
    # Each user has ten items of his own, so that a node tells whose it is.
    sets = sets_of(*[[10 * user + n for n in sorted(nodes)] for user, nodes in enumerate(members)])
    sampler = sampler_of(sets, [0] * 60, seed=seed)
    targets = sampler.draw(40, context_items)
    assert targets.node.shape == (40,)
    assert targets.context.shape == (40, context_items)
    for node, context in zip(targets.node.tolist(), targets.context.tolist(), strict=True):
        others = {node // 10 * 10 + n for n in members[node // 10]} - {node}
        assert set(context) <= others


def test_all_others_of_a_set_are_drawn_equally_and_smaller_sets_repeat():
    sampler = sampler_of(sets_of([0, 1, 2, 3, 4]), [0] * 5)
    targets = sampler.draw(2000, 8)
    found = Counter(
        zip(targets.node.repeat_interleave(8).tolist(), targets.context.flatten().tolist(), strict=True)
    )
    # 16,000 draws over 20 ordered pairs: 800 each, standard deviation 29 (38 with the target's own).
    assert sorted(found) == [(a, b) for a in range(5) for b in range(5) if a != b]
    assert min(found.values()) > 800 - 5 * 45
    assert max(found.values()) < 800 + 5 * 45


SETS = [[0, 1, 2, 3, 4, 5, 8], [0, 1, 2, 3], [0, 5, 6, 9], [4, 7]]
TYPES = [0] * 8 + [1, 1]
"""Fifteen entries of the first type, two of the second."""


def types_drawn(balanced, size):
    targets = sampler_of(sets_of(*SETS), TYPES, balanced).draw(size, 3)
    return torch.tensor(TYPES)[targets.node].bincount(minlength=2).tolist()


def test_balanced_types_give_equally_many_targets():
    assert types_drawn(True, 100) == [50, 50]
    assert types_drawn(True, 7) == [4, 4]


def test_types_give_targets_in_proportion_where_they_are_not_balanced():
    first, second = types_drawn(False, 3400)
    assert first + second == 3400
    assert abs(second - 400) < 5 * 19  # two entries of seventeen


def test_a_type_that_nobody_touched_takes_no_share():
    sampler = sampler_of(sets_of([0, 1], [1, 2]), [0, 0, 2, 1])
    assert torch.tensor([0, 0, 2, 1])[sampler.draw(20, 1).node].bincount(minlength=3).tolist() == [10, 0, 10]
    assert sampler.frequency.tolist() == pytest.approx([1 / 6, 1 / 3, 1 / 2, 0])


@pytest.mark.parametrize("balanced", [True, False])
def test_frequency_is_how_often_nodes_are_drawn(balanced):
    sampler = sampler_of(sets_of(*SETS), TYPES, balanced)
    drawn = sampler.draw(40_000, 1).node.bincount(minlength=10) / 40_000
    assert float(sampler.frequency.sum()) == pytest.approx(1.0)
    # A share p of 40,000 draws has a standard deviation of at most 0.0025.
    assert (drawn - sampler.frequency).abs().max() < 5 * 0.0025
    entries = Counter(n for nodes in SETS for n in nodes)
    for node, kind in enumerate(TYPES):
        share = entries[node] / (17 if not balanced else 2 * (15, 2)[kind])
        assert float(sampler.frequency[node]) == pytest.approx(share)


def test_the_seed_fixes_the_draws_and_each_draw_is_new():
    sampler, again, other = (sampler_of(sets_of(*SETS), TYPES, seed=seed) for seed in (0, 0, 1))
    first, second = sampler.draw(30, 3), sampler.draw(30, 3)
    assert not torch.equal(first.context, second.context)
    assert torch.equal(again.draw(30, 3).context, first.context)
    assert torch.equal(again.draw(30, 3).context, second.context)
    assert not torch.equal(other.draw(30, 3).context, first.context)
