"""From scores to lists: every system is ranked by the same few lines."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from gfm_store.evaluation.split import Split
from gfm_store.evaluation.views import Candidates

LIST_LENGTH = 100
SCORES_AT_ONCE = 2**25
"""Users times items: bounds memory."""

Scorer = Callable[[np.ndarray], np.ndarray]
"""Positions of b users in `Split.user_id` to their scores (b, N) of all items; higher is better."""


def rank(
    split: Split,
    sets: Sequence[Candidates],
    users: Sequence[np.ndarray],
    scorer: Scorer,
    new_users: np.ndarray | None = None,
    k: int = LIST_LENGTH,
) -> dict[str, np.ndarray]:
    """The k best candidates for each user, but for what the user has streamed or is not offered.

    Args:
        users: positions of the users to rank, (u,) for each of `sets`.
        new_users: (N,) scores that stand in for users without any stream, whom a baseline cannot score.

    Returns:
        By the set's name, (U, k) int32 nodes, best first; -1 where there is none and for users not asked for.
    """
    k_of = [min(k, one.nodes.shape[1] if one.nodes.ndim == 2 else int(one.nodes.sum())) for one in sets]
    lists = {
        one.name: np.full((len(split.user_id), width), -1, dtype=np.int32)
        for one, width in zip(sets, k_of, strict=True)
    }
    everybody = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *users]))
    at_once = max(1, SCORES_AT_ONCE // split.item.num_rows)
    for begin in range(0, len(everybody), at_once):
        block = everybody[begin : begin + at_once]
        scores = torch.tensor(scorer(block), dtype=torch.float32)  # a copy: what follows writes to it
        if new_users is not None:
            scores[torch.from_numpy(split.without_streams(block))] = torch.from_numpy(new_users).float()
        for row, node in (split.seen(block), split.offered_elsewhere(block)):
            scores[torch.from_numpy(row), torch.from_numpy(node)] = -torch.inf
        for one, width, asked in zip(sets, k_of, users, strict=True):
            mine = np.isin(block, asked)
            lists[one.name][block[mine]] = _best(
                scores[torch.from_numpy(mine)], one.nodes, block[mine], width
            )
    return lists


def _best(scores: torch.Tensor, nodes: np.ndarray, users: np.ndarray, k: int) -> np.ndarray:
    """(u, k) nodes of the highest scores (u, N) among the candidates; of equal scores the lower node comes first."""
    if nodes.ndim == 2:
        column = torch.from_numpy(np.sort(nodes[users], axis=1))
        scores = scores.gather(1, column.clamp_min(0)).masked_fill(column < 0, -torch.inf)
    else:
        column = torch.from_numpy(nodes.nonzero()[0])
        scores = scores[:, column]
    # One integer that orders as (score, -place) does: the bits of a float32 order as its value, when those of
    # negative ones are turned round.
    bits = (scores + 0.0).view(torch.int32).long()  # -0 becomes 0
    order = torch.where(bits < 0, torch.iinfo(torch.int32).min - bits, bits)
    key = order * 2**31 + torch.arange(scores.shape[1] - 1, -1, -1)
    place = key.topk(k, dim=1).indices
    chosen = column.gather(1, place) if nodes.ndim == 2 else column[place]
    best: np.ndarray = chosen.masked_fill(scores.gather(1, place) == -torch.inf, -1).numpy().astype(np.int32)
    return best
