"""SQL over events, items, users, edges, embeddings, retrieval and versions together, read-only."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gfm_store.config import load_config
from gfm_store.serving.store import Store
from jobs.common import (
    ConfigOption,
    WarehouseOption,
    check_ending,
    job,
    run,
    show_rows,
    warehouse_root,
    write_rows,
)

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.sql "SELECT item_type, count(*) AS n FROM retrieval GROUP BY item_type"

    python -m jobs.sql "SELECT * FROM recommend('user-0042', 10)"

    python -m jobs.sql "FROM co_interaction_edge WHERE src_type <> dst_type" --out edges.parquet

    python -m jobs.sql < question.sql
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def sql(
    query: Annotated[
        str,
        typer.Argument(
            metavar="SELECT", help="One SELECT of DuckDB's SQL; without it, standard input is read."
        ),
    ] = "-",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write Parquet or CSV, by its ending.")
    ] = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    check_ending(out)
    with Store(warehouse_root(warehouse), config=load_config(config)) as store:
        rows = store.sql(sys.stdin.read() if query == "-" else query)
    if out is None:
        show_rows(rows)
    else:
        n_rows = write_rows(out, rows.schema, [rows])
        typer.echo(f"{out}: {n_rows:,} rows.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "sql")


if __name__ == "__main__":
    raise SystemExit(main())
