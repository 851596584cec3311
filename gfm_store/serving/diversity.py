"""What makes a list less uniform: a cap per creator, and maximal marginal relevance."""

import numpy as np
import torch
from torch import Tensor


def within_cap(group: np.ndarray, cap: int) -> np.ndarray:
    """(U, P) bool: places of ranked lists where fewer than `cap` earlier ones are of the same group.

    Args:
        group: (U, P) whole numbers, best place first; below 0 for what belongs to no group.
    """
    order = np.argsort(group, axis=1, kind="stable")
    ordered = np.take_along_axis(group, order, axis=1)
    place = np.broadcast_to(np.arange(group.shape[1]), group.shape)
    begins = np.ones(group.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    earlier = place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    kept = np.empty(group.shape, dtype=bool)
    np.put_along_axis(kept, order, earlier < cap, axis=1)
    return kept | (group < 0)


def marginal_relevance(score: np.ndarray, vector: np.ndarray, k: int, weight: float) -> np.ndarray:
    """(U, k) places of P candidates, chosen one after the other: relevant, and unlike what was chosen before.

        argmax (1 - weight) * relevance - weight * greatest similarity to a chosen one

    Carbonell and Goldstein, SIGIR 1998. Relevance is the score, scaled to [0, 1] over a user's candidates.

    Args:
        score: (U, P), -inf where there is no candidate; vector: (U, P, dim), whose dot product is a similarity.

    Returns:
        -1 beyond the candidates.
    """
    scores, vectors = torch.from_numpy(score), torch.from_numpy(vector)
    there = scores > -torch.inf
    low = scores.masked_fill(~there, torch.inf).amin(1, keepdim=True)
    high = scores.amax(1, keepdim=True)
    relevance = ((scores - low) / (high - low).clamp_min(1e-12)).masked_fill(~there, -torch.inf)
    closest = torch.full_like(relevance, -1.0)
    row = torch.arange(len(scores))
    places: list[Tensor] = []
    left = there.clone()
    for _ in range(k):
        gain = ((1 - weight) * relevance - weight * closest).masked_fill(~left, -torch.inf)
        best = gain.argmax(dim=1)
        places.append(torch.where(left.any(dim=1), best, -1))
        left[row, best] = False
        closest = torch.maximum(closest, (vectors @ vectors[row, best][..., None])[..., 0])
    chosen: np.ndarray = torch.stack(places, dim=1).numpy()
    return chosen
