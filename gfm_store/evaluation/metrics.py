"""Ranking metrics of torch_geometric, per user, and intervals that resample users.

Every metric is a ratio of two sums over users (a mean has a denominator of 1 a user), so that one bootstrap serves
all: the same resampled users for every system, hence paired comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch_geometric.metrics import LinkPredHitRatio, LinkPredMRR, LinkPredNDCG, LinkPredRecall
from torch_geometric.metrics.link_pred import LinkPredMetric, LinkPredMetricData

RANKING: dict[str, LinkPredMetric] = {
    "HR@10": LinkPredHitRatio(10),
    "NDCG@10": LinkPredNDCG(10),
    "Recall@50": LinkPredRecall(50),
    "HR@50": LinkPredHitRatio(50),
    "MRR@100": LinkPredMRR(100),
}
TAIL, NOVELTY, COVERAGE = "Long-tail hits@10", "Novelty@10", "Coverage@10"
METRICS = {
    "HR@10": "share of users with a target among the first 10",
    "NDCG@10": "discounted gain of the first 10, 1 where the targets stand first",
    "Recall@50": "share of a user's targets among the first 50",
    "HR@50": "share of users with a target among the first 50",
    "MRR@100": "one over the place of the first target, 0 beyond 100",
    COVERAGE: "share of the candidates that stand in somebody's first 10",
    TAIL: "share of the hits in the first 10 on the least streamed items, which hold a fifth of all streams",
    NOVELTY: "mean of -log2 of the share of users who had streamed the item, over the first 10, in bits",
}
"""What each figure is, in words."""
AT = 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with a 95% bootstrap interval over users."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Sums:
    """Numerators and denominators of the metrics, by user. Shapes: u users, M metrics."""

    names: tuple[str, ...]
    above: np.ndarray
    """(u, M)."""
    below: np.ndarray
    """(u, M)."""
    listed: sparse.csr_array
    """(u, N) bool: the first 10."""
    num_candidates: int


def per_user(ranked: np.ndarray, target_user: np.ndarray, target_node: np.ndarray) -> dict[str, np.ndarray]:
    """The ranking metrics for each user. Shapes: ranked (u, k) nodes, best first, -1 where there is none; out (u,)."""
    # An item number that nobody has: -1 would be read as another user's item.
    nothing = max(int(ranked.max(initial=0)), int(target_node.max(initial=0))) + 1
    if not ranked.shape[1]:
        ranked = np.full((len(ranked), 1), -1)
    lists = torch.from_numpy(np.where(ranked < 0, nothing, ranked).astype(np.int64))
    labels = torch.from_numpy(np.stack([target_user, target_node]))
    facts = LinkPredMetricData(lists, labels)
    return {name: metric._compute(facts).double().numpy() for name, metric in RANKING.items()}


def measure(
    ranked: np.ndarray,
    target_user: np.ndarray,
    target_node: np.ndarray,
    share: np.ndarray,
    tail: np.ndarray,
    num_candidates: int,
) -> Sums:
    """All metrics of u users' lists.

    Args:
        ranked: (u, k) nodes, best first, -1 where there is none.
        target_user: (n,) rows of `ranked`; target_node: (n,).
        share: (N,) share of the users before the cut who had streamed the item, above 0.
        tail: (N,) bool: the least streamed items.
    """
    columns = {
        name: (values, np.ones(len(ranked)))
        for name, values in per_user(ranked, target_user, target_node).items()
    }
    top = ranked[:, :AT]
    there = top >= 0
    row = np.repeat(np.arange(len(top)), there.sum(axis=1))
    node = top[there]
    wanted = sparse.csr_array(
        (np.ones(len(target_user), dtype=bool), (target_user, target_node)), shape=(len(ranked), len(share))
    )
    hit = np.asarray(wanted[row, node]).ravel() if len(row) else np.zeros(0, dtype=bool)
    columns[TAIL] = (
        np.bincount(row[hit & tail[node]], minlength=len(ranked)).astype(float),
        np.bincount(row[hit], minlength=len(ranked)).astype(float),
    )
    columns[NOVELTY] = (
        np.bincount(row, -np.log2(share[node]), minlength=len(ranked)),
        there.sum(axis=1).astype(float),
    )
    above, below = (np.stack([pair[i] for pair in columns.values()], axis=1) for i in (0, 1))
    listed = sparse.csr_array(
        (np.ones(len(row), dtype=np.float32), (row, node)), shape=(len(ranked), len(share))
    )
    return Sums(tuple(columns), above, below, listed, num_candidates)


@dataclass(frozen=True)
class Sample:
    """One system's metrics: the figures, and what they become when users are drawn anew."""

    names: tuple[str, ...]
    value: np.ndarray
    """(M,): not a number where nothing can be computed."""
    drawn: np.ndarray
    """(RESAMPLES, M)."""

    def estimate(self, name: str) -> Estimate | None:
        """A figure with its interval; None where it cannot be computed."""
        i = self.names.index(name)
        return _estimate(self.value[i], self.drawn[:, i])

    def difference(self, other: "Sample", name: str) -> Estimate | None:
        """This system minus another, on the same users."""
        i = self.names.index(name)
        return _estimate(self.value[i] - other.value[i], self.drawn[:, i] - other.drawn[:, i])

    def ratio(self, other: "Sample", name: str) -> Estimate | None:
        """This system over another, on the same users; None where the other has nothing."""
        i = self.names.index(name)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _estimate(self.value[i] / other.value[i], self.drawn[:, i] / other.drawn[:, i])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the items of lists (u, k) that the same users' other lists (u, k) hold too; -1 is no item."""
    there = one >= 0
    both = ((one[:, :, None] == other[:, None, :]) & there[:, :, None]).any(axis=2)
    return float(both.sum() / max(there.sum(), 1))


