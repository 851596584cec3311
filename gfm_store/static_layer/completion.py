"""What the HGNN learns from: the set of items that a user touched, less one that is to be told from the others."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class UserSets:
    """Sets of distinct items, one a user; E entries of U users, by user."""

    user_ptr: Tensor
    """(U + 1,) int64."""
    node: Tensor
    """(E,) int64."""

    @classmethod
    def from_pairs(cls, user: Tensor, node: Tensor) -> Self:
        """From `user` (E,), ascending, and `node` (E,); sets of one item, from which nothing is told, are left out."""
        _, row, size = user.unique_consecutive(return_inverse=True, return_counts=True)
        kept = size[row] >= 2
        size = size[size >= 2]
        user_ptr = torch.zeros(size.numel() + 1, dtype=torch.int64)
        torch.cumsum(size, 0, out=user_ptr[1:])
        return cls(user_ptr, node[kept])


@dataclass(frozen=True)
class Targets:
    """B items, each with L others of the same set."""

    node: Tensor
    """(B,) int64."""
    context: Tensor
    """(B, L) int64, never the target; smaller sets repeat."""


class BalancedSampler:
    """Draws targets so that every item type gives as many as any other: the majority does not drown the others.

    The balanced multi-link sampler of arXiv 2403.05185, section 3.3, for sets in place of single links: what a step
    costs and what it is about do not depend on how the types are shared out in the data.
    """

    def __init__(
        self, sets: UserSets, item_type: Tensor, *, balanced: bool, generator: torch.Generator
    ) -> None:
        self._sets, self._generator = sets, generator
        self._user = torch.repeat_interleave(torch.arange(sets.user_ptr.numel() - 1), sets.user_ptr.diff())
        types, num_nodes = item_type[sets.node], item_type.numel()
        everything = torch.arange(sets.node.numel())
        self._pools = [everything[types == t] for t in types.unique().tolist()] if balanced else [everything]
        counts = [torch.bincount(sets.node[pool], minlength=num_nodes).double() for pool in self._pools]
        shares = [count / pool.numel() / len(counts) for count, pool in zip(counts, self._pools, strict=True)]
        self.frequency: Tensor = sum(shares, torch.zeros(num_nodes, dtype=torch.float64))
        """(N,) float64: how likely each node is to be a target."""

    def __len__(self) -> int:
        """Entries to draw from."""
        return self._sets.node.numel()

    def draw(self, size: int, context_items: int) -> Targets:
        """About `size` targets with `context_items` others each."""
        each = -(-size // len(self._pools))
        entry = torch.cat([pool[self._random(each, bound=pool.numel())] for pool in self._pools])
        start = self._sets.user_ptr[self._user[entry], None]
        length = self._sets.user_ptr[self._user[entry] + 1, None] - start
        step = 1 + (torch.rand(entry.numel(), context_items, generator=self._generator) * (length - 1)).long()
        other = start + (entry[:, None] - start + step.minimum(length - 1)) % length
        return Targets(self._sets.node[entry], self._sets.node[other])

    def _random(self, size: int, bound: int) -> Tensor:
        return torch.randint(bound, (size,), generator=self._generator)
