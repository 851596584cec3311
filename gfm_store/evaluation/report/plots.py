"""The drawings of the report: narrow enough to be read on a phone, one unit a pixel."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from gfm_store.evaluation.metrics import Estimate
from gfm_store.evaluation.report.figures import computable
from gfm_store.evaluation.report.svg import (
    ABLATION,
    BASELINE,
    INK,
    MODEL,
    MUTED,
    ORACLE,
    SERIES,
    SURFACE,
    VARIABLES,
    drawing,
    inline_svg,
    plain,
)
from gfm_store.evaluation.result import ItemMap, Series

WIDTH = 390
LABEL, VALUE = 142, 48
"""Room for the rows' names and values."""
LETTERS = 21
"""That fit in LABEL."""
NOT_COMPUTABLE = "not computable"
COVER = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1}
MARKS = {
    "model": (MODEL, "o"),
    "baseline": (BASELINE, "s"),
    "oracle": (ORACLE, "D"),
    "ablation": (ABLATION, "s"),
}
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "*": "★"}
TOPICS = len(SERIES) - 1
"""More are drawn as "other"."""


@dataclass(frozen=True)
class Row:
    """One line of an interval plot."""

    label: str
    estimate: Estimate | None
    kind: str
    shown: str
    """The value in words."""


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    colour: str
    symbol: str
    label: str


@dataclass(frozen=True)
class Drawing:
    """A drawing and its legend, which the page shows as text."""

    svg: Markup
    legend: list[Key]


def interval_plot(
    rows: Sequence[Row], x_title: str, name: str, label: str, even: float | None = None
) -> Drawing:
    """Estimates with their intervals, one row each; a line at `even`, where there is no difference."""
    with drawing():
        figure, axes = _rows_panel(len(rows))
        for y, row in enumerate(rows):
            estimate = computable(row.estimate)
            colour, marker = MARKS[row.kind]
            _beside(axes, y, row.label)
            if estimate is None:
                axes.text(0.02, y, NOT_COMPUTABLE, va="center", color=MUTED, **_across(axes), bbox=COVER)
                continue
            axes.plot(
                [estimate.low, estimate.high], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt"
            )
            axes.plot(
                [estimate.value],
                [y],
                marker,
                color=colour,
                markersize=6,
                markeredgecolor=SURFACE,
                markeredgewidth=0.6,
            )
            axes.text(1.03, y, row.shown, va="center", color=INK, **_across(axes))
        _measure(axes, rows, even)
        axes.set_xlabel(x_title)
        return Drawing(inline_svg(figure, name, label), [])


def waterfall_plot(rows: Sequence[Row], x_title: str, name: str, label: str) -> Drawing:
    """From one row's value to the next one's: what each step adds; the last row is the whole."""
    with drawing():
        figure, axes = _rows_panel(len(rows))
        before = 0.0
        for y, row in enumerate(rows):
            _beside(axes, y, row.label)
            axes.text(1.03, y, row.shown, va="center", color=INK, **_across(axes))
            if row.estimate is None:
                continue
            value = row.estimate.value
            start = 0.0 if row.kind == "model" else before
            axes.barh(y, value - start, left=start, height=0.6, color=MARKS[row.kind][0])
            if y + 1 < len(rows):
                axes.vlines(value, y + 0.3, y + 0.7, color=MUTED, linewidth=1)
            before = value
        axes.set_xlim(0, max((row.estimate.high for row in rows if row.estimate), default=1.0))
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel(x_title)
        return Drawing(inline_svg(figure, name, label), [])


def _beside(axes: Axes, y: float, label: str) -> None:
    """A row's name, each line by itself, so that it ends at the axes in any font."""
    lines = _two_lines(label)
    for i, line in enumerate(lines):
        place = y + (i - (len(lines) - 1) / 2) * 0.45
        axes.text(-0.03, place, line, ha="right", va="center", color=INK, **_across(axes))


def _across(axes: Axes) -> dict[str, Any]:
    """Places across the axes as shares of their width."""
    return {"transform": axes.get_yaxis_transform()}


def _measure(axes: Axes, rows: Sequence[Row], even: float | None) -> None:
    """The horizontal axis: from 0 for values, around `even` for comparisons, logarithmic for wide ratios."""
    found = [one for row in rows if (one := computable(row.estimate))]
    if even is not None:
        axes.axvline(even, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if not found:
        axes.set_xlim(0, 1 if even is None else 2 * even or 1)
        axes.set_xticks([])
        return
    low, high = min(one.low for one in found), max(one.high for one in found)
    if even == 1 and low > 0 and high / low > 4:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(_ratios(low, high))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(low, 1) / 1.1, max(high, 1) * 1.1)
        return
    low, high = min(low, even or 0), max(high, even or 0)
    room = (high - low) * 0.05 or 1
    axes.set_xlim(low - (room if low < 0 or even is not None else 0), high + room)
    axes.locator_params(axis="x", nbins=4)


def _ratios(low: float, high: float) -> LogLocator:
    return LogLocator(base=10, subs=(1, 2, 5) if high / low < 200 else (1,))


