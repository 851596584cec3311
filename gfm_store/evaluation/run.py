"""What one evaluation gathers, system by system."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from gfm_store import progress
from gfm_store.evaluation.bench import Bench
from gfm_store.evaluation.model import Change, Space, StaticAt, fit_space, fit_static_at
from gfm_store.evaluation.parts import Part
from gfm_store.evaluation.result import GridPoint, Kind, Series, System

Extra = Callable[[Space, dict[str, np.ndarray]], dict[str, Any]]


@dataclass
class Run:
    """Systems, their lists, and series, on one bench."""

    bench: Bench
    tuning: Bench | None
    """The same, one window earlier; None where the data does not reach back so far."""
    systems: list[System] = field(default_factory=list)
    lists: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    looks: dict[str, Any] = field(default_factory=dict)
    """The model's examples and map."""

    def static(self, name: str, change: Change, as_of: datetime | None = None) -> tuple[StaticAt, Part]:
        """A static layer at the cut, or at an earlier moment, and what it took; `name` names the change."""
        bench = self.bench
        moment = as_of or bench.split.as_of

        def make() -> Part:
            fitted = fit_static_at(bench.warehouse, bench.split, moment, bench.config, change)
            return Part(fitted.arrays(), fitted.facts())

        part = bench.part(make, step="static", change=name, as_of=moment)
        return StaticAt.restored(part.arrays, part.facts), part

    def model_part(
        self,
        name: str,
        static: tuple[StaticAt, Part],
        change: Change,
        only: Callable[[str], bool] = lambda name: True,
        extra: Extra = lambda space, lists: {},
    ) -> Part:
        """Lists of a model on a static layer; `name` names layer and change together."""

        def make() -> Part:
            space = fit_space(self.bench.warehouse, self.bench.split, self.bench.config, static[0], change)
            lists = self.bench.rank(space.scorer(), only=only)
            return Part(lists, {"curves": space.curves, **extra(space, lists)})

        ranked = [one.name for one in self.bench.sets if only(one.name)]
        return self.bench.part(make, step="model", system=name, static=static[0].fingerprint, ranked=ranked)

    def add_model(
        self,
        name: str,
        kind: Kind,
        about: str,
        static: tuple[StaticAt, Part],
        change: Change,
        settings: dict[str, Any] | None = None,
        extra: Extra = lambda space, lists: {},
    ) -> None:
        """Fit, rank and take in a variety of the model."""
        part = self.model_part(name, static, change, extra=extra)
        self.looks |= {key: part.facts[key] for key in ("examples", "item_map") if key in part.facts}
        self.add(part, name, kind, about, settings or {}, also=[static[1]])

    def add(
        self,
        part: Part,
        name: str,
        kind: Kind,
        about: str,
        settings: dict[str, Any] | None = None,
        grid: list[GridPoint] | None = None,
        tuning_seconds: float = 0.0,
        also: list[Part] | None = None,
    ) -> None:
        """Take a finished system in; `also` are parts that it was made from."""
        whole = [part, *(also or [])]
        self.systems.append(
            System(
                name=name,
                kind=kind,
                about=about,
                settings=settings or {},
                grid=grid or [],
                tuning_seconds=tuning_seconds,
                seconds=sum(one.seconds for one in whole),
                peak_mb=max(one.peak_mb for one in whole),
                reused=part.reused,
                curves=part.facts.get("curves", {}),
            )
        )
        self.lists[name] = part.arrays
        took = "from an earlier run" if part.reused else f"{self.systems[-1].seconds:.0f} s"
        if self.bench.has_headline(part.arrays):
            progress.say(f"{name}: NDCG@10 {self.bench.headline(part.arrays):.4f} ({took})")
        else:
            progress.say(f"{name}: done ({took})")
