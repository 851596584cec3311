"""Recommend items to users, from their newest history and the published version."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from gfm_store import progress
from gfm_store.config import load_config
from gfm_store.errors import UsageError
from gfm_store.schema import RECOMMENDATION
from gfm_store.serving.store import Store
from jobs.common import (
    AsOfOption,
    ConfigOption,
    WarehouseOption,
    check_ending,
    job,
    parse_as_of,
    run,
    show_rows,
    warehouse_root,
    write_rows,
)

USERS_AT_ONCE = 5_000

EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.recommend --user u42 --item-type audiobook

    python -m jobs.recommend --user u42 --user u43 -k 5 --include-seen

    python -m jobs.recommend --user u42 --language sv --published-after 2026-09-01 --max-per-creator 2 --diversity 0.3

    python -m jobs.recommend --all --out lists.parquet
"""

app = job()


@app.command(help=__doc__, epilog=EXAMPLES)
def recommend(
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="A user; may be given several times.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="A text file with one user id a line.")
    ] = None,
    all_users: Annotated[bool, typer.Option("--all", help="Every user with events.")] = False,
    k: Annotated[int, typer.Option("-k", help="Items per user.")] = 10,
    item_type: Annotated[
        list[str] | None,
        typer.Option("--item-type", metavar="T", help="Only items of this type; may be given several times."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="L", help="Only items in this one; may be given several times."),
    ] = None,
    creator: Annotated[
        list[str] | None,
        typer.Option("--creator", metavar="C", help="Only items of this one; may be given several times."),
    ] = None,
    published_after: Annotated[
        str | None,
        typer.Option("--published-after", metavar="MOMENT", help="Only items known to be newer (UTC)."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="ITEM", help="Not this item; may be given several times."),
    ] = None,
    max_per_creator: Annotated[
        int | None, typer.Option("--max-per-creator", metavar="N", help="At most so many of one creator.")
    ] = None,
    diversity: Annotated[
        float, typer.Option("--diversity", help="From 0, by score alone, to 1, as unlike as possible.")
    ] = 0.0,
    as_of: AsOfOption = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also items that the user has streamed before.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write Parquet or CSV, by its ending.")
    ] = None,
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    if sum((bool(user), users is not None, all_users)) != 1:
        raise UsageError("Say who: one of --user ID, --users FILE and --all.")
    check_ending(out)
    moment = parse_as_of(as_of)
    with Store(warehouse_root(warehouse), config=load_config(config)) as store:
        ids = store.users() if all_users else _read_users(users) if users else pa.array(user, pa.string())
        ask = partial(
            store.recommend,
            k=k,
            item_type=item_type,
            languages=language,
            creators=creator,
            published_after=published_after,
            exclude=exclude,
            max_per_creator=max_per_creator,
            diversity=diversity,
            include_seen=include_seen,
            as_of=moment,
        )
        blocks = _blocks(ask, ids)
        if out is None:
            show_rows(pa.concat_tables([RECOMMENDATION.empty_table(), *blocks]))
        else:
            n_rows = write_rows(out, RECOMMENDATION, blocks)
            typer.echo(f"{out}: {n_rows:,} rows for {len(ids):,} users, version {store.version}.")


def _blocks(ask: Callable[[pa.Array], pa.Table], ids: pa.Array) -> Iterable[pa.Table]:
    n_empty = 0
    with progress.task("Recommend", len(ids), "users") as task:
        for begin in range(0, len(ids), USERS_AT_ONCE):
            block = ids.slice(begin, USERS_AT_ONCE)
            rows = ask(block)
            n_empty += len(block.unique()) - len(rows["user_id"].unique())
            yield rows
            task.advance(len(block))
    if n_empty:
        typer.echo(f"Users for whom no item passes what is asked: {n_empty:,}.", err=True)


def _read_users(path: Path) -> pa.Array:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--users {path} cannot be read: {error}") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UsageError(f"--users {path} names no user; write one id a line.")
    return pa.array(ids, pa.string())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "recommend")


if __name__ == "__main__":
    raise SystemExit(main())