def series_plot(series: Series, name: str, label: str) -> Drawing:
    """Lines with bands over the places of x, evenly spaced whatever their values."""
    place = np.arange(len(series.x))
    keys = []
    with drawing():
        figure, axes = _panel(270, 52, 14, top=10, bottom=44)
        for i, (system, estimates) in enumerate(series.lines.items()):
            colour, marker = SERIES[i % len(SERIES)], list(MARKERS)[i % len(MARKERS)]
            known = [computable(one) for one in estimates]
            value, low, high = (
                np.array([getattr(one, part) if one else np.nan for one in known])
                for part in ("value", "low", "high")
            )
            axes.fill_between(place[: len(value)], low, high, color=colour, alpha=0.15, linewidth=0)
            axes.vlines(place[: len(value)], low, high, color=colour, alpha=0.6, linewidth=1)
            axes.plot(place[: len(value)], value, marker=marker, color=colour, linewidth=2, markersize=6)
            keys.append(Key(VARIABLES[colour], MARKERS[marker], system))
        axes.set_xticks(place, [f"{x:g}" for x in series.x])
        axes.set_xlim(-0.3, len(place) - 0.7)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y")
        axes.set_xlabel(_clipped(series.x_title, 60))
        return Drawing(inline_svg(figure, name, label), keys)


def curve_plot(epochs: Sequence[dict[str, float]], name: str, label: str) -> Drawing:
    """Training curves, one panel a quantity, because their scales differ."""
    parts = list(dict.fromkeys(part for epoch in epochs for part in epoch))
    with drawing():
        height = 20 + 132 * len(parts) + 24
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        for i, part in enumerate(parts):
            bottom = height - 20 - 132 * i - 96
            axes = figure.add_axes((52 / WIDTH, bottom / height, (WIDTH - 66) / WIDTH, 88 / height))
            value = np.array([epoch.get(part, np.nan) for epoch in epochs], dtype=float)
            value[~np.isfinite(value)] = np.nan
            axes.plot(
                np.arange(1, len(value) + 1), value, color=SERIES[i % len(SERIES)], marker="o", markersize=3.5
            )
            axes.set_title(_clipped(part, 50), loc="left", pad=3, color=INK)
            axes.locator_params(axis="y", nbins=4)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            axes.set_xlim(0.5, max(len(value), 1) + 0.5)
            axes.grid(axis="y")
        if parts:
            axes.set_xlabel("epoch")
        return Drawing(inline_svg(figure, name, label), [])


def map_plot(items: ItemMap, groups: Sequence[str], name: str, label: str, hover: bool) -> Drawing:
    """The items' places, coloured and marked by group: the largest groups, the others as one."""
    place = np.array([items.x, items.y], dtype=float)  # (2, n)
    known = np.isfinite(place).all(axis=0)
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    named = sorted((one for one in sizes if one), key=lambda one: (-sizes[one], one))[:TOPICS]
    group_of = np.array([named.index(group) if group in named else len(named) for group in groups], dtype=int)
    keys: list[Key] = []
    texts: list[list[str]] = []
    with drawing():
        figure = Figure(figsize=(WIDTH / 72, WIDTH / 72), dpi=72)
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        axes.set_axis_off()
        for i in (len(named), *range(len(named))):  # the others are drawn first, below
            chosen = known & (group_of == i)
            if not chosen.any():
                continue
            colour = SERIES[i] if i < len(named) else BASELINE
            marker = list(MARKERS)[i % len(MARKERS)] if i < len(named) else "o"
            axes.plot(*place[:, chosen], marker, color=colour, markersize=4.5, markeredgewidth=0, alpha=0.8)
            axes.lines[-1].set_gid(f"points-{len(texts)}")
            titles = [items.title[n] for n in chosen.nonzero()[0]]
            texts.append([_clipped(one, 60) for one in titles])
            shown = named[i] if i < len(named) else "other or none"
            keys.append(Key(VARIABLES[colour], MARKERS[marker], f"{shown} ({int(chosen.sum()):,})"))
        axes.margins(0.03)
        if (known & (group_of == len(named))).any():
            keys.append(keys.pop(0))
        return Drawing(inline_svg(figure, name, label, texts if hover else ()), keys)


def _panel(height: float, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    inside = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    return figure, figure.add_axes(inside)


def _rows_panel(num_rows: int) -> tuple[Figure, Axes]:
    """Room for rows under each other, names on the left and values on the right."""
    rows = max(num_rows, 1)
    figure, axes = _panel(26 * rows + 46, LABEL, VALUE, top=6, bottom=40)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure, axes


def _two_lines(text: str) -> list[str]:
    """A name in the room beside the axes; the tables have it whole."""
    text = plain(text)
    wide = any(unicodedata.east_asian_width(c) in "WF" for c in text)
    return wrap(text, LETTERS // 2 if wide else LETTERS, max_lines=2, placeholder=" …")


def _clipped(text: str, length: int) -> str:
    text = " ".join(plain(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"
