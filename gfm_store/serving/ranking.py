"""Exact top-k by dot product, in blocks of users and of items: memory does not grow with either.

Nearly all of the time goes into the product itself: scores are looked at once, for the maximum of each few of them, and
only the few that hold the best are sorted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ITEMS_AT_ONCE = 16_384
USERS_AT_ONCE = 1024
RUN = 64
"""Neighbouring scores of which the maximum is taken."""

Pairs = tuple[np.ndarray, np.ndarray]
"""User positions and item rows, (s,) each."""


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
    seen: Pairs | None = None,
    allowed: np.ndarray | None = None,
) -> Ranked:
    """The k items with the highest dot product for each user.

    Args:
        users: (U, dim) float32; items: (n, dim) float32.
        seen: what is left out.
        allowed: (n,) bool, or None for all: filters come before the ranking, so k come whenever k exist.
    """
    user, item = torch.from_numpy(users), torch.from_numpy(items)
    pairs = ([], []) if seen is None else seen
    seen_user, seen_row = (torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in pairs)
    order = torch.argsort(seen_user, stable=True)
    seen_user, seen_row = seen_user[order], seen_row[order]
    penalty = torch.zeros(len(item))
    if allowed is not None:
        penalty[~torch.from_numpy(allowed)] = -torch.inf
    k = min(k, len(item))
    rows = torch.full((len(user), k), -1, dtype=torch.int64)
    scores = torch.full((len(user), k), -torch.inf)
    buffer = torch.empty(min(len(user), USERS_AT_ONCE) * min(len(item), ITEMS_AT_ONCE))
    for first in range(0, len(user), USERS_AT_ONCE):
        last = min(first + USERS_AT_ONCE, len(user))
        begin, end = torch.searchsorted(seen_user, torch.tensor([first, last])).tolist()
        rows[first:last], scores[first:last] = _top_k_block(
            user[first:last], item, k, seen_user[begin:end] - first, seen_row[begin:end], penalty, buffer
        )
    rows[scores == -torch.inf] = -1
    return Ranked(rows.numpy(), scores.numpy())


def _top_k_block(
    user: Tensor,
    item: Tensor,
    k: int,
    seen_user: Tensor,
    seen_row: Tensor,
    penalty: Tensor,
    buffer: Tensor,
) -> tuple[Tensor, Tensor]:
    """Best rows and scores of a few users, (u, k) each, merged over blocks of items.

    Args:
        penalty: (n,) 0 or -inf; buffer: takes the scores.
    """
    best_row = torch.full((len(user), 0), -1, dtype=torch.int64)
    best = torch.full((len(user), 0), -torch.inf)
    for begin in range(0, len(item), ITEMS_AT_ONCE):
        block = item[begin : begin + ITEMS_AT_ONCE]
        scores = buffer[: len(user) * len(block)].view(len(user), len(block))
        torch.mm(user, block.T, out=scores)
        here = (seen_row >= begin) & (seen_row < begin + len(block))
        scores[seen_user[here], seen_row[here] - begin] = -torch.inf
        scores += penalty[begin : begin + len(block)]
        row, score = _best(scores, min(k, len(block)))
        best = torch.cat([best, score], dim=1)
        best_row = torch.cat([best_row, row + begin], dim=1)
        best, place = best.topk(min(k, best.shape[1]), dim=1)
        best_row = best_row.gather(1, place)
    return best_row, best


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns and values of the k highest of each row, (u, k) each: they lie in the k runs with the highest maxima."""
    num_runs = scores.shape[1] // RUN
    if num_runs <= 2 * k:
        top = scores.topk(k, dim=1)
        return top.indices, top.values
    runs, rest = scores[:, : num_runs * RUN].unflatten(1, (num_runs, RUN)), scores[:, num_runs * RUN :]
    run = runs.amax(dim=2).topk(k, dim=1).indices  # (u, k)
    value = runs.gather(1, run[:, :, None].expand(-1, -1, RUN)).flatten(1)
    value, place = torch.cat([value, rest], dim=1).topk(k, dim=1)
    inside = run.gather(1, (place // RUN).clamp_max(k - 1)) * RUN + place % RUN
    return torch.where(place < k * RUN, inside, place + (num_runs - k) * RUN), value
