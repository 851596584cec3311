"""Build a static version: co-interaction edges, text vectors, HGNN, item vectors."""

from collections.abc import Sequence

import typer

from gfm_store.config import load_config, warehouse_option
from gfm_store.lifecycle.refresh import refresh_static
from jobs.common import AsOfOption, ConfigOption, WarehouseOption, job, parse_as_of, recorded_root, run

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.refresh_static

    python -m jobs.refresh_static --warehouse shop --as-of 2014-01-25
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def refresh(warehouse: WarehouseOption = None, config: ConfigOption = None, as_of: AsOfOption = None) -> None:
    root = recorded_root(warehouse, "refresh_static")
    record = refresh_static(root, load_config(config), parse_as_of(as_of))
    typer.echo(
        f"Static version {record.version} of {record.as_of:%Y-%m-%d %H:%M}: {record.n_items:,} items of "
        f"{len(record.item_types)} types ({', '.join(record.item_types)}), {record.n_edges:,} edges "
        f"({record.window_days} days, {record.min_users} users or more).\n"
        f"HGNN: {record.epochs} epochs, held-out MRR {record.validation_mrr:.3f}. "
        f"Seconds: {', '.join(f'{step} {seconds:.1f}' for step, seconds in record.seconds.items())}.\n"
        f"Readers see it after the next `python -m jobs.refresh_dynamic {warehouse_option(root)}`."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "refresh_static")


if __name__ == "__main__":
    raise SystemExit(main())
