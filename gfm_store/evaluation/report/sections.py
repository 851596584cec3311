"""What each section of the report shows: drawings with their captions, and rows for the tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gfm_store.evaluation.ablations import LINEAR, NEITHER, WITHOUT_HGNN
from gfm_store.evaluation.baselines import Popularity
from gfm_store.evaluation.report import plots
from gfm_store.evaluation.report.figures import (
    MAIN,
    Figures,
    Segment,
    computable,
    conclusion,
    number,
    ratio,
    signed,
)
from gfm_store.evaluation.report.plots import NOT_COMPUTABLE, Drawing, Row
from gfm_store.evaluation.result import MODEL, Evaluation, GridPoint, System, ViewSummary

GROUPS = {
    "Other targets": ("first", "all"),
    "Users": ("warm users", "new users"),
    "Item types": ("type:",),
    "Users new to a type": ("new to ",),
    "Popularity of the target": ("popularity ",),
    "Cold items": ("cold",),
}
"""Headings of the views, by how the views' names begin."""
STEPS = {
    Popularity.name: "popularity, its window tuned",
    NEITHER: "momentum and categories instead",
    WITHOUT_HGNN: "+ text",
    LINEAR: "+ who touched what, linear",
    MODEL: "+ the HGNN",
}
"""Systems by what they read, in words: each has a part that the one before lacks."""


@dataclass(frozen=True)
class Part:
    """A view with its drawing and its table."""

    view: ViewSummary
    drawing: Drawing
    systems: list[System]
    metrics: list[str]


@dataclass(frozen=True)
class Group:
    """Views under one heading."""

    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Curve:
    """Training curves of one network."""

    title: str
    is_model: bool
    drawing: Drawing


class Drawings:
    """Makes the drawings; each has its own name in the page, because ids are the page's."""

    def __init__(self, evaluation: Evaluation, figures: Figures) -> None:
        self._evaluation, self._figures = evaluation, figures
        self._count = 0

    def _name(self) -> str:
        self._count += 1
        return f"d{self._count}"

    def values(self, view: str, title: str, systems: list[System], metric: str = MAIN) -> Drawing:
        """One metric of systems in a view."""
        rows = []
        for one in self._figures.ranked(systems, view):
            estimate = self._figures.estimate(one.name, view, metric)
            rows.append(Row(one.name, estimate, one.kind, number(estimate.value, metric) if estimate else ""))
        return plots.interval_plot(
            rows, metric, self._name(), f"{metric} with 95% intervals by system: {title}"
        )

    def comparisons(self, view: str, systems: list[System]) -> Drawing:
        """The model over each system, or minus it where no ratio can be computed."""
        found = [(one, self._figures.find(one.name, view, MAIN)) for one in systems]
        as_ratio = any(figure and computable(figure.ratio) for _, figure in found)
        rows = []
        for one, figure in found:
            estimate = computable(figure.ratio if as_ratio else figure.difference) if figure else None
            shown = "" if not estimate else ratio(estimate.value) if as_ratio else signed(estimate.value)
            rows.append(Row(one.name, estimate, one.kind, shown))
        title = f"{MAIN}: model {'over' if as_ratio else 'minus'} system"
        label = f"{title}, with 95% intervals"
        return plots.interval_plot(rows, title, self._name(), label, even=1 if as_ratio else 0)

    def waterfall(self) -> Drawing | None:
        """What each part adds, one after the other; None where fewer than two of the steps were measured."""
        known = {
            name: estimate
            for name in STEPS
            if (estimate := computable(self._figures.estimate(name, self._figures.headline)))
        }
        if len(known) < 2:
            return None
        rows: list[Row] = []
        for name, estimate in known.items():
            before = rows[-1].estimate.value if rows and rows[-1].estimate else 0.0
            kind = "baseline" if name == Popularity.name else "ablation"
            rows.append(Row(STEPS[name], estimate, kind, signed(estimate.value - before)))
        if MODEL in known:
            rows.append(Row("the whole model", known[MODEL], "model", number(known[MODEL].value)))
        label = f"{MAIN} of the headline as parts are added, one after the other"
        return plots.waterfall_plot(rows, MAIN, self._name(), label)

    def segments(self, segments: list[Segment]) -> Drawing:
        """The model over the strongest baseline of each view."""
        rows = []
        for one in segments:
            estimate = computable(one.best.ratio) if one.best else None
            rows.append(Row(one.view.title, estimate, "model", ratio(estimate.value) if estimate else ""))
        label = f"{MAIN} of the model over the strongest baseline, by view"
        return plots.interval_plot(rows, f"{MAIN}: model over baseline", self._name(), label, even=1)

    def groups(self) -> Iterator[Group]:
        """All views but the headline, under their headings."""
        heading: dict[str, list[Part]] = {title: [] for title in (*GROUPS, "Other views")}
        for view in self._evaluation.views[1:]:
            measured = self._figures.measured(self._evaluation.systems, view.name)
            plotted = [one for one in measured if one.kind != "ablation"]
            part = Part(
                view,
                self.values(view.name, view.title, plotted),
                measured,
                self._figures.metrics(view.name, measured),
            )
            heading[_heading(view.name)].append(part)
        return (Group(title, parts) for title, parts in heading.items() if parts)

    def series(self) -> list[tuple[Any, Drawing]]:
        """Each series with its lines."""
        return [
            (
                one,
                plots.series_plot(one, self._name(), f"{one.name}: a line for each system, by {one.x_title}"),
            )
            for one in self._evaluation.series
        ]

    def curves(self) -> list[Curve]:
        """Training curves of every network of every system, the model's first."""
        found = []
        for system in sorted(self._evaluation.systems, key=lambda one: one.kind != "model"):
            for network, epochs in system.curves.items():
                title = f"{system.name}: {network}"
                drawing = plots.curve_plot(epochs, self._name(), f"Training curves of {title}, by epoch")
                found.append(Curve(title, system.kind == "model", drawing))
        return found

    def maps(self) -> list[tuple[str, Drawing]]:
        """The model's space by type and by topic."""
        items = self._evaluation.item_map
        if items is None or not items.x:
            return []
        return [
            (f"By {what}", plots.map_plot(items, groups, self._name(), f"Map of items by {what}", hover))
            for what, groups, hover in (("type", items.item_type, True), ("topic", items.topic, False))
        ]


def _heading(view: str) -> str:
    for title, begins in GROUPS.items():
        if view in begins or (title != "Other targets" and view.startswith(begins)):
            return title
    return "Other views"


def compared(segment: Segment) -> str:
    """A segment's verdict in words."""
    if segment.best is None:
        return NOT_COMPUTABLE
    return {"better": "better", "worse": "worse", "open": "not sure", None: NOT_COMPUTABLE}[
        conclusion(segment.best)
    ]


def chosen(system: System, point: GridPoint) -> bool:
    """Whether tuning chose this point."""
    return point.settings == system.settings


def settings(values: dict[str, Any]) -> str:
    """Settings in one line."""
    return (
        ", ".join(
            f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in values.items()
        )
        or "none"
    )


def moment(when: datetime) -> str:
    """A moment to the second."""
    return when.isoformat(" ", "seconds").replace("+00:00", " UTC")


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(megabytes: float) -> str:
    """Megabytes, or gigabytes from a thousand on."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.2f} GB"
