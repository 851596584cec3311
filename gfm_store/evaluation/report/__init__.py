"""The report of an evaluation: one HTML file that needs nothing else and tells the same in light and dark."""

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gfm_store.evaluation.metrics import COVERAGE, METRICS, NOVELTY, TAIL
from gfm_store.evaluation.report import figures as reading
from gfm_store.evaluation.report import sections
from gfm_store.evaluation.report.answer import answer
from gfm_store.evaluation.report.figures import MAIN, Figures
from gfm_store.evaluation.report.plots import NOT_COMPUTABLE
from gfm_store.evaluation.report.sections import Drawings
from gfm_store.evaluation.result import Evaluation

__all__ = ["write_report"]
FOLDER = Path(__file__).parent


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write `report.html`. Equal evaluations give equal bytes."""
    # Titles may hold halves of surrogate pairs, which no encoding has.
    path.write_bytes(render(evaluation).encode("utf-8", errors="replace"))


def render(evaluation: Evaluation) -> str:
    """The report as text. Everything from the evaluation is escaped; only our own drawings are not."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": reading.number,
        "ratio": reading.ratio,
        "computable": reading.computable,
        "signed": reading.signed,
        "moment": sections.moment,
        "settings": sections.settings,
        "duration": sections.duration,
        "memory": sections.memory,
    }
    figures = Figures(evaluation)
    drawings = Drawings(evaluation, figures)
    headline = [one for one in evaluation.systems if one.kind != "ablation"]
    segments = [figures.segment(view) for view in evaluation.views]
    return environment.get_template("report.html.jinja").render(
        css=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        evaluation=evaluation,
        figures=figures,
        answer=answer(evaluation, figures),
        headline=evaluation.views[0] if evaluation.views else None,
        headline_systems=figures.ranked(headline, figures.headline),
        headline_metrics=figures.metrics(figures.headline, headline),
        headline_drawing=drawings.values(figures.headline, "headline", headline),
        headline_comparison=drawings.comparisons(
            figures.headline,
            [one for one in figures.ranked(headline, figures.headline) if one.kind != "model"],
        ),
        segments=segments,
        segment_drawing=drawings.segments(segments),
        groups=list(drawings.groups()),
        ablation_metrics=figures.metrics(figures.headline, figures.ablations),
        ablation_drawing=drawings.comparisons(figures.headline, figures.ablations),
        waterfall=drawings.waterfall() if figures.ablations else None,
        series=drawings.series(),
        curves=drawings.curves(),
        maps=drawings.maps(),
        main=MAIN,
        glossary=METRICS,
        neutral=(COVERAGE, TAIL, NOVELTY),
        not_computable=NOT_COMPUTABLE,
        ratio=reading.ratio,
        show_value=lambda metric: partial(reading.number, metric=metric),
        show_difference=lambda metric: partial(reading.signed, metric=metric),
        verdict=reading.verdict,
        conclusion=reading.conclusion,
        compared=sections.compared,
        chosen=sections.chosen,
    )
