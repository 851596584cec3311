"""Ranking metrics of torch_geometric, per user, so that intervals can resample users."""

from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.metrics import LinkPredHitRatio, LinkPredNDCG, LinkPredRecall
from torch_geometric.metrics.link_pred import LinkPredMetricData

METRICS = {"HR@10": LinkPredHitRatio(10), "NDCG@10": LinkPredNDCG(10), "Recall@50": LinkPredRecall(50)}
LIST_LENGTH = 50
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over users with a 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def per_user(ranked: np.ndarray, target_user: np.ndarray, target_item: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric for each user. Shapes: ranked (U, k) items, best first, -1 where there is none; out (U,)."""
    # An item number that nobody has: -1 would be read as another user's item.
    nothing = max(int(ranked.max(initial=0)), int(target_item.max(initial=0))) + 1
    lists = torch.from_numpy(np.where(ranked < 0, nothing, ranked))
    labels = torch.from_numpy(np.stack([target_user, target_item]))
    facts = LinkPredMetricData(lists, labels)
    return {name: metric._compute(facts).double().numpy() for name, metric in METRICS.items()}


def bootstrap(values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of per-user values (U,) with an interval that resamples users.

    Pass the difference of two systems on the same users for a paired comparison.
    """
    generator = np.random.default_rng(seed)
    means = np.array(
        [values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))
