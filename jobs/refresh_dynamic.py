"""Fit the two-tower on the current static version and publish retrieval and user vectors.

On a warehouse without a static version, that is built first.
"""

from collections.abc import Sequence

import typer

from gfm_store.config import load_config, warehouse_option
from gfm_store.lifecycle.refresh import refresh_dynamic
from gfm_store.vectors.version import DynamicRecord
from jobs.common import AsOfOption, ConfigOption, WarehouseOption, job, parse_as_of, recorded_root, run

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.refresh_dynamic

    python -m jobs.refresh_dynamic --warehouse shop --as-of 2014-01-25
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def refresh(warehouse: WarehouseOption = None, config: ConfigOption = None, as_of: AsOfOption = None) -> None:
    root = recorded_root(warehouse, "refresh_dynamic")
    record = refresh_dynamic(root, load_config(config), parse_as_of(as_of))
    typer.echo(
        f"Published {record.version} of {record.as_of:%Y-%m-%d %H:%M} on {record.static_version}: "
        f"{record.n_items:,} items and {record.n_users:,} users, learned from {record.n_pairs:,} pairs.\n"
        f"{_quality(record)}\n"
        f"Seconds: {', '.join(f'{step} {seconds:.1f}' for step, seconds in record.seconds.items())}.\n"
        f"Next: python -m jobs.recommend {warehouse_option(root)} --user USER_ID"
    )


def _quality(record: DynamicRecord) -> str:
    found = record.held_out
    if found is None:
        return "Quality: too little data to hold out the last days."
    text = f"Quality: NDCG@10 {found.ndcg} on the last {found.days} days, fitted without them"
    text += f"; popularity {found.popularity_ndcg.value:.4f}"
    if found.served_ndcg is not None:
        text += f"; {found.served}, which was served, {found.served_ndcg.value:.4f}"
    return text + "."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "refresh_dynamic")


if __name__ == "__main__":
    raise SystemExit(main())
