"""Fills an empty warehouse with the made sample world."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer
from rich.table import Table

from gfm_store.config import load_config, warehouse_option
from gfm_store.errors import UsageError
from gfm_store.warehouse.sample import SampleSettings, SampleSummary, make_sample
from jobs.common import ConfigOption, WarehouseOption, console, job, recorded_root, run

EXAMPLES = """
[bold]Examples[/bold]

python -m jobs.sample

python -m jobs.sample --warehouse big --events 10000000

python -m jobs.sample --warehouse null --null-world --seed 7

python -m jobs.sample --warehouse small --users 300 --items 200 --days 30
"""

app = job()


@app.command(epilog=EXAMPLES)
def main_command(
    users: Annotated[int | None, typer.Option(help="Users (default 4,000, or as --events asks).")] = None,
    items: Annotated[
        int | None,
        typer.Option(help="Items of all types, at least 30 (default: grows with the root of users)."),
    ] = None,
    days: Annotated[int, typer.Option(help="Length of the period.")] = 150,
    events: Annotated[
        int | None, typer.Option(help="About so many events (default: 62 a user in 150 days).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and sizes, same rows.")] = 0,
    end_date: Annotated[
        str, typer.Option(metavar="DATE", help="All events are before this day (UTC).")
    ] = "2026-09-30",
    null_world: Annotated[
        bool,
        typer.Option(
            "--null-world",
            help="Everybody chooses by popularity and freshness alone: no model may gain anything here.",
        ),
    ] = False,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    """Fill an empty warehouse with a made world of podcasts, audiobooks, music and listeners.

    Same options, same rows. The hidden truth behind them is kept apart, in truth/.
    """
    options = load_config(config)
    settings = SampleSettings.checked(
        users=users,
        items=items,
        days=days,
        events=events,
        seed=seed,
        end_date=_parse_date(end_date),
        null_world=null_world,
    )
    root = recorded_root(warehouse, "sample")
    _report(make_sample(root, settings, threads=options.threads, memory_limit=options.memory_limit))
    typer.echo(f"Next: python -m jobs.refresh_dynamic {warehouse_option(root)}")


def _parse_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--end-date {text!r} is not a day; write 2026-09-30.") from None


def _report(summary: SampleSummary) -> None:
    out = console()
    table = Table(box=None, pad_edge=False)
    table.add_column("type", no_wrap=True)
    for name in ("items", "events", "streams", "users"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in summary.types:
        counts = (one.n_items, one.n_events, one.n_streams, one.n_users)
        table.add_row(one.item_type, *(f"{count:,}" for count in counts))
    streams = sum(one.n_streams for one in summary.types)
    totals = (summary.n_items, summary.n_events, streams, summary.n_users)
    table.add_row("all", *(f"{count:,}" for count in totals), style="bold")
    out.print()
    out.print(table)
    if summary.first_event and summary.last_event:
        out.print(
            f"\nEvents from {summary.first_event:%Y-%m-%d %H:%M} to {summary.last_event:%Y-%m-%d %H:%M} UTC.",
            highlight=False,
        )
    out.print(
        f"The hidden truth lies in {summary.truth}; no refresh reads it.", highlight=False, soft_wrap=True
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""
    return run(app, argv, "sample")


if __name__ == "__main__":
    sys.exit(main())
