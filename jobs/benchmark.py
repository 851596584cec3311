"""Speed and memory against named peers, in one run: requests, lists for everybody, the graph, sampling.

It makes a world of its own, in a folder that is removed at the end: a small one, trained in a hurry, and multiplied.
Ratios hold on the machine that it runs on; nothing of a warehouse is read.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gfm_store import progress
from gfm_store.benchmark.everybody import measure_everybody
from gfm_store.benchmark.graph import measure_graph
from gfm_store.benchmark.measure import MEASUREMENT, as_table
from gfm_store.benchmark.requests import measure_requests
from gfm_store.benchmark.world import make_world
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

    python -m jobs.benchmark

    python -m jobs.benchmark --items 1000000 --events 6000000 --out benchmark.parquet
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def benchmark(
    items: Annotated[int, typer.Option(min=1_000, help="Items, to the next thousand.")] = 100_000,
    events: Annotated[int, typer.Option(min=60_000, help="Events, about.")] = 600_000,
    users: Annotated[int, typer.Option(min=1, help="Users who get lists at once.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Same seed, same world.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write Parquet or CSV, by its ending.")
    ] = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    check_ending(out)
    settings = load_config(config)
    whole = settings.sql.model_copy(update={"max_result_mb": 2**20})  # peers are handed all vectors
    settings = settings.model_copy(update={"sql": whole})
    parent = warehouse_root(warehouse)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=parent) as scratch:
        small, root = Path(scratch) / "small", Path(scratch) / "world"
        make_world(root, small, items, events, seed)
        with Store(root, config=settings) as store:
            progress.say("Requests ...")
            measured = measure_requests(store, root, Path(scratch))
            progress.say("Lists for everybody ...")
            measured += measure_everybody(store, users)
        progress.say("Graph ...")
        measured += measure_graph(small)
    rows = as_table(measured)
    show_rows(rows)
    if out is not None:
        write_rows(out, MEASUREMENT, [rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "benchmark")


if __name__ == "__main__":
    raise SystemExit(main())
