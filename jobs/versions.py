"""List, compare, publish, roll back and prune versions; see what is served and what is due."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gfm_store.config import Config, load_config
from gfm_store.lifecycle import versions
from gfm_store.lifecycle.journal import log_file
from gfm_store.lifecycle.status import Status, read_status
from gfm_store.lifecycle.versions import KeptVersion, find_version, read_versions
from gfm_store.vectors.version import DynamicRecord
from jobs.common import ConfigOption, WarehouseOption, console, job, recorded_root, run, warehouse_root

if TYPE_CHECKING:
    from gfm_store.lifecycle.comparison import Comparison

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.versions list

    python -m jobs.versions diff d-82996e693623 d-0f3a11c2be55

    python -m jobs.versions rollback --warehouse shop

    python -m jobs.versions prune --keep 3
"""

app = job()
STATES = {"": "kept", "*": "served", "x": "refused"}
WRITING = {"publish", "rollback", "prune"}
VersionArgument = Annotated[str, typer.Argument(metavar="V", help="A version, such as d-82996e693623.")]


@app.callback(help=__doc__, epilog=EXAMPLES)
def options(context: typer.Context, warehouse: WarehouseOption = None, config: ConfigOption = None) -> None:
    load_config(config)
    context.obj = warehouse, config


def _settings(context: typer.Context, config: Path | None) -> Config:
    return load_config(config or context.obj[1])


def _root(context: typer.Context, warehouse: Path | None, config: Path | None) -> Path:
    """The options may stand before or after the command; what changes something is recorded."""
    _settings(context, config)
    name, folder = context.info_name or "", warehouse or context.obj[0]
    return recorded_root(folder, f"versions {name}") if name in WRITING else warehouse_root(folder)


