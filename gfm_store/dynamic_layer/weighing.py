"""What is set on a blend after training, by the last days before `as_of`, which an early blend has not seen.

How much momentum weighs that is a matter of the user: training asks what is streamed next, among all items, those that
a user knows included; lists leave these out, and rank. What a history tells of the first is worth more or less for the
second, from catalogue to catalogue. For users without a history both are the same, and nothing is set.

And how much room items get in lists that nobody has streamed yet. Lists that rank by what is likely alone hardly show
them, and who is never shown is never streamed.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.dynamic_layer.blend import Blend, has_history, unheard
from gfm_store.dynamic_layer.ranking import ndcg_by_user
from gfm_store.dynamic_layer.snapshots import SnapshotReader, Targets

MOMENTUM_WEIGHTS = (1.0, 0.75, 1.5, 0.5, 2.0, 0.25, 0.0)
"""As trained, and ever further from it."""
LIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Added to scores, which are logarithms of odds."""


@dataclass(frozen=True)
class Trial:
    """An early blend, asked for the last days. U users, n targets, k items.

    Asked are items that had been streamed: what new items gain pays for nothing.
    """

    reader: SnapshotReader
    targets: Targets
    moment: int
    """Microseconds: where the last days begin."""
    known: Tensor
    """(k,) int64: what is ranked."""
    new: Tensor
    """(k,) float32: 1 for what nobody had streamed."""
    user: Tensor
    """(U, dim) float32, by `targets.user`."""
    item: Tensor
    """(k, dim) float32."""
    momentum: slice
    """The dimensions of momentum."""
    has_history: Tensor
    """(U, 1) bool."""

    @classmethod
    @torch.no_grad()
    def of(cls, reader: SnapshotReader, blend: Blend, days: int, config: Config) -> Self | None:
        """None where nothing can be asked.

        Args:
            reader: with HGNN vectors of weights that have not seen the last `days`; nor has `blend`.
        """
        snapshot = reader.snapshot(days - 1)
        is_new = unheard(snapshot.context)
        targets = reader.targets(snapshot, days).drawn(config.two_tower.validation_users, config.seed)
        old = ~is_new[targets.node]
        targets = replace(targets, row=targets.row[old], node=targets.node[old])
        if not targets.row.numel():
            return None
        return cls(
            reader,
            targets,
            reader.moment(days - 1),
            snapshot.known,
            is_new[snapshot.known].float(),
            blend.user_vectors(targets.history, targets.profile, snapshot.context),
            blend.item_vectors(snapshot.context, snapshot.known),
            blend.momentum_dims,
            has_history(targets.history),
        )

    def ndcg(self, momentum_weight: float, lift: float) -> Tensor:
        """(U,) float64 NDCG@10 of each user's list."""
        user = self.user.clone()
        user[:, self.momentum] *= torch.where(self.has_history, momentum_weight, 1.0)

        def scores(users: Tensor) -> Tensor:
            return user[torch.searchsorted(self.targets.user, users)] @ self.item.T + lift * self.new

        def seen(users: Tensor) -> tuple[Tensor, Tensor]:
            return self.reader.histories.events_before(users, self.moment, strong_only=True)

        return ndcg_by_user(self.targets, self.known, self.reader.candidates.numel(), scores, seen)


def weigh(blend: Blend, trial: Trial | None, config: Config) -> None:
    """Set momentum's weight and the lift of a blend, by a trial of the same recipe. Without one they stay."""
    if trial is None:
        return
    momentum_weight = choose_momentum_weight(trial)
    lift = choose_lift(trial, momentum_weight, config.blend.newcomer_cost)
    blend.get_buffer("momentum_weight").fill_(momentum_weight)
    blend.get_buffer("lift").fill_(lift)
    reached = [float(trial.ndcg(*one).mean()) for one in ((1.0, 0.0), (momentum_weight, lift))]
    progress.say(
        f"Users' momentum weighs {momentum_weight:g}, new items are lifted by {lift:g}: "
        f"NDCG@10 of the last days {reached[0]:.4f} -> {reached[1]:.4f}."
    )


def choose_momentum_weight(trial: Trial) -> float:
    """Of those that rank within a standard error of the best the first: what is gained must be more than chance."""
    return MOMENTUM_WEIGHTS[
        first_of_the_best(torch.stack([trial.ndcg(one, 0.0) for one in MOMENTUM_WEIGHTS]))
    ]


def choose_lift(trial: Trial, momentum_weight: float, cost: float) -> float:
    """The greatest of `LIFTS`, all smaller ones included, that costs no more than this share of the NDCG@10.

    0 where no new items were known before the last days.
    """
    if not trial.new.any():
        return 0.0
    without = trial.ndcg(momentum_weight, 0.0).mean()
    lift = 0.0
    for more in LIFTS[1:]:
        if trial.ndcg(momentum_weight, more).mean() < (1 - cost) * without:
            break
        lift = more
    return lift


def first_of_the_best(ndcg: Tensor) -> int:
    """The first row of (weights, users) whose mean is a standard error or less behind the best."""
    behind = ndcg[ndcg.mean(1).argmax()] - ndcg
    close = behind.mean(1) <= behind.std(1, correction=0) / ndcg.shape[1] ** 0.5
    return int(close.nonzero()[0, 0])
