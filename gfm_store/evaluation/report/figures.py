"""The figures of an evaluation by name, and what a reader may conclude from them."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from gfm_store.evaluation.metrics import METRICS, NOVELTY, Estimate
from gfm_store.evaluation.result import Evaluation, Figure, System, ViewSummary

MAIN = "NDCG@10"
"""The metric by which systems are ordered and compared in words."""
Verdict = Literal["better", "worse", "open"]


def computable(estimate: Estimate | None) -> Estimate | None:
    """The estimate, where all of it is a number."""
    if estimate is None or not all(map(isfinite, (estimate.value, estimate.low, estimate.high))):
        return None
    return estimate


def verdict(estimate: Estimate | None, even: float) -> Verdict | None:
    """Whether the interval lies above or below `even` (1 for a ratio, 0 for a difference), or holds it."""
    if (estimate := computable(estimate)) is None:
        return None
    if estimate.low > even:
        return "better"
    return "worse" if estimate.high < even else "open"


def conclusion(figure: Figure | None) -> Verdict | None:
    """What the paired comparison says of the model against the figure's system."""
    if figure is None:
        return None
    return verdict(figure.ratio, 1) or verdict(figure.difference, 0)


def number(value: float, metric: str = MAIN) -> str:
    """A value as it is shown: bits with two places, shares and gains with four."""
    return f"{value:.{2 if metric == NOVELTY else 4}f}"


def ratio(value: float) -> str:
    """A ratio with two places, or more where two would make it look like 1 or like nothing."""
    if value >= 100:
        return f"{value:.3g}"
    return next(
        (shown for places in (2, 3, 4) if float(shown := f"{value:.{places}f}") not in (0, 1)), f"{value:.2f}"
    )


def signed(value: float, metric: str = MAIN) -> str:
    """A difference, with its sign unless it is 0 as shown."""
    shown = number(value, metric)
    return f"{value:+.{len(shown.partition('.')[2])}f}" if float(shown) else shown.lstrip("-")


@dataclass(frozen=True)
class Segment:
    """One view: the model beside the strongest baseline there."""

    view: ViewSummary
    model: Figure | None
    best: Figure | None


class Figures:
    """The figures of one evaluation, found at once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._by_name = {(one.system, one.view, one.metric): one for one in evaluation.figures}
        self.model = next((one for one in evaluation.systems if one.kind == "model"), None)
        self.baselines = [one for one in evaluation.systems if one.kind == "baseline"]
        self.oracles = [one for one in evaluation.systems if one.kind == "oracle"]
        self.ablations = [one for one in evaluation.systems if one.kind == "ablation"]
        self.headline = evaluation.views[0].name if evaluation.views else ""

    def find(self, system: str, view: str, metric: str) -> Figure | None:
        """One figure; None where it was not measured."""
        return self._by_name.get((system, view, metric))

    def estimate(self, system: str, view: str, metric: str = MAIN) -> Estimate | None:
        """One estimate; None where it was not measured or cannot be computed."""
        figure = self.find(system, view, metric)
        return computable(figure.estimate) if figure else None

    def metrics(self, view: str, systems: list[System]) -> list[str]:
        """Metrics measured in a view for any of the systems: the main one, the known ones, others."""
        names = {one.name for one in systems}
        found = {metric: None for system, where, metric in self._by_name if where == view and system in names}
        return [metric for metric in dict.fromkeys((MAIN, *METRICS, *found)) if metric in found]

    def ranked(self, systems: list[System], view: str) -> list[System]:
        """Systems by their main figure in a view, the best first, those without one last."""

        def place(system: System) -> float:
            estimate = self.estimate(system.name, view)
            return -estimate.value if estimate else 1

        return sorted(systems, key=place)

    def measured(self, systems: list[System], view: str) -> list[System]:
        """The systems with any figure in a view."""
        names = {system for system, where, _ in self._by_name if where == view}
        return [one for one in systems if one.name in names]

    def best_baseline(self, view: str) -> System | None:
        """The baseline with the highest main figure in a view; None where none can be computed."""
        for system in self.ranked(self.baselines, view):
            return system if self.estimate(system.name, view) else None
        return None

    def segment(self, view: ViewSummary) -> Segment:
        """The model and the strongest baseline in a view."""
        best = self.best_baseline(view.name)
        return Segment(
            view,
            self.find(self.model.name, view.name, MAIN) if self.model else None,
            self.find(best.name, view.name, MAIN) if best else None,
        )
