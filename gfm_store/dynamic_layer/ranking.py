"""NDCG@10, user by user, of the first new items after a moment: what choices and gates go by."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.metrics import LinkPredNDCG
from torch_geometric.metrics.link_pred import LinkPredMetricData

from gfm_store.dynamic_layer.snapshots import Targets

RANKED_AT_ONCE = 256
Scores = Callable[[Tensor], Tensor]
"""Users (u,) to their scores (u, k) of the items that are ranked."""
Seen = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Users (u,) to places among them and items that they had streamed."""


def ndcg_by_user(targets: Targets, known: Tensor, num_items: int, scores_of: Scores, seen: Seen) -> Tensor:
    """(U,) float64 NDCG@10 of each user's list; what a user had streamed is left out.

    Args:
        known: (k,) items that are ranked, of `num_items`.
    """
    metric, found = LinkPredNDCG(k=10), [torch.zeros(0, dtype=torch.float64)]
    place = torch.full((num_items,), -1)
    place[known] = torch.arange(known.numel())
    for rows in torch.arange(targets.user.numel()).split(RANKED_AT_ONCE):
        user = targets.user[rows]
        scores = scores_of(user)
        seen_user, seen_item = seen(user)
        there = place[seen_item] >= 0
        scores[seen_user[there], place[seen_item[there]]] = -torch.inf
        mine = torch.isin(targets.row, rows)
        label = torch.stack([targets.row[mine] - rows[0], place[targets.node[mine]]])
        top = scores.topk(min(10, known.numel()), dim=1).indices
        found.append(metric._compute(LinkPredMetricData(top, label)).double())
    return torch.cat(found)