@app.command("list", epilog="[bold]Example[/bold]\n\n    python -m jobs.versions list --warehouse shop")
def list_versions(
    context: typer.Context, warehouse: WarehouseOption = None, config: ConfigOption = None
) -> None:
    """The versions that are kept, oldest first; * is what readers see, x was refused."""
    table = _table("", "version", "as_of", "age", "NDCG@10", "items", "users", "on disk", "static version")
    for one in read_versions(_root(context, warehouse, config)):
        record = one.record
        table.add_row(
            _mark(one),
            record.version,
            _moment(record.as_of),
            _age(record.built_at),
            _quality(record),
            f"{record.n_items:,}",
            f"{record.n_users:,}",
            _size(one.n_bytes),
            record.static_version,
        )
    console().print(table)


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions show d-82996e693623")
def show(
    context: typer.Context,
    version: VersionArgument,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    """All that is known of one version: from what, how good, how large, how long it took."""
    one = find_version(_root(context, warehouse, config), version)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(one).items():
        table.add_row(name, escape(value))
    console().print(table)


def _facts(one: KeptVersion) -> dict[str, str]:
    record, static, origin = one.record, one.static, one.record.origin
    return {
        "version": f"{record.version}, {STATES[_mark(one)]}",
        "as of": f"{_moment(record.as_of)}, built {_moment(record.built_at)} ({_ago(record.built_at)})",
        "parents": f"{static.version} as of {_moment(static.as_of)}"
        + (f"; follows {record.follows}" if record.follows else "; follows none"),
        "warehouse": f"{origin.n_events:,} events before as_of; the last ingest seen is number {origin.last_ingest_id}",
        "items, users": f"{record.n_items:,} items to recommend, {record.n_users:,} users with a history",
        "graph": f"{static.n_items:,} items, {static.n_edges:,} edges ({', '.join(static.item_types)}), "
        f"{static.window_days} days, at least {static.min_users} users an edge",
        "quality": _judged(record),
        "HGNN": f"MRR {static.validation_mrr:.3f} on held-out edges",
        "alignment": "; ".join(
            f"{name} turned towards {turn.version}: cosine of {turn.n_items:,} shared items "
            f"{turn.cosine_before:.3f} -> {turn.cosine_after:.3f}"
            for name, turn in (("retrieval", record.aligned), ("HGNN", static.aligned))
            if turn
        )
        or "none: a first version",
        "staleness": f"{record.staleness.new_items:.1%} of the items are new since {static.version}, "
        f"{record.staleness.edge_churn:.1%} of the edges changed, frozen HGNN: MRR {record.staleness.hgnn_mrr:.3f} "
        f"({record.staleness.hgnn_mrr_then:.3f} then)",
        "training": f"{record.n_pairs:,} pairs; HGNN {static.epochs} epochs",
        "seconds": "; ".join(
            f"{name}: {', '.join(f'{step} {seconds:.1f}' for step, seconds in part.seconds.items())}"
            for name, part in (("dynamic", record), ("static", static))
        ),
        "on disk": f"{_size(one.n_bytes)}: weights and static version {_size(one.weight_bytes)}, "
        + ", ".join(f"{name} {_size(size)}" for name, size in one.table_bytes.items()),
        "program": f"gfm-store {origin.package}, {origin.threads} threads, {origin.device}",
        "SQL": origin.sql,
        "settings": f"dynamic {origin.config}\nstatic {static.origin.config}",
    }


def _mark(one: KeptVersion) -> str:
    return "x" if one.tag is None else "*" if one.is_served else ""


def _quality(record: DynamicRecord) -> str:
    return str(record.held_out.ndcg) if record.held_out else "not held out"


def _judged(record: DynamicRecord) -> str:
    """On the last days, beside popularity and the version that was served then."""
    found = record.held_out
    if found is None:
        return "too little data to hold out the last days"
    text = (
        f"NDCG@10 {found.ndcg} over {found.n_users:,} users in the last {found.days} days before as_of, fitted "
        f"without them\npopularity {found.popularity_ndcg}; difference {found.over_popularity}"
    )
    if found.served:
        text += f"\n{found.served} {found.served_ndcg}; difference {found.over_served}"
    return "\n".join(filter(None, [text, found.note, record.refused and f"refused: {record.refused}"]))


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions diff d-82996e693623 d-0f3a11c2be55")
def diff(
    context: typer.Context,
    version: VersionArgument,
    other: Annotated[str, typer.Argument(metavar="W", help="The version to compare it with.")],
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    """How far the space moved from V to W."""
    from gfm_store.lifecycle.comparison import compare  # torch: a rollback shall not wait for its import

    found = compare(_root(context, warehouse, config), version, other)
    out = console()
    out.print(_counts(found))
    out.print()
    out.print(_movement(found))
    if found.movers:
        out.print("\nMovers: share of users with the item among their first 10", highlight=False)
        table = _table("item", "title", version, other)
        for mover in found.movers:
            table.add_row(
                mover.item_id,
                escape(mover.title[:50]),
                f"{mover.share_before:.1%}",
                f"{mover.share_after:.1%}",
            )
        out.print(table)
    for name, (before, after) in found.settings.items():
        out.print(f"{name}: {before} -> {after}", highlight=False, markup=False)


def _counts(found: "Comparison") -> Table:
    table = _table("", found.before.record.version, found.after.record.version)
    pairs = {
        "as of": lambda one: _moment(one.record.as_of),
        "static version": lambda one: one.static.version,
        "NDCG@10": lambda one: _quality(one.record),
        "events": lambda one: f"{one.record.origin.n_events:,}",
        "edges": lambda one: f"{one.static.n_edges:,}",
        "items": lambda one: f"{one.record.n_items:,}",
        "users": lambda one: f"{one.record.n_users:,}",
        "on disk": lambda one: _size(one.n_bytes),
    }
    for name, text in pairs.items():
        table.add_row(name, text(found.before), text(found.after))
    return table


def _movement(found: "Comparison") -> Table:
    table = _table("what stayed", "share", "of")
    known, items = f"{found.n_shared_known:,} shared items", f"{found.n_shared_items:,} shared and offered"
    users = f"{found.n_shared_users:,} shared users"
    rows = [
        ("10 nearest items by HGNN vector", found.item_overlap, known),
        ("10 nearest items by retrieval vector", found.retrieval_overlap, items),
        ("first 10 of users", found.list_overlap, users),
        ("first 10 of users, by their old vectors", found.stale_overlap, users),
        ("rank correlation of users' rankings", found.rank_correlation, users),
    ]
    for name, share, of in rows:
        shown = "not comparable" if share is None else f"{share:.3f}"
        table.add_row(name, shown, of)
    return table


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions status --warehouse shop")
def status(context: typer.Context, warehouse: WarehouseOption = None, config: ConfigOption = None) -> None:
    """Five lines: what is served, how old it is, the last run of each job, its log, and what is due."""
    found = read_status(_root(context, warehouse, config))
    for name, text in _status_lines(found).items():
        typer.echo(f"{name:<8} {text}")


def _status_lines(found: Status) -> dict[str, str]:
    served, newest = found.served, found.newest_event
    data = f"newest event {_moment(newest)}" if newest else "no events"
    if served is None:
        serves, age = "nothing is published", data
    else:
        record, size = served.record, _size(sum(one.n_bytes for one in found.versions))
        serves = f"{record.version} on {record.static_version}; {len(found.versions)} versions kept, {size}"
        age = f"as of {_moment(record.as_of)}, built {_ago(record.built_at)}, {data}"
        if found.published_since:
            age += f"; published {_ago(found.published_since)}"
    runs = [f"{run.job} {run.outcome} {_ago(run.started_at)}" for run in found.runs]
    return {
        "served": serves,
        "age": age,
        "runs": ", ".join(runs) or "none yet",
        "logs": " ".join(log_file(run) for run in found.runs) or "none yet",
        "due": "; ".join(found.due) or "nothing",
    }


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions publish d-82996e693623")
def publish(
    context: typer.Context,
    version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when a gate refused it.")] = False,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    """Let readers see a version that is kept."""
    root, keep = _root(context, warehouse, config), _settings(context, config).serving.keep_versions
    refused = versions.refused_record(root)
    if refused is not None and refused.version == version:
        from gfm_store.lifecycle.refused import publish_refused  # torch, again

        record = publish_refused(root, refused, keep, force)
    else:
        record = versions.publish_version(root, version)
    typer.echo(f"Published {record.version} of {_moment(record.as_of)}.")


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions rollback --warehouse shop")
def rollback(context: typer.Context, warehouse: WarehouseOption = None, config: ConfigOption = None) -> None:
    """Let readers see the version that the served one took over from."""
    record = versions.roll_back(_root(context, warehouse, config))
    typer.echo(f"Rolled back to {record.version} of {_moment(record.as_of)}.")


@app.command(epilog="[bold]Example[/bold]\n\n    python -m jobs.versions prune --keep 3")
def prune(
    context: typer.Context,
    keep: Annotated[
        int,
        typer.Option("--keep", metavar="N", help="Newest versions that stay; the served one always does."),
    ],
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove all but the newest versions and free their space."""
    root = _root(context, warehouse, config)
    before = _bytes(root)
    dropped = versions.prune_versions(root, keep)
    typer.echo(f"Removed {', '.join(dropped) or 'nothing'}; freed {_size(max(before - _bytes(root), 0))}.")


def _bytes(root: Path) -> int:
    """On disk; hard links count once."""
    files = [path.lstat() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({stat.st_ino: stat.st_size for stat in files}.values())


def _table(*names: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, justify="left")
    return table


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _age(moment: datetime) -> str:
    """Since then, in its largest unit."""
    passed = datetime.now(UTC).replace(tzinfo=None) - moment
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed // length} {unit}"
    return "now"


def _ago(moment: datetime) -> str:
    age = _age(moment)
    return age if age == "now" else f"{age} ago"


def _size(n_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "versions")


if __name__ == "__main__":
    raise SystemExit(main())
