"""What the last days before `as_of` decide about a blend, asked of early blends, which have not seen them.

Whether the general level is learned first. Learned beside tastes it tells what they leave, and they can leave too
little. Learned first it tells all that it can, and tastes tell the rest.

What each part of the score weighs. The blend learns from moments with the HGNN vectors of their time, but the weights
of the HGNN have seen the days that are asked for. So its vectors can tell more there than they will of days to come,
and what other parts could have told is left to them. The last days are asked with weights that have not seen them.

And how much room items get in lists that nobody has streamed yet. Lists that rank by what is likely alone hardly show
them, and who is never shown is never streamed.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.dynamic_layer.blend import GENERAL, Blend, has_history, over_dims, unheard
from gfm_store.dynamic_layer.ranking import ndcg_by_user
from gfm_store.dynamic_layer.snapshots import SnapshotReader, Targets

PRIOR = 0.5
"""Standard deviation of the logarithms of parts' weights before anything is asked."""
DRAWN = 4096
"""Items beside the targets that weights are told by, where more are known."""
SURE = 2.0
"""Standard errors by which the last days must be likelier for the general level to be learned first."""
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
    part_dims: tuple[int, ...]
    """See `Blend`."""
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
        targets = targets.only(~is_new[targets.node])
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
            blend.part_dims,
            has_history(targets.history),
        )

    def as_trained(self) -> Tensor:
        """(parts,): weights of 1."""
        return torch.ones(len(self.part_dims))

    def ndcg(self, weights: Tensor, lift: float) -> Tensor:
        """(U,) float64 NDCG@10 of each user's list.

        Args:
            weights: (parts,), for users who have a history.
        """
        user = self.user * torch.where(self.has_history, over_dims(weights, self.part_dims), 1.0)

        def scores(users: Tensor) -> Tensor:
            return user[torch.searchsorted(self.targets.user, users)] @ self.item.T + lift * self.new

        return ndcg_by_user(self.targets, self.known, self.reader.candidates.numel(), scores, self._seen)

    def _seen(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Places among users (u,) and the items that they had streamed."""
        return self.reader.histories.events_before(users, self.moment, strong_only=True)

    def parts(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """What each part says of some items to users who have a history.

        The items are all targets and at most `DRAWN` others that had been streamed, which stand for all others in
        equal parts. What a user had streamed is no answer.

        Returns:
            (parts, u, c) float32; (u, c) float32 what is added to the scores; (n, 2) int64, user and item of a target.
        """
        place = torch.full((self.reader.candidates.numel(),), -1)
        place[self.known] = torch.arange(self.known.numel())
        mine = self.has_history[self.targets.row, 0]
        users, row = self.targets.row[mine].unique(return_inverse=True)
        asked, column = place[self.targets.node[mine]].unique(return_inverse=True)
        old = self.new == 0
        old[asked] = False
        others = old.nonzero()[:, 0]
        drawn = torch.randperm(others.numel(), generator=torch.Generator().manual_seed(seed))[:DRAWN]
        items = torch.cat([asked, others[drawn]])
        stands_for = torch.ones(items.numel())
        stands_for[asked.numel() :] = others.numel() / max(drawn.numel(), 1)
        added = stands_for.log().repeat(users.numel(), 1)
        seen_user, seen_item = self._seen(self.targets.user[users])
        there = torch.full_like(place, -1)
        there[self.known[items]] = torch.arange(items.numel())
        seen = there[seen_item] >= 0
        added[seen_user[seen], there[seen_item[seen]]] = -torch.inf
        sides = (side.split(self.part_dims, dim=1) for side in (self.user[users], self.item[items]))
        said = torch.stack([user @ item.T for user, item in zip(*sides, strict=True)])
        return said, added, torch.stack([row, column], dim=1)


@dataclass(frozen=True)
class Told:
    """What a trial tells of the parts."""

    weights: Tensor
    """(parts,)."""
    log_likelihood: Tensor
    """(u,) of all that each user with a history streamed, by these weights."""


def is_likelier(one: Told, other: Told) -> bool:
    """Whether one of two trials of the same users is likelier by more than `SURE` standard errors."""
    gain = one.log_likelihood - other.log_likelihood
    return len(gain) > 1 and float(gain.sum()) > SURE * float(gain.std()) * len(gain) ** 0.5


def weigh(blend: Blend, trial: Trial, told: Told, config: Config) -> None:
    """Set the weights of parts and the lift of a blend, by what a trial of the same recipe told."""
    lift = choose_lift(trial, told.weights, config.blend.newcomer_cost)
    blend.set_weights(told.weights)
    blend.get_buffer("lift").fill_(lift)
    before, after = (
        float(trial.ndcg(*one).mean()) for one in ((trial.as_trained(), 0.0), (told.weights, lift))
    )
    momentum, _, words, hgnn, categories = told.weights.tolist()
    progress.say(
        f"Weights: momentum {momentum:.2f}, words {words:.2f}, HGNN {hgnn:.2f}, categories {categories:.2f}; new items "
        f"are lifted by {lift:g}: NDCG@10 of the last days {before:.4f} -> {after:.4f}."
    )


def told_by(trial: Trial, seed: int) -> Told:
    """The most likely weights of the parts in which users differ, after what they streamed in the last days.

    Their logarithms are normally distributed around 0 (`PRIOR`). The general level is the measure and stays 1.
    """
    said, added, target = trial.parts(seed)
    if not target.numel():
        return Told(trial.as_trained(), torch.zeros(0))
    logarithm = torch.zeros(len(trial.part_dims), requires_grad=True)
    differs = torch.ones_like(logarithm)
    differs[GENERAL] = 0.0
    optimizer = torch.optim.LBFGS([logarithm], max_iter=30, line_search_fn="strong_wolfe")

    def likelihood() -> Tensor:
        scores = torch.einsum("k,kuc->uc", (differs * logarithm).exp(), said) + added
        return scores.log_softmax(dim=1)[target[:, 0], target[:, 1]]

    def loss() -> Tensor:
        optimizer.zero_grad()
        negative: Tensor = ((logarithm / PRIOR).square().sum() / 2 - likelihood().sum()) / len(target)
        negative.backward()
        return negative

    optimizer.step(loss)
    with torch.no_grad():
        by_user = torch.zeros(said.shape[1]).index_add(0, target[:, 0], likelihood())
        return Told((differs * logarithm).exp(), by_user)


def choose_lift(trial: Trial, weights: Tensor, cost: float) -> float:
    """The greatest of `LIFTS`, all smaller ones included, that costs no more than this share of the NDCG@10.

    0 where no new items were known before the last days.
    """
    if not trial.new.any():
        return 0.0
    without = trial.ndcg(weights, 0.0).mean()
    lift = 0.0
    for more in LIFTS[1:]:
        if trial.ndcg(weights, more).mean() < (1 - cost) * without:
            break
        lift = more
    return lift
