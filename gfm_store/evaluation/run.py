"""What one evaluation gathers, system by system."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from gfm_store import progress
from gfm_store.evaluation.bench import Bench
from gfm_store.evaluation.metrics import Estimate, Sample, mean_sample
from gfm_store.evaluation.model import Change, Space, StaticAt, fit_space, fit_static_at
from gfm_store.evaluation.parts import Part
from gfm_store.evaluation.result import GridPoint, Kind, Series, System

Extra = Callable[[Space, dict[str, np.ndarray]], dict[str, Any]]


@dataclass
class Run:
    """Systems, their lists, and series, on one bench."""

    bench: Bench
    """With the seed that models are fitted with now."""
    tuning: Bench | None
    """The same, one window earlier; None where the data does not reach back so far."""
    systems: list[System] = field(default_factory=list)
    lists: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)
    """By system, for each seed that it was fitted with."""
    series: dict[str, Series] = field(default_factory=dict)
    _lines: dict[str, list[list[Sample | None]]] = field(default_factory=dict)
    """By series and line, for each seed."""
    looks: dict[str, Any] = field(default_factory=dict)
    """The model's examples and map."""

    def static(self, change: Change, as_of: datetime | None = None) -> tuple[StaticAt, Part]:
        """A static layer at the cut, or at an earlier moment, and what it took."""
        bench = self.bench
        moment = as_of or bench.split.as_of

        def make() -> Part:
            fitted = fit_static_at(bench.warehouse, bench.split, moment, bench.config, change)
            return Part(fitted.arrays(), fitted.facts())

        part = bench.part(make, step="static", change=change.name, as_of=moment)
        return StaticAt.restored(part.arrays, part.facts), part

    def model_part(
        self,
        static: tuple[StaticAt, Part],
        change: Change,
        only: Callable[[str], bool] = lambda name: True,
        extra: Extra = lambda space, lists: {},
    ) -> Part:
        """Lists of a model on a static layer."""

        def make() -> Part:
            space = fit_space(self.bench.warehouse, self.bench.split, self.bench.config, static[0], change)
            lists = self.bench.rank(space.scorer(), only=only)
            return Part(lists, {"curves": space.curves, **extra(space, lists)})

        ranked = [one.name for one in self.bench.sets if only(one.name)]
        return self.bench.part(
            make, step="model", change=change.name, static=static[0].fingerprint, ranked=ranked
        )

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
        part = self.model_part(static, change, extra=extra)
        for key in ("examples", "item_map"):
            if key in part.facts:
                self.looks.setdefault(key, part.facts[key])
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
        """Take a finished system in, or its lists with a further seed; `also` are parts that it was made from."""
        whole = [part, *(also or [])]
        seconds = sum(one.seconds for one in whole)
        ndcg = [self.bench.headline(part.arrays)] if self.bench.has_headline(part.arrays) else []
        took = "finished before" if part.reused else f"{seconds:.0f} s"
        found = f"NDCG@10 {ndcg[0]:.4f}" if ndcg else "done"
        if name in self.lists:
            progress.say(f"{name}, seed {self.bench.config.seed}: {found} ({took})")
            self.lists[name].append(part.arrays)
            next(one for one in self.systems if one.name == name).by_seed.extend(ndcg)
            return
        progress.say(f"{name}: {found} ({took})")
        self.lists[name] = [part.arrays]
        self.systems.append(
            System(
                name=name,
                kind=kind,
                about=about,
                settings=settings or {},
                grid=grid or [],
                tuning_seconds=tuning_seconds,
                seconds=seconds,
                peak_mb=max(one.peak_mb for one in whole),
                reused=part.reused,
                by_seed=ndcg,
                curves=part.facts.get("curves", {}),
            )
        )

    def add_series(self, about: Series, metric: str, lines: dict[str, list[Sample | None]]) -> None:
        """Take lines in, which are means over the seeds that they come with.

        Args:
            about: the series without its lines.
            lines: one sample for each x.
        """
        averaged = {}
        for label, samples in lines.items():
            seeds = self._lines.setdefault(f"{about.name}: {label}", [])
            seeds.append(samples)
            averaged[label] = [_mean_estimate(at, metric) for at in zip(*seeds, strict=True)]
        self.series[about.name] = replace(about, lines=averaged)


def _mean_estimate(samples: Sequence[Sample | None], metric: str) -> Estimate | None:
    known = [one for one in samples if one is not None]
    return mean_sample(known).estimate(metric) if known else None
