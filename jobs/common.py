"""What all jobs share: the options every job takes, and how errors become exit codes."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import click
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

__all__ = ["AsOfOption", "ConfigOption", "WarehouseOption", "job", "parse_as_of", "run", "warehouse_root"]


def job(epilog: str) -> typer.Typer:
    """A typer application for one command, whose --help ends with examples."""
    return typer.Typer(
        add_completion=False, rich_markup_mode="rich", epilog=epilog, pretty_exceptions_enable=False
    )


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
    command = typer.main.get_command(app)
    try:
        with progress.reporting():
            command.main(
                args=list(sys.argv[1:] if argv is None else argv),
                prog_name=f"python -m jobs.{name}",
                standalone_mode=False,
            )
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GfmError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        typer.echo(
            "interrupted; nothing was published, and what was finished is kept for the next run.", err=True
        )
        return 130
    return 0
