"""The answer in words: is the model better, by how much, and how sure is that."""

from dataclasses import dataclass

from gfm_store.evaluation.metrics import Estimate
from gfm_store.evaluation.report.figures import (
    MAIN,
    Figures,
    Verdict,
    computable,
    conclusion,
    number,
    ratio,
    signed,
)
from gfm_store.evaluation.result import Evaluation, Figure, System

FOUND = "HR@10"
BADGES: dict[Verdict | None, str] = {
    "better": "Better, and we are sure",
    "worse": "Worse, and we are sure",
    "open": "Not sure",
    None: "No answer",
}


@dataclass(frozen=True)
class Answer:
    """What the headline figures say."""

    verdict: Verdict | None
    badge: str
    sentence: str
    further: list[str]
    """Sentences that put it into perspective."""


def answer(evaluation: Evaluation, figures: Figures) -> Answer:
    """The answer to "is it better", from the headline view alone."""
    view, model = figures.headline, figures.model
    if model is None or (mine := figures.estimate(model.name, view)) is None:
        why = "the model was not measured" if model is None else f"the model's {MAIN} is not computable"
        return Answer(None, BADGES[None], f"There is no answer: {why}.", [])
    best = figures.best_baseline(view)
    further = _users(figures, view, model, best) + _oracle(figures, view, mine)
    if best is None:
        sentence = (
            f"{model.name} scores {number(mine.value)} on {MAIN}; there is no baseline to compare it with."
        )
        return Answer(None, BADGES[None], sentence, further)
    figure = figures.find(best.name, view, MAIN)
    assert figure is not None and figure.estimate is not None  # best_baseline has one
    tuned = "best tuned baseline" if evaluation.tuning_as_of else "best baseline (none was tuned)"
    found = conclusion(figure)
    sentence = (
        f"{model.name} {_how_much(figure)} the {tuned}, {best.name}: {MAIN} {number(mine.value)} "
        f"against {number(figure.estimate.value)}{_interval(figure)}. {_how_sure(found)}"
    )
    return Answer(found, BADGES[found], sentence, further)


def _how_much(figure: Figure) -> str:
    if found := computable(figure.ratio):
        percent = abs(found.value - 1) * 100
        if percent < 0.05:
            return "finds as much as"
        shown = f"{percent:.1f}" if percent < 10 else f"{percent:.0f}"
        return f"finds {shown}% {'more' if found.value > 1 else 'less'} than"
    if found := computable(figure.difference):
        return (
            f"finds {'more' if found.value > 0 else 'less' if found.value < 0 else 'as much'} {_than(found)}"
        )
    return "cannot be compared with"


def _than(difference: Estimate) -> str:
    return "than" if difference.value else "as"


def _interval(figure: Figure) -> str:
    if found := computable(figure.ratio):
        return f", ratio {ratio(found.value)} with 95% interval {ratio(found.low)} to {ratio(found.high)}"
    if found := computable(figure.difference):
        return f", difference {signed(found.value)} with 95% interval {signed(found.low)} to {signed(found.high)}"
    return ""


def _how_sure(found: Verdict | None) -> str:
    if found is None:
        return "The comparison is not computable."
    if found == "open":
        return "We are not sure: the interval includes no difference at all, so this may be chance."
    return f"We are sure that it is {found}: the interval excludes no difference."


def _users(figures: Figures, view: str, model: System, best: System | None) -> list[str]:
    mine = figures.estimate(model.name, view, FOUND)
    if mine is None:
        return []
    text = f"Of 100 users, {mine.value * 100:.1f} find one of their next items among the model's first 10"
    theirs = figures.estimate(best.name, view, FOUND) if best else None
    return [text + (f"; with {best.name} {theirs.value * 100:.1f} do." if best and theirs else ".")]


def _oracle(figures: Figures, view: str, mine: Estimate) -> list[str]:
    told = []
    for system in figures.oracles:
        estimate = figures.estimate(system.name, view)
        if estimate and estimate.value > 0:
            share = mine.value / estimate.value
            told.append(
                f"The best possible, {system.name}, reaches {number(estimate.value)} on {MAIN}; "
                f"the model has {share:.0%} of it."
            )
    return told
