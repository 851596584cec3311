"""Takes events, items and users from files or databases into the warehouse."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gfm_store.config import load_config
from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import warehouse_file
from gfm_store.warehouse.forgetting import FORGOTTEN
from gfm_store.warehouse.ingest import IngestSummary, RejectedReason, SourceSummary, ingest
from jobs.common import ConfigOption, WarehouseOption, console, job, recorded_root, run

HELP = (
    "Take events, items and users into the warehouse.\n\n"
    "A row that cannot be taken is kept in the table rejected_row with its line and a reason; that is no "
    "failure. Ingesting the same source again changes nothing. Items and users are updated by a later source: "
    "a column that it has overwrites, one that it lacks does not. Of rows with the same id in one source the "
    "first counts.\n\n"
    "Moments are ISO text (UTC unless it names a zone), epochs in seconds or finer, dates, or a year. Lists "
    'are "a; b", "a|b" or \\["a", "b"]. Empty text is unknown.'
)
EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.ingest --items items.csv --events events.parquet

    python -m jobs.ingest --events plays.csv.gz --map event_ts=ts --event-type 'rating:*=stream'

    python -m jobs.ingest --items m.item --map item_type==movie --events m.inter --event-type '*=stream'

    python -m jobs.ingest --users 'postgresql://me@db/shop::SELECT id, plan FROM member' --map user_id=id
"""

app = job()

_SOURCE = (
    "Parquet, .csv or .tsv (also .gz), RecBole's .inter, .item or .user, or URL::table-or-query for a "
    "database. May be given several times."
)


@app.command(help=HELP, epilog=EXAMPLES)
def main_command(
    items: Annotated[
        list[str] | None, typer.Option("--items", metavar="SRC", help=f"Items. {_SOURCE}")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option("--events", metavar="SRC", help="Events, as --items.")
    ] = None,
    users: Annotated[
        list[str] | None, typer.Option("--users", metavar="SRC", help="User profiles, as --items.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="CANONICAL=THEIRS",
            help="A foreign column name, such as event_ts=ts; items.title=name holds for --items alone; "
            "item_type==movie is a constant for every row. May be given several times.",
        ),
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option(
            "--event-type",
            metavar="VALUE=TYPE",
            help="A foreign event name; TYPE is stream, follow, preview, intent_to_pay or skip. VALUE may "
            "hold *: an exact name counts first, then our own names, then those with * in the order given. Without a "
            "column for the event type '*=stream' is the type of every row.",
        ),
    ] = None,
    readmit: Annotated[
        list[str] | None,
        typer.Option(
            "--readmit",
            metavar="USER",
            help="A user who was forgotten (jobs.forget) and may come back. May be given several times.",
        ),
    ] = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    root = recorded_root(warehouse, "ingest")
    summary = ingest(
        root,
        items=items or (),
        events=events or (),
        users=users or (),
        mapping=_pairs("--map", mapping or (), "event_ts=ts", last=False),
        event_types=_pairs("--event-type", event_type or (), "'rating:*=stream'", last=True),
        readmit=readmit or (),
        config=load_config(config),
    )
    _report(summary, str(warehouse_file(root)))


def _pairs(option: str, texts: Sequence[str], example: str, *, last: bool) -> dict[str, str]:
    """`a=b` texts, parted at the first or last `=`."""
    pairs: dict[str, str] = {}
    for text in texts:
        left, sign, right = text.rpartition("=") if last else text.partition("=")
        left, right = left.strip(), right.strip()
        if not sign or not left or not right:
            raise UsageError(f"{option} {text!r} does not read; write {option} {example}, say.")
        if pairs.get(left, right) != right:
            raise UsageError(f"{option} names {left!r} twice: {pairs[left]!r} and {right!r}.")
        pairs[left] = right
    return pairs


def _report(summary: IngestSummary, file: str) -> None:
    out = console()
    table = Table(box=None, pad_edge=False)
    table.add_column("table", no_wrap=True)
    table.add_column("source", overflow="fold")
    for name in ("rows", "new", "updated", "stored", "rejected"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in summary.sources:
        counts = (one.n_rows, one.n_new, one.n_updated, one.n_stored, one.n_rejected)
        table.add_row(one.table, escape(_short(one.source)), *(f"{count:,}" for count in counts))
    out.print()
    out.print(table)
    rejected = [(one, reason) for one in summary.sources for reason in one.rejected]
    if rejected:
        _report_rejected(out, rejected, file)
    if not any(one.n_rows for one in summary.sources):
        out.print("\nThere is a header and no row below it: nothing came in.")
    elif not summary.changed:
        out.print("\nAll of it was stored before; the warehouse is as it was.")
    out.print(
        f"\nThe warehouse holds {summary.n_items:,} items, {summary.n_events:,} events "
        f"and {summary.n_users:,} users with events.",
        highlight=False,
    )


def _report_rejected(
    out: Console, rejected: Sequence[tuple[SourceSummary, RejectedReason]], file: str
) -> None:
    out.print("\nRejected rows, kept aside:")
    for one, reason in rejected:
        example = reason.example if len(reason.example) <= 160 else reason.example[:157] + "..."
        out.print(
            f"  {reason.n_rows:,} x {reason.reason}, first in line {reason.example_line} of "
            f"{_short(one.source)}\n      {example}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    reasons = {reason.reason for _, reason in rejected}
    if "unknown event type" in reasons:
        out.print("  Name foreign event types with --event-type VALUE=TYPE.", highlight=False)
    if "unknown item" in reasons:
        out.print(
            "  Events need their items: ingest those with --items, then the events again.", highlight=False
        )
    if FORGOTTEN in reasons:
        out.print("  Users who were forgotten stay out; --readmit USER lets one come back.", highlight=False)
    out.print(
        f"To see them all, in {file}:\n"
        "  SELECT source, source_line, reason, content FROM rejected_row ORDER BY source, source_line",
        highlight=False,
        markup=False,
    )


def _short(source: str) -> str:
    """The end of a path, or an URL cut to what a line holds."""
    if "://" in source:
        return source if len(source) <= 60 else source[:57] + "..."
    return source.rpartition("/")[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""
    return run(app, argv, "ingest")


if __name__ == "__main__":
    sys.exit(main())
