"""Which moments before `as_of` are learned from, and the HGNN vectors of items as they stood then.

Vectors of today have seen what users did next; a model that learned from them would trust them too much.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import torch
from torch import Tensor

from gfm_store import progress
from gfm_store.config import Config, TwoTowerConfig
from gfm_store.dynamic_layer.history import DAY, column, microseconds
from gfm_store.static_layer.encoder import Embedded
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.history import TrainingTables


@dataclass(frozen=True)
class Plan:
    """Days are counted backwards from `as_of`: the last 24 hours are day 0; a snapshot stands before its day."""

    as_of: datetime
    days: list[int]
    """Of the snapshots, ascending: the newest first."""
    horizon_days: int
    """A snapshot is asked for so many days, the newest ones for those that there are."""
    validation_days: int
    """The last days, which are held out first."""


def plan_snapshots(tables: TrainingTables, num_items: int, config: Config) -> Plan:
    """At most `max_snapshots` moments, evenly over the training window.

    They begin the least horizon before `as_of`, and go no further back than half of what is known: a moment with less
    before it than after it is of another kind, as counts and ages have hardly begun. Where data is thin and the window
    long, horizons grow until they reach the next snapshot, so that no pair is left out.
    """
    as_of = microseconds(tables.history.as_of)
    moment = column(tables.training_pair, "event_ts")
    validation = validation_days(moment, as_of, config.two_tower)
    if not moment.numel():
        return Plan(tables.history.as_of, [], 1, validation)
    first_stream = int(column(tables.item_day, "days_ago").max()) + 1
    known_days = min(first_stream, -(-(as_of - microseconds(tables.beginning)) // DAY))
    span = max(min(int((as_of - int(moment[0])) // DAY), known_days // 2), 1)
    horizon = min(config.blend.horizon_days, max(span // 4, 1))
    newest = min(config.blend.min_horizon_days, horizon)
    days = np.linspace(newest - 1, max(span, horizon) - 1, config.blend.max_snapshots).round().astype(int)
    days = np.unique(days)
    return Plan(tables.history.as_of, days.tolist(), int(np.diff(days).max(initial=horizon)), validation)


def held_out_days(warehouse: Warehouse, as_of: datetime, config: Config) -> int:
    """The last days before `as_of` that a dynamic refresh would hold out of what it learns from."""
    moment = column(warehouse.select("history/first_stream", as_of=as_of), "event_ts")
    return validation_days(moment, microseconds(as_of), config.two_tower)


def validation_days(moment: Tensor, as_of: int, config: TwoTowerConfig) -> int:
    """The last days that hold enough pairs, at most a quarter of all. `moment`: (n,) microseconds of the pairs."""
    days = config.validation_days
    while (moment >= as_of - days * DAY).sum() < min(config.min_validation_pairs, moment.numel() // 4):
        days *= 2
    return days


@dataclass(frozen=True)
class Moments:
    """HGNN vectors of N items at S moments."""

    days: Tensor
    """(S,) int64, ascending: the newest first; -1 is `as_of` itself."""
    vectors: list[Tensor]
    """(N, dim) float32 each."""

    def index(self, day: Tensor) -> Tensor:
        """Which moment's vectors serve what happens on each `day` (n,): the newest that is not after it, else the
        oldest."""
        return torch.searchsorted(self.days, day).clamp_max(self.days.numel() - 1)

    def at(self, day: int) -> Tensor:
        """(N, dim) for what happens on a day."""
        return self.vectors[int(self.index(torch.tensor([day])))]


def read_moments(plan: Plan, vectors_at: Callable[[datetime], Embedded]) -> tuple[Moments, Moments]:
    """The vectors of all snapshots, of the moment before the validation days, and of `as_of`; and those up to the
    validation days by weights that have not seen them."""
    held_out = plan.validation_days - 1
    days = sorted({-1, held_out, *plan.days})
    embedded = []
    with progress.task("HGNN vectors at earlier moments", len(days), "moments") as task:
        for day in days:
            embedded.append(vectors_at(plan.as_of - timedelta(days=day + 1)))
            task.advance()
    early = [(day, one.early) for day, one in zip(days, embedded, strict=True) if day >= held_out]
    return (
        Moments(torch.tensor(days), [torch.from_numpy(one.vectors) for one in embedded]),
        Moments(torch.tensor([day for day, _ in early]), [torch.from_numpy(vectors) for _, vectors in early]),
    )
