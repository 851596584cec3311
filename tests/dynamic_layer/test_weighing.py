"""What momentum weighs and how far new items are lifted, by hand-computed lists of ten users."""

from types import SimpleNamespace

import pytest
import torch

from gfm_store.config import BlendConfig, Config
from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.dynamic_layer.snapshots import Targets
from gfm_store.dynamic_layer.weighing import (
    LIFTS,
    Trial,
    choose_lift,
    choose_momentum_weight,
    first_of_the_best,
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

    momentum_dims = slice(0, 1)

    def __init__(self, momentum=0.0):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("momentum_weight", torch.tensor(1.0))
        self.register_buffer("lift", torch.tensor(0.0))

    def item_vectors(self, context, known):
        return torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def user_vectors(self, history, profile, context):
        user, nothing = history.node[:, 0], torch.zeros(len(history.node))
        return torch.stack([nothing + self.momentum, 0.1 * user + 0.01, nothing], dim=1)


def tried(reader, momentum=0.0):
    return Trial.of(reader, Gaps(momentum), 7, Config())


def lifted(reader, cost):
    return choose_lift(tried(reader), 1.0, cost)


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


# User i puts the first item first where t x momentum + 0.1 i + 0.01 > 0; both items had been streamed.
@pytest.mark.parametrize(
    ("momentum", "wanted", "weight"),
    [
        (-1.3, 1, 1.0),  # all put the second first, as they want it
        (-0.8, 1, 1.5),  # users 8 and 9 would not: 0.926
        (-0.5, 1, 2.0),  # users 5 to 9 would not, with 1.5 still two
        (-0.5, 0, 0.0),  # five want what the others get, with 0.25 still two
        (0.5, 1, 1.0),  # nothing helps
    ],
)
def test_momentum_weighs_as_it_ranks_best(momentum, wanted, weight):
    trial = tried(Reader([wanted] * NUM_USERS, is_new=(False, False)), momentum)
    assert choose_momentum_weight(trial) == weight


def test_users_without_a_history_are_not_weighed():
    """As above users 5 to 9 would want twice the momentum; where they have no history, it stays for them."""
    nobody = Reader([NEW] * NUM_USERS, is_new=(False, False), nobody=range(5, 10))
    trial = tried(nobody, -0.5)
    assert choose_momentum_weight(trial) == 1.0
    assert torch.equal(trial.ndcg(2.0, 0.0), trial.ndcg(1.0, 0.0))


def test_both_are_set_and_stay_without_a_trial():
    blend = Gaps()
    config = Config(blend=BlendConfig(newcomer_cost=0.112))
    weigh(blend, None, config)
    assert (float(blend.momentum_weight), float(blend.lift)) == (1.0, 0.0)
    weigh(blend, tried(Reader([OLD] * NUM_USERS), -0.5), config)
    assert (float(blend.momentum_weight), float(blend.lift)) == (0.0, 0.25)


def test_the_smallest_weight_wins_unless_a_larger_one_is_better_beyond_chance():
    chance = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.9, 0.3, 0.6, 0.3], [0.2, 0.2, 0.2, 0.2]])
    assert first_of_the_best(chance) == 0  # 0.525 against 0.5: the same within a standard error
    assert first_of_the_best(chance + torch.tensor([[0.0], [0.5], [0.0]])) == 1
    assert first_of_the_best(chance[[2, 0]]) == 1
