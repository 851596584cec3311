"""What parts of the score weigh and how far new items are lifted, by hand-computed lists of ten users."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.optimize import minimize_scalar

from gfm_store.config import BlendConfig, Config
from gfm_store.dynamic_layer import weighing
from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.dynamic_layer.snapshots import Targets
from gfm_store.dynamic_layer.weighing import (
    LIFTS,
    PRIOR,
    SURE,
    Told,
    Trial,
    choose_lift,
    is_likelier,
    told_by,
    weigh,
)

OLD, NEW = 0, 1
NUM_USERS = 10


class Reader:
    """Two items, one of which nobody had streamed, and ten users whose first item is asked for."""

    def __init__(self, targets, is_new=(False, True), seen=(), nobody=()):
        self.candidates = torch.ones(2, dtype=torch.bool)
        self._targets, self._is_new, self._seen, self._nobody = targets, is_new, seen, nobody
        self.histories = SimpleNamespace(events_before=self._events_before)

    def moment(self, day):
        return 0

    def snapshot(self, day):
        assert day == 6
        traits = torch.zeros(2, 4)
        traits[:, 3] = torch.tensor([0.0 if new else 1.0 for new in self._is_new])
        return SimpleNamespace(context=SimpleNamespace(traits=traits), known=torch.arange(2))

    def targets(self, snapshot, days):
        node = torch.tensor(self._targets)
        user = torch.arange(len(node))
        slot = torch.where(torch.isin(user, torch.tensor(list(self._nobody), dtype=torch.int64)), -1, 0)
        history = HistoryBatch(user[:, None], slot[:, None], torch.zeros(len(node), 1))
        return Drawn(user, user, node, history, torch.zeros(len(node), 1, dtype=torch.bool))

    def _events_before(self, users, moment, strong_only):
        assert strong_only
        seen = [
            (place, item) for place, user in enumerate(users.tolist()) for item in self._seen if user == 0
        ]
        rows = torch.tensor(seen, dtype=torch.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]


class Drawn(Targets):
    def drawn(self, max_users, seed):
        return self


class Gaps(torch.nn.Module):
    """A blend by which user i prefers the old item by i tenths and a bit, and momentum adds `momentum` to it."""

    part_dims = (1, 1, 1, 1, 1)  # momentum, general, words, HGNN, categories; the last three say nothing

    def __init__(self, momentum=0.0):
        super().__init__()
        self.momentum = momentum
        self.weights = torch.ones(5)
        self.register_buffer("lift", torch.tensor(0.0))

    def set_weights(self, weights):
        self.weights = weights

    def item_vectors(self, context, known):
        return torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0]])

    def user_vectors(self, history, profile, context):
        user, nothing = history.node[:, 0], torch.zeros(len(history.node))
        return torch.stack([nothing + self.momentum, 0.1 * user + 0.01, nothing, nothing, nothing], dim=1)


def tried(reader, momentum=0.0):
    return Trial.of(reader, Gaps(momentum), 7, Config())


def lifted(reader, cost):
    return choose_lift(tried(reader), torch.ones(5), cost)


# A user who gets the new item first finds the old one second: 1 / log2(3) = 0.631 instead of 1. A lift of 0.25 does
# that to the three users at 0.01, 0.11 and 0.21: a mean of 0.889; of 0.5 to five: 0.815; of 0.75 to eight: 0.705.
@pytest.mark.parametrize(
    ("cost", "lift"), [(0.0, 0.0), (0.11, 0.0), (0.112, 0.25), (0.184, 0.25), (0.186, 0.5), (0.3, 0.75)]
)
def test_the_greatest_lift_that_lists_can_afford(cost, lift):
    assert lifted(Reader([OLD] * NUM_USERS), cost) == lift


def test_what_new_items_gain_pays_for_nothing():
    """Half of the users want the new item, and each of the others who loses still counts."""
    targets = [OLD, NEW] * (NUM_USERS // 2)
    # Of users 0, 2, 4, 6 and 8 a lift of 0.25 displaces two: (2 x 0.631 + 3) / 5 = 0.852.
    assert lifted(Reader(targets), 0.147) == 0.0
    assert lifted(Reader(targets), 0.149) == 0.25


def test_what_a_user_has_streamed_is_in_no_list():
    """The first user has streamed the new item, which can displace nothing for them: (2 x 0.631 + 8) / 10 = 0.926."""
    assert lifted(Reader([OLD] * NUM_USERS, seen=[NEW]), 0.075) == 0.25


def test_no_lift_and_no_trial_where_nothing_can_be_asked():
    assert lifted(Reader([OLD] * NUM_USERS, is_new=(False, False)), 0.9) == 0.0
    assert lifted(Reader([OLD] * NUM_USERS), 0.9) == LIFTS[-1]
    assert tried(Reader([NEW] * NUM_USERS)) is None


def most_likely(momentum, wanted):
    """The weight t of momentum by scipy: users want an item of two, of which the first is worth more by
    t x momentum + 0.1 i + 0.01."""
    first = torch.tensor(wanted) == OLD
    gap = 0.1 * torch.arange(len(wanted)) + 0.01

    def loss(logarithm):
        lead = torch.e**logarithm * momentum + gap
        return float((torch.where(first, -lead, lead).exp() + 1).log().sum()) + (logarithm / PRIOR) ** 2 / 2

    return torch.e ** minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}).x


# As far as momentum says what is wanted, it weighs more; as far as it misleads, less.
@pytest.mark.parametrize(
    ("momentum", "wanted", "more"),
    [(-1.3, [1] * 10, True), (0.5, [0] * 10, True), (2.0, [0, 1] * 5, False), (-0.5, [0] * 10, False)],
)
def test_parts_weigh_what_is_most_likely(momentum, wanted, more):
    weights = told_by(tried(Reader(wanted, is_new=(False, False)), momentum), seed=0).weights
    assert float(weights[0]) == pytest.approx(most_likely(momentum, wanted), rel=1e-3)
    assert (float(weights[0]) > 1) == more
    assert float(weights[1]) == 1.0  # the general level is the measure
    assert weights[2:].tolist() == [1.0, 1.0, 1.0]  # they say nothing


def test_users_without_a_history_neither_weigh_nor_are_weighed():
    """The five who want the second item, against what momentum says, have no history."""
    reader = Reader([OLD] * 5 + [NEW] * 5, is_new=(False, False), nobody=range(5, 10))
    trial = tried(reader, 0.5)
    weights = told_by(trial, seed=0).weights
    assert float(weights[0]) == pytest.approx(most_likely(0.5, [OLD] * 5), rel=1e-3)
    turned = torch.tensor([-2.0, 1.0, 1.0, 1.0, 1.0])  # turns the first half around
    assert trial.ndcg(turned, 0.0)[:5].sum() < 5 == trial.ndcg(torch.ones(5), 0.0)[:5].sum()
    assert torch.equal(trial.ndcg(turned, 0.0)[5:], trial.ndcg(torch.ones(5), 0.0)[5:])
    nobody = tried(Reader([OLD] * 3, is_new=(False, False), nobody=range(3)), 0.5)
    told = told_by(nobody, seed=0)
    assert (told.weights.tolist(), told.log_likelihood.numel()) == ([1.0] * 5, 0)


def test_items_left_out_are_stood_for(monkeypatch):
    """Of four items that nobody asked for two are drawn, and count twice; what is new or seen counts nothing."""
    monkeypatch.setattr(weighing, "DRAWN", 2)
    seen = SimpleNamespace(events_before=lambda *_, **__: (torch.tensor([1]), torch.tensor([2])))
    user, node = torch.tensor([7, 9]), torch.tensor([2, 1])
    history = HistoryBatch(node[:, None], torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1))
    trial = Trial(
        reader=SimpleNamespace(histories=seen, candidates=torch.ones(8, dtype=torch.bool)),
        targets=Targets(user, torch.tensor([0, 1]), node, history, torch.zeros(2, 0, dtype=torch.bool)),
        moment=0,
        known=torch.arange(1, 8),
        new=torch.tensor([0.0, 0, 0, 0, 0, 0, 1]),
        user=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        item=torch.arange(1.0, 8)[:, None].repeat(1, 2),
        part_dims=(1, 1),
        has_history=torch.ones(2, 1, dtype=torch.bool),
    )
    said, added, target = trial.parts(seed=0)
    assert target.tolist() == [[0, 1], [1, 0]]  # columns are items 1 and 2, then the two drawn
    assert added[0].tolist() == pytest.approx([0.0, 0.0, math.log(2), math.log(2)])
    assert added[1].tolist() == pytest.approx([0.0, -math.inf, math.log(2), math.log(2)])
    drawn = said[0, 0, 2:]
    assert set(drawn.tolist()) < {3.0, 4.0, 5.0, 6.0} and len(set(drawn.tolist())) == 2
    assert said[:, :, 1].tolist() == [[2.0, 6.0], [4.0, 8.0]]


def test_likelihoods_are_of_users():
    """Users 0 to 9 want the first of two items, which is worth more by t x momentum + 0.1 i + 0.01."""
    told = told_by(tried(Reader([OLD] * NUM_USERS, is_new=(False, False)), 0.5), seed=0)
    lead = 0.5 * told.weights[0] + 0.1 * torch.arange(NUM_USERS) + 0.01
    torch.testing.assert_close(told.log_likelihood, -(1 + (-lead).exp()).log())


# Gains of 1, 2 and 3 have a mean of 2 and a standard error of 1 / sqrt(3) = 0.58; of 0, 2 and 4, one of 1.15.
@pytest.mark.parametrize(
    ("gains", "likelier"),
    [
        ([1.0, 2.0, 3.0], True),
        ([0.0, 2.0, 4.0], False),
        ([-1.0, -2.0, -3.0], False),
        ([5.0], False),
        ([], False),
    ],
)
def test_likelier_is_what_is_so_beyond_chance(gains, likelier):
    assert SURE == 2.0
    before = torch.arange(len(gains)) - 7.0
    one, other = (Told(torch.ones(5), at) for at in (before + torch.tensor(gains), before))
    assert is_likelier(one, other) == likelier


def test_weights_and_lift_are_set():
    blend = Gaps()
    config = Config(blend=BlendConfig(newcomer_cost=0.112))

    def weighed(trial):
        weigh(blend, trial, told_by(trial, seed=0), config)
        return blend.weights.tolist(), float(blend.lift)

    assert weighed(tried(Reader([OLD] * NUM_USERS))) == ([1.0] * 5, 0.25)
    weights, lift = weighed(tried(Reader([OLD] * NUM_USERS, is_new=(False, False)), 0.5))
    assert weights[0] == pytest.approx(most_likely(0.5, [OLD] * NUM_USERS), rel=1e-3)
    assert lift == 0.0
