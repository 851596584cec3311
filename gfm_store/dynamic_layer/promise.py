"""What an item is likely to be streamed in its first days, told from what is known of it before anybody streams it.

Nothing has been counted of a newcomer. Users with a history are led to it by their taste; beside that, and to all who
have no history, newcomers of an age would be alike. Early streams of those before them tell more: what words,
categories, types and ages at the first stream they had, by ridge regression.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from gfm_store.static_layer.newcomers import KnownTexts

AGE_BINS = (0.0, 7.0, 30.0, 90.0, 365.0, 1000.0, 3650.0, 10000.0)
"""Borders, in days since publication; what is unknown comes before the first."""

MAX_READ = 100_000
"""Of more items, it is fitted on about so many, evenly over all: for some hundred weights these do."""


@dataclass(frozen=True)
class Promise:
    """A fitted regression."""

    weight: Tensor
    """(d,) float32."""
    mean: float
    """Of the log counts it was fitted on."""

    @classmethod
    def fit(cls, told: Tensor, early: Tensor) -> Self:
        """The penalty is the one of the least generalised cross-validation error.

        Args:
            told: (n, d) float32, of items that were streamed; early: (n,) log counts of their first days.
        """
        mean = float(early.mean()) if early.numel() else 0.0
        if not early.numel():
            return cls(torch.zeros(told.shape[1]), mean)
        weight = KnownTexts.of(told.numpy()).projection((early - mean)[:, None].numpy())
        return cls(torch.from_numpy(weight[:, 0]), mean)

    def of(self, told: Tensor) -> Tensor:
        """(n,) expected log counts of the first days of items (n, d)."""
        return told @ self.weight + self.mean


def told_of(lexical: Tensor, categories: Tensor, item_type: Tensor, num_types: int, age: Tensor) -> Tensor:
    """(n, d) float32: what is known of items before anybody streams them.

    Args:
        lexical: (n, r) float32; categories: (n, C) bool; item_type: (n,), `num_types` and above are unknown.
        age: (n,) days since publication, at the first stream where there is one; -1 where unknown.
    """
    borders = torch.tensor(AGE_BINS, device=age.device)
    age_bin = functional.one_hot(torch.searchsorted(borders, age, right=True), len(AGE_BINS) + 1)
    kind = functional.one_hot(item_type.clamp_max(num_types), num_types + 1)[:, :-1]
    return torch.cat([lexical, categories.float(), kind.float(), age_bin.float()], dim=1)
