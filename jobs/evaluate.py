"""Is the model better than tuned baselines, by how much, how sure is that, and why.

Time is cut once for everybody: the model and every baseline see what is before it, and rank every item that was
available then for the first five that each user newly streams after it. Nothing that is published is touched.
Finished parts are kept: an interrupted evaluation goes on where it was.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gfm_store.config import load_config
from gfm_store.evaluation.evaluate import evaluate
from gfm_store.evaluation.protocols import LEAVE_ONE_OUT, TEMPORAL
from gfm_store.evaluation.report import write_report
from gfm_store.evaluation.result import MODEL, Evaluation
from gfm_store.locks import shared
from gfm_store.warehouse.connection import open_warehouse
from jobs.common import (
    ConfigOption,
    WarehouseOption,
    console,
    job,
    parse_as_of,
    recorded_root,
    run,
)

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.evaluate

    python -m jobs.evaluate --warehouse shop --as-of 2014-01-25 --horizon-days 180 --out report

    python -m jobs.evaluate --ablations --seeds 3
"""
SHOWN = ("HR@10", "NDCG@10", "Recall@50")


class Protocol(StrEnum):
    """How the data is divided."""

    temporal = TEMPORAL
    loo_999 = LEAVE_ONE_OUT


app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def evaluation(
    horizon_days: Annotated[
        int, typer.Option("--horizon-days", metavar="DAYS", help="Length of the test window.")
    ] = 14,
    protocol: Annotated[
        Protocol,
        typer.Option("--protocol", help="loo-999 exists only to stand beside published tables."),
    ] = Protocol.temporal,
    ablations: Annotated[
        bool,
        typer.Option("--ablations", help="Also measure what each part of the model is worth; takes long."),
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            metavar="N",
            min=1,
            help="Fit the model and its varieties so many times; figures are means over the fits.",
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            file_okay=False,
            help="Folder for report.html and metrics.json (default: `report` in the warehouse).",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="TS",
            help="The cut in UTC, as 2014-01-25 or 2014-01-25T06:00 (default: the horizon before the newest event).",
        ),
    ] = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    settings = load_config(config)
    root = recorded_root(warehouse, "evaluate")
    moment = parse_as_of(as_of)
    folder = out or root / "report"
    open_warehouse(root).close()  # before a lock makes a folder of what is none
    with shared(root, "evaluation"):  # nobody is forgotten meanwhile, whom it would write back
        with open_warehouse(root, threads=settings.threads, memory_limit=settings.memory_limit) as opened:
            result = evaluate(
                opened, settings, protocol.value, moment, horizon_days, ablations=ablations, seeds=seeds
            )
        folder.mkdir(parents=True, exist_ok=True)
        result.write(folder / "metrics.json")
        write_report(result, folder / "report.html")
    _show(result)
    typer.echo(f"Report: {folder / 'report.html'}  Figures: {folder / 'metrics.json'}")


def _show(result: Evaluation) -> None:
    headline = result.views[0]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("system")
    for name in SHOWN:
        table.add_column(f"{name} [95%]", no_wrap=True)
    table.add_column(f"{MODEL} / system, NDCG@10", no_wrap=True)
    for system in result.systems:
        figures = [result.find(system.name, headline.name, name) for name in SHOWN]
        ratio = figures[1].ratio if figures[1] else None
        table.add_row(
            system.name,
            *(str(one.estimate) if one and one.estimate else "not computable" for one in figures),
            f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "",
        )
    out = console()
    out.print(
        f"{result.protocol}, cut {result.as_of:%Y-%m-%d %H:%M}, {result.horizon_days} days: "
        f"{headline.num_users:,} users, {headline.num_candidates:,} items ranked. {headline.title}.",
        highlight=False,
    )
    out.print(table)
    for note in result.notes:
        out.print(f"Note: {note}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "evaluate")


if __name__ == "__main__":
    raise SystemExit(main())
