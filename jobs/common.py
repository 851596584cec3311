"""What all jobs share: the options every job takes, and how errors become exit codes."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gfm_store import progress
from gfm_store.config import warehouse_root
from gfm_store.errors import GfmError, UsageError

WarehouseOption = Annotated[
    Path | None,
    typer.Option(
        "--warehouse", metavar="DIR", help="Warehouse folder (default: GFM_WAREHOUSE, else `warehouse`)."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings (default: gfm.toml where present)."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TS",
        help="Moment in UTC, as 2014-01-25 or 2014-01-25T06:00 (default: just after the newest event).",
    ),
]

INTERRUPTED = 130

__all__ = ["AsOfOption", "ConfigOption", "WarehouseOption", "job", "parse_as_of", "run", "warehouse_root"]


def job() -> typer.Typer:
    """A typer application for one command."""
    return typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def parse_as_of(text: str | None) -> datetime | None:
    """`2014-01-25` or an ISO moment; a zone is converted to UTC, none means UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text!r} is not a moment; write 2014-01-25 or 2014-01-25T06:00.") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def run(app: typer.Typer, argv: Sequence[str] | None, name: str) -> int:
    """Run one job: 0 done, 2 unusable input, 3 a gate refused, 130 interrupted; no traceback for a mistake."""
    try:
        with progress.reporting():
            arguments = list(sys.argv[1:] if argv is None else argv)
            typer.main.get_command(app).main(args=arguments, prog_name=f"python -m jobs.{name}")
    except SystemExit as stop:  # how typer ends, --help and bad usage included
        code = stop.code if isinstance(stop.code, int) else 0
        if code == INTERRUPTED:
            typer.echo(
                "interrupted: nothing was published; what was finished is kept for the next run.", err=True
            )
        return code
    except GfmError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    return 0
