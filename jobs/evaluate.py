"""Measure the model beside tuned baselines: one cut in time, every known item ranked.

Targets are the first five items that a user newly streams in the horizon, of those known before the cut; items
seen before are not ranked. Nothing that is published is touched.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gfm_store.config import load_config
from gfm_store.evaluation.evaluate import Evaluation, evaluate
from gfm_store.evaluation.metrics import METRICS
from gfm_store.warehouse.connection import open_warehouse
from jobs.common import AsOfOption, ConfigOption, WarehouseOption, job, parse_as_of, run, warehouse_root

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.evaluate

    python -m jobs.evaluate --warehouse shop --as-of 2014-01-25 --horizon-days 180 --out report
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def evaluation(
    horizon_days: Annotated[int, typer.Option("--horizon-days", help="Length of the test window.")] = 14,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for metrics.json.")] = None,
    as_of: AsOfOption = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    settings = load_config(config)
    root = warehouse_root(warehouse)
    with open_warehouse(root, threads=settings.threads, memory_limit=settings.memory_limit) as opened:
        result = evaluate(opened, settings, parse_as_of(as_of), horizon_days)
    _show(result)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(
            json.dumps(asdict(result), indent=2, default=str) + "\n", encoding="utf-8"
        )


def _show(result: Evaluation) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("system")
    for name in METRICS:
        table.add_column(f"{name} [95%]", no_wrap=True)
    table.add_column("NDCG ratio, difference [95%]", no_wrap=True)
    table.add_column("settings")
    for row in result.rows:
        against = ""
        if row.difference is not None:
            ratio = f"{row.ratio_to_model:.2f}x" if row.ratio_to_model is not None else "-"
            against = f"{ratio}, {row.difference}"
        table.add_row(row.name, *(str(value) for value in row.metrics.values()), against, row.settings)
    console = Console(width=None if Console().is_terminal else 200)
    console.print(
        f"Cut {result.as_of:%Y-%m-%d %H:%M}, {result.horizon_days} days: {result.n_users:,} users, "
        f"{result.n_candidates:,} items ranked. First five new items, warm.",
        highlight=False,
    )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "evaluate")


if __name__ == "__main__":
    raise SystemExit(main())