def type_shares(user: np.ndarray, kind: np.ndarray, num_types: int) -> np.ndarray:
    """(num_types,) each type's share of a user's items, averaged over the users who have some.

    Args:
        user, kind: (n,) whose item, and of which type it is.
    """
    counts = np.zeros((int(user.max(initial=-1)) + 1, num_types))
    np.add.at(counts, (user, kind), 1)
    counts = counts[counts.any(axis=1)]
    shares: np.ndarray = (counts / counts.sum(axis=1, keepdims=True)).sum(axis=0) / max(len(counts), 1)
    return shares


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """The mean over fits of one system with several seeds, drawn user by user alike; one at least."""
    return Sample(
        samples[0].names,
        np.mean([one.value for one in samples], axis=0),
        np.mean([one.drawn for one in samples], axis=0),
    )


class Bootstrap:
    """How often each of U users is drawn in each resample: the same for all systems and seeds."""

    def __init__(self, num_users: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self._times = np.empty((RESAMPLES, num_users), dtype=np.float32)
        for times in self._times:
            times[:] = np.bincount(generator.integers(0, num_users, num_users), minlength=num_users)

    def sample(self, users: np.ndarray, sums: Sums, coverage: bool = True) -> Sample:
        """Figures of the users at positions `users` (u,), with or without the coverage (the costly one)."""
        times = self._times[:, users].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = sums.above.sum(axis=0) / sums.below.sum(axis=0)
            drawn = (times @ sums.above) / (times @ sums.below)
        names = sums.names
        if coverage and sums.num_candidates:
            covered = np.asarray(sums.listed.sum(axis=0) > 0).ravel().sum() / sums.num_candidates
            names, value = (*names, COVERAGE), np.append(value, covered)
            drawn = np.column_stack([drawn, np.clip(covered + self._coverage_noise(users, sums), 0, 1)])
        return Sample(names, value, drawn)

    def _coverage_noise(self, users: np.ndarray, sums: Sums) -> np.ndarray:
        """(RESAMPLES,) coverage of the drawn users, less its mean.

        A resample holds fewer distinct users than there are and so covers less; only its spread is of use.
        """
        drawn = sparse.csr_array(self._times[:, users] > 0, dtype=np.float64) @ sums.listed
        covered = np.diff(drawn.tocsr().indptr) / sums.num_candidates
        return covered - covered.mean()


def _estimate(value: float, drawn: np.ndarray) -> Estimate | None:
    finite = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(finite) < 0.9 * len(drawn):
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
