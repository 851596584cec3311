"""Room in lists for items that nobody has streamed yet: as much as costs little, by the last days before `as_of`.

Lists that rank by what is likely alone hardly show such items, and who is never shown is never streamed.
"""

from dataclasses import replace

import torch

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.dynamic_layer.blend import Blend, unheard
from gfm_store.dynamic_layer.ranking import ndcg_by_user
from gfm_store.dynamic_layer.snapshots import SnapshotReader

LIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Added to scores, which are logarithms of odds."""


@torch.no_grad()
def choose_lift(reader: SnapshotReader, blend: Blend, days: int, config: Config) -> float:
    """The greatest of `LIFTS`, all smaller ones included, that costs no more of NDCG@10 than `newcomer_cost`.

    Of that for items that had been streamed: what new items gain does not pay for it. 0 where nothing can be asked: no
    new items were known before the last days, or nobody came after.

    Args:
        reader: with HGNN vectors of weights that have not seen the last `days`; nor has `blend`, without a lift.
    """
    snapshot = reader.snapshot(days - 1)
    is_new = unheard(snapshot.context)
    new = is_new[snapshot.known].float()
    targets = reader.targets(snapshot, days).drawn(config.two_tower.validation_users, config.seed)
    old = ~is_new[targets.node]
    targets = replace(targets, row=targets.row[old], node=targets.node[old])
    if not new.any() or not targets.row.numel():
        return 0.0
    moment, item = reader.moment(days - 1), blend.item_vectors(snapshot.context, snapshot.known)

    def mean_ndcg(lift: float) -> float:
        def scores(users: torch.Tensor) -> torch.Tensor:
            row = torch.searchsorted(targets.user, users)
            user = blend.user_vectors(targets.history.rows(row), targets.profile[row], snapshot.context)
            return user @ item.T + lift * new

        ndcg = ndcg_by_user(
            targets,
            snapshot.known,
            reader.candidates.numel(),
            scores,
            lambda users: reader.histories.events_before(users, moment, strong_only=True),
        )
        return float(ndcg.mean())

    without = mean_ndcg(0.0)
    lift, reached = 0.0, without
    for more in LIFTS[1:]:
        ndcg = mean_ndcg(more)
        if ndcg < (1 - config.blend.newcomer_cost) * without:
            break
        lift, reached = more, ndcg
    progress.say(
        f"New items: lifted by {lift:g}; NDCG@10 of the last {days} days {without:.4f} without, {reached:.4f} with."
    )
    return lift
