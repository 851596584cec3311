"""Exact top-k by dot product, in blocks of users and of items: memory does not grow with either."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ITEMS_AT_ONCE = 131_072
USERS_AT_ONCE = 512


@dataclass(frozen=True)
class Ranked:
    """The best items of U users; places beyond what there is hold -1 and -inf."""

    row: np.ndarray
    """(U, k) int64: rows of the item matrix, best first."""
    score: np.ndarray
    """(U, k) float32."""


def top_k(
    users: np.ndarray,
    items: np.ndarray,
    k: int,
    seen: tuple[np.ndarray, np.ndarray],
    allowed: np.ndarray | None = None,
) -> Ranked:
    """The k items with the highest dot product for each user.

    Args:
        users: (U, dim) float32; items: (n, dim) float32.
        seen: user positions and item rows, (s,) each, that are left out.
        allowed: (n,) bool, or None for all: filters come before the ranking, so k come whenever k exist.
    """
    user, item = torch.from_numpy(users), torch.from_numpy(items)
    seen_user, seen_row = (torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in seen)
    order = torch.argsort(seen_user, stable=True)
    seen_user, seen_row = seen_user[order], seen_row[order]
    denied = torch.zeros(len(item), dtype=torch.bool) if allowed is None else ~torch.from_numpy(allowed)
    k = min(k, len(item))
    rows = torch.full((len(user), k), -1, dtype=torch.int64)
    scores = torch.full((len(user), k), -torch.inf)
    for first in range(0, len(user), USERS_AT_ONCE):
        last = min(first + USERS_AT_ONCE, len(user))
        begin, end = torch.searchsorted(seen_user, torch.tensor([first, last])).tolist()
        rows[first:last], scores[first:last] = _top_k_block(
            user[first:last], item, k, seen_user[begin:end] - first, seen_row[begin:end], denied
        )
    rows[scores == -torch.inf] = -1
    return Ranked(rows.numpy(), scores.numpy())


def _top_k_block(
    user: Tensor, item: Tensor, k: int, seen_user: Tensor, seen_row: Tensor, denied: Tensor
) -> tuple[Tensor, Tensor]:
    """Best rows and scores of a few users, (u, k) each, merged over blocks of items."""
    best_row = torch.full((len(user), 0), -1, dtype=torch.int64)
    best = torch.full((len(user), 0), -torch.inf)
    for begin in range(0, len(item), ITEMS_AT_ONCE):
        block = item[begin : begin + ITEMS_AT_ONCE]
        scores = user @ block.T
        here = (seen_row >= begin) & (seen_row < begin + len(block))
        scores[seen_user[here], seen_row[here] - begin] = -torch.inf
        scores[:, denied[begin : begin + len(block)]] = -torch.inf
        top = scores.topk(min(k, len(block)), dim=1)
        best = torch.cat([best, top.values], dim=1)
        best_row = torch.cat([best_row, top.indices + begin], dim=1)
        best, place = best.topk(min(k, best.shape[1]), dim=1)
        best_row = best_row.gather(1, place)
    return best_row, best
