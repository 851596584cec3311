"""The user's side of the blend: each item counts once, what waits is asked for, what was skipped is taken away."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from fits import ITEMS, fit, history_of
from worlds import AS_OF

from gfm_store.dynamic_layer.blend import NUM_TRAITS, Blend, BlendSizes, ItemContext, touched
from gfm_store.dynamic_layer.history import HistoryBatch

STREAM, WEAK, SKIP = 0, 1, 2


@pytest.mark.parametrize(
    ("events", "heard", "waits", "skips"),
    [
        (
            [(4, STREAM), (4, STREAM), (5, STREAM), (4, STREAM)],
            [0, 2],
            [],
            [],
        ),  # each once, by its newest stream
        ([(4, WEAK), (5, WEAK), (4, WEAK), (5, WEAK)], [], [0, 1], []),
        ([(4, STREAM), (5, STREAM), (4, WEAK)], [0, 1], [], []),  # streamed since
        ([(4, WEAK), (5, STREAM), (4, STREAM)], [1, 2], [], []),  # streamed before
        ([(4, SKIP), (4, WEAK), (5, SKIP), (6, SKIP), (6, STREAM)], [4], [], [0, 2, 3]),  # skipped since
        ([(4, WEAK), (4, SKIP)], [], [0], [1]),
        ([(4, STREAM), (4, SKIP), (5, SKIP), (5, SKIP)], [0], [], [2, 3]),  # streamed since it was skipped
        ([(0, WEAK)], [], [0], []),  # what empty places name was not touched by them
        ([(4, WEAK), (0, STREAM)], [1], [0], []),
        ([], [], [], []),
    ],
)
def test_each_item_is_touched_once(events, heard, waits, skips):
    for item_type in (0, 1):
        given = [(node, 3 * item_type + signal, 1.0) for node, signal in events]
        found = touched(history_of(*given, length=6))
        assert [one[0].nonzero()[:, 0].tolist() for one in found] == [heard, waits, skips]


def test_histories_do_not_touch_each_other_s_items():
    node, slot = torch.tensor([[4, 4], [4, 0], [0, 0]]), torch.tensor([[0, 1], [1, -1], [-1, -1]])
    heard, waits, _ = touched(HistoryBatch(node, slot, torch.zeros(3, 2)))
    assert heard.tolist() == [[True, False], [False, False], [False, False]]
    assert waits.tolist() == [[False, False], [True, False], [False, False]]


def skipped(blend, table, *events):
    """What skips take, of one history of (node, signal), newest first; every factor is `table`."""
    node, signal = (torch.tensor([[event[i] for event in events]]) for i in (0, 1))
    history = HistoryBatch(node, signal, torch.ones(1, len(events)))
    items = len(table)
    context = ItemContext(
        torch.zeros(items, 3), torch.zeros(items, NUM_TRAITS), (table, table), torch.zeros(items, 2).bool()
    )
    nothing = torch.zeros(1, 0, dtype=torch.bool)
    with torch.no_grad():
        trained, served = (
            blend.user_vectors(history, nothing, context, skips=skips)[0] for skips in (False, True)
        )
    return trained - served


def test_a_skip_takes_its_item_s_factors_unless_it_was_streamed_since():
    torch.manual_seed(0)
    blend = Blend(
        BlendSizes(3, 1, 2, (4, 4), num_categories=2, num_profile=0, category_dim=5, level_first=False)
    ).eval()
    table = torch.eye(4)
    assert skipped(blend, table, (1, 0), (2, 1)).abs().sum() == 0
    assert skipped(blend, table, (2, 0), (2, 2)).abs().sum() == 0
    taken = skipped(blend, table, (2, 2), (2, 0), (1, 0))
    assert (taken > 0).nonzero()[:, 0].tolist() == [3 + 2, 3 + 4 + 2]  # momentum and the general part stay
    one, two = (skipped(blend, table, *[(2, 2)] * n, (1, 0))[5] for n in (1, 4))
    assert one < two < 4 * one


@pytest.fixture
def one_factor():
    """A blend of two item types; items are the four axes of its only factor."""
    torch.manual_seed(0)
    return Blend(
        BlendSizes(3, 2, 2, (4,), num_categories=2, num_profile=0, category_dim=5, level_first=False)
    ).eval()


@torch.no_grad()
def asked(blend, *events, weak=None):
    """(4,): how much the factor of each item is asked for by a history of (node, slot, age), newest first."""
    if weak is not None:
        blend.weak.fill_(weak)
    context = ItemContext(
        torch.zeros(4, 3), torch.zeros(4, NUM_TRAITS), (torch.eye(4),), torch.zeros(4, 2, dtype=torch.bool)
    )
    profile = torch.zeros(1, 0, dtype=torch.bool)
    return blend.user_vectors(history_of(*events, length=5), profile, context)[0, 3:7].double()


def test_what_waits_is_asked_for_the_more_the_newer_it_is(one_factor):
    """Apart from the mean, by (1 + age) to the power of -softplus(fall), times a level of factor and type."""
    with torch.no_grad():
        one_factor.wait_fall.fill_(0.5)
        one_factor.wait_level.fill_(0.25)
        one_factor.wait_type.copy_(torch.tensor([0.0, -1.0, 1.0]))
    fall = np.log1p(np.exp(0.5))
    for item_type, level in ((0, 0.25), (1, -0.75), (2, 1.25), (7, 1.25)):  # 2 and more: unknown to training
        slot = 3 * item_type + WEAK
        found = [asked(one_factor, (1, STREAM, 1.0), (2, slot, age), weak=-50.0) for age in (1.5, 30.0)]
        expected = [np.exp(level) * (1 + age) ** -fall for age in (1.5, 30.0)]
        assert [float(one[2]) for one in found] == pytest.approx(expected, rel=1e-5)
        assert torch.equal(found[0][[0, 1, 3]], found[1][[0, 1, 3]])
        assert found[0][2] > found[1][2]


def test_what_was_streamed_waits_no_longer(one_factor):
    weak, first = (2, WEAK, 4.0), (1, STREAM, 3.0)
    before, after = asked(one_factor, first, weak), asked(one_factor, (2, STREAM, 1.0), first, weak)
    mean, waiting = before[1].clone(), 5.0 ** -np.log(2)
    # The mean leans to what waits by softplus(-1), and the item is asked for besides.
    assert before[2] == pytest.approx(float(mean) * np.log1p(np.exp(-1)) + waiting, rel=1e-5)
    assert after[1] == pytest.approx(float(after[2]), rel=1e-6)  # both in the mean, neither beside it
    same = asked(one_factor, (2, STREAM, 1.0), first, (3, WEAK, 4.0))
    assert same[3] > waiting


def test_a_stream_once_more_does_not_change_the_taste(one_factor):
    """What it says of the kind of history may: how much the taste counts."""
    streams = [(1, STREAM, 2.0), (2, STREAM, 3.0)]
    once, again = (asked(one_factor, *more, *streams) for more in ([], [(2, STREAM, 0.5), (2, STREAM, 1.0)]))
    expected = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64).sqrt()
    for found in (once, again):
        torch.testing.assert_close(found / found.norm(), expected, atol=1e-6, rtol=0)


def test_categories_are_counted_once_an_item(one_factor):
    context = ItemContext(
        torch.zeros(4, 3), torch.zeros(4, NUM_TRAITS), (torch.eye(4),), torch.eye(4, 2, dtype=torch.bool)
    )
    often = [(0, STREAM, 2.0), (0, STREAM, 3.0), (1, STREAM, 4.0), (2, WEAK, 5.0)]
    with torch.no_grad():
        found = one_factor.user_vectors(history_of(*often), torch.zeros(1, 0, dtype=torch.bool), context)
        expected = one_factor.user_categories.sum(0) / 2
    torch.testing.assert_close(found[0, 7:], expected)


def test_users_are_as_they_were_when_only_their_own_items_are_looked_at(tastes):
    """Items grow older between a refresh and a request; only those of the history are."""
    fitted = fit(*tastes)
    blended = fitted.model.blended
    later = AS_OF + timedelta(days=3)
    node = torch.tensor([[3, 1, 3], [0, 5, 0]])
    slot, age = torch.tensor([[0, 0, 2], [0, -1, -1]]), torch.tensor([[1.0, 5.0, 9.0], [2.0, 0.0, 0.0]])
    history = HistoryBatch(node, slot, age)
    context = blended.context.rows(torch.arange(len(ITEMS)))
    context.traits[:, :2] += 3 * (context.traits[:, :2] >= 0)
    profile = torch.zeros(2, 0, dtype=torch.bool)
    with torch.no_grad():
        expected = blended.blend.user_vectors(history, profile, context, skips=True)
    assert torch.allclose(blended.user_vectors(history, profile, later), expected, atol=1e-6)


def test_parts_are_weighed_for_those_who_have_a_history(tastes):
    fitted = fit(*tastes, steps=5)
    blended = fitted.model.blended
    known, nobody = history_of((3, 0, 2.0)), history_of(length=1)
    both = HistoryBatch(
        *(torch.cat(pair) for pair in zip(*(vars(h).values() for h in (known, nobody)), strict=True))
    )
    profile = torch.zeros(2, 0, dtype=torch.bool)
    parts = blended.blend.part_dims
    blended.blend.set_weights(torch.ones(len(parts)))
    before = blended.user_vectors(both, profile, AS_OF)
    blended.blend.set_weights(torch.arange(1.0, len(parts) + 1))
    after = blended.user_vectors(both, profile, AS_OF)
    assert before[0, : parts[0]].any() and before[1, : parts[0]].any()
    for k, (one, other) in enumerate(zip(before[0].split(parts), after[0].split(parts), strict=True)):
        assert torch.allclose(other, (k + 1) * one)
    assert torch.equal(after[1], before[1])
