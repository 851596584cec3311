"""What an evaluation found, as plain values: `metrics.json`, and all that the report shows."""

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from gfm_store.evaluation.metrics import Estimate

MODEL = "gfm-store"
Kind = Literal["model", "baseline", "oracle", "ablation"]


@dataclass(frozen=True)
class GridPoint:
    """One setting that tuning tried, and its NDCG@10 on the window before the cut."""

    settings: dict[str, Any]
    ndcg: float


@dataclass(frozen=True)
class System:
    """One system that was measured."""

    name: str
    kind: Kind
    about: str
    """What it is, in a sentence."""
    settings: dict[str, Any]
    """What tuning chose, or what an ablation changed."""
    grid: list[GridPoint]
    tuning_seconds: float
    seconds: float
    """Fitting and ranking at the cut, with one seed."""
    peak_mb: float
    """The most memory that the process held while this system was fitted and ranked."""
    reused: bool
    """Finished before with the same inputs: in an earlier run, or under another name in this one."""
    by_seed: list[float]
    """NDCG@10 of the headline with each seed that it was fitted with; empty where it did not rank it."""
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """Training curves by network: one entry an epoch, `loss` and `validation`."""


@dataclass(frozen=True)
class Figure:
    """One metric of one system in one view; None where it cannot be computed."""

    system: str
    view: str
    metric: str
    estimate: Estimate | None
    difference: Estimate | None
    """The model minus this system, paired by user; None for the model itself."""
    ratio: Estimate | None
    """The model over this system, paired by user."""


@dataclass(frozen=True)
class ViewSummary:
    """One view: who and what is measured."""

    name: str
    title: str
    about: str
    num_users: int
    num_targets: int
    num_candidates: int


@dataclass(frozen=True)
class Series:
    """A row of figures over successive windows or over numbers of interactions, for a line plot."""

    name: str
    x_title: str
    x: list[float]
    lines: dict[str, list[Estimate | None]]
    """By system, one estimate for each x."""
    about: str


@dataclass(frozen=True)
class ItemMap:
    """Items of the model's space in two dimensions; a sample of at most a few thousand."""

    x: list[float]
    y: list[float]
    title: list[str]
    item_type: list[str]
    topic: list[str]
    """The first genre, or empty."""


@dataclass(frozen=True)
class ExampleItem:
    """An item in an example user's history or list."""

    item_id: str
    title: str
    item_type: str
    when: str
    """Day of the newest event, for a history; empty in a list."""
    is_target: bool
    """In a list: the user streamed it in the horizon."""
    reasons: list[tuple[str, float]]
    """In a list: titles of history items, and how much the score falls without each, as a share of the falls of all
    that are shown."""


@dataclass(frozen=True)
class Example:
    """One user's history and list."""

    user: str
    history: list[ExampleItem]
    items: list[ExampleItem]

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Back from what `asdict` gave, through JSON."""
        history, items = (
            [
                ExampleItem(**one | {"reasons": [(title, share) for title, share in one["reasons"]]})
                for one in facts[name]
            ]
            for name in ("history", "items")
        )
        return cls(facts["user"], history, items)


@dataclass(frozen=True)
class Evaluation:
    """One protocol, one cut, the same users and candidates for every system."""

    protocol: str
    protocol_about: str
    as_of: datetime
    horizon_days: int
    tuning_as_of: datetime | None
    """Cut of the window on which baselines were tuned; None where there was none, and defaults were taken."""
    facts: dict[str, Any]
    """Versions, settings, counts: shown as they are."""
    notes: list[str]
    """What a reader must know before the figures."""
    views: list[ViewSummary]
    systems: list[System]
    figures: list[Figure]
    series: list[Series]
    item_map: ItemMap | None
    examples: list[Example]

    def find(self, system: str, view: str, metric: str) -> Figure | None:
        """One figure; None where it was not measured."""
        for one in self.figures:
            if (one.system, one.view, one.metric) == (system, view, metric):
                return one
        return None

    def write(self, path: Path) -> None:
        """Write `metrics.json`."""
        text = json.dumps(_finite(asdict(self)), indent=1, default=str, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Infinity as text and what is no number as null, wherever they stand: JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
