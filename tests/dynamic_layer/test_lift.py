"""New items are lifted as far as lists can afford it, by hand-computed lists of ten users."""

from types import SimpleNamespace

import pytest
import torch

from gfm_store.config import BlendConfig, Config
from gfm_store.dynamic_layer.lift import LIFTS, choose_lift
from gfm_store.dynamic_layer.snapshots import Targets

OLD, NEW = 0, 1
NUM_USERS = 10


class Reader:
    """Two items, one of which nobody had streamed, and ten users whose first item is asked for."""

    def __init__(self, targets, is_new=(False, True), seen=()):
        self.candidates = torch.ones(2, dtype=torch.bool)
        self._targets, self._is_new, self._seen = targets, is_new, seen
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
        history = SimpleNamespace(rows=lambda rows: rows)
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


class Gaps:
    """A blend by which user i prefers the old item by i tenths and a bit."""

    def item_vectors(self, context, known):
        return torch.eye(2)

    def user_vectors(self, rows, profile, context):
        return torch.stack([0.1 * rows + 0.01, torch.zeros(len(rows))], dim=1)


def chosen(reader, cost):
    return choose_lift(reader, Gaps(), 7, Config(blend=BlendConfig(newcomer_cost=cost)))


# A user who gets the new item first finds the old one second: 1 / log2(3) = 0.631 instead of 1. A lift of 0.25 does
# that to the three users at 0.01, 0.11 and 0.21: a mean of 0.889; of 0.5 to five: 0.815; of 0.75 to eight: 0.705.
@pytest.mark.parametrize(
    ("cost", "lift"), [(0.0, 0.0), (0.11, 0.0), (0.112, 0.25), (0.184, 0.25), (0.186, 0.5), (0.3, 0.75)]
)
def test_the_greatest_lift_that_lists_can_afford(cost, lift):
    assert chosen(Reader([OLD] * NUM_USERS), cost) == lift


def test_what_new_items_gain_pays_for_nothing():
    """Half of the users want the new item, and each of the others who loses still counts."""
    targets = [OLD, NEW] * (NUM_USERS // 2)
    # Of users 0, 2, 4, 6 and 8 a lift of 0.25 displaces two: (2 x 0.631 + 3) / 5 = 0.852.
    assert chosen(Reader(targets), 0.147) == 0.0
    assert chosen(Reader(targets), 0.149) == 0.25


def test_what_a_user_has_streamed_is_in_no_list():
    """The first user has streamed the new item, which can displace nothing for them: (2 x 0.631 + 8) / 10 = 0.926."""
    assert chosen(Reader([OLD] * NUM_USERS, seen=[NEW]), 0.075) == 0.25


def test_no_lift_where_nothing_can_be_asked():
    assert chosen(Reader([OLD] * NUM_USERS, is_new=(False, False)), 0.9) == 0.0
    assert chosen(Reader([NEW] * NUM_USERS), 0.9) == 0.0
    assert chosen(Reader([OLD] * NUM_USERS), 0.9) == LIFTS[-1]
