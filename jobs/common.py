"""What all jobs share: the options every job takes, and how errors become exit codes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gfm_store import progress
from gfm_store.config import warehouse_root
from gfm_store.errors import GfmError, UsageError
from gfm_store.lifecycle.journal import Journal

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

__all__ = [
    "AsOfOption",
    "ConfigOption",
    "WarehouseOption",
    "job",
    "parse_as_of",
    "recorded_root",
    "run",
    "warehouse_root",
]

_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


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


def recorded_root(path: Path | None, job_name: str) -> Path:
    """The warehouse folder of a job that writes: how it ends is written down for `jobs.versions status`."""
    root = warehouse_root(path)
    _journal.set(Journal(root, job_name))
    return root


@dataclass(frozen=True)
class _Recording:
    """A reporter whose notes go to the journal, too."""

    shown: progress.Reporter

    def task(self, label: str, total: float | None, unit: str) -> AbstractContextManager[progress.Task]:
        return self.shown.task(label, total, unit)

    def say(self, text: str) -> None:
        self.shown.say(text)
        if (journal := _journal.get()) is not None:
            journal.note(text)


@contextmanager
def _reporting() -> Iterator[None]:
    with progress.reporting(), progress.reporting(_Recording(progress.current())):
        yield


def run(app: typer.Typer, argv: Sequence[str] | None, name: str) -> int:
    """Run one job: 0 done, 2 unusable input, 3 a gate refused, 130 interrupted; no traceback for a mistake."""
    token = _journal.set(None)
    code = 1  # what a program that breaks exits with
    try:
        code = _run(app, argv, name)
        return code
    finally:
        if (journal := _journal.get()) is not None:
            journal.end(code)
        _journal.reset(token)


def _run(app: typer.Typer, argv: Sequence[str] | None, name: str) -> int:
    try:
        with _reporting():
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
        _tell(str(error))
        return error.exit_code
    except OSError as error:  # a disk that is full or cannot be written to is no mistake of the program
        _tell(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        return GfmError.exit_code
    return 0


def _tell(error: str) -> None:
    typer.echo(f"error: {error}", err=True)
    if (journal := _journal.get()) is not None:
        journal.note(f"error: {error}")
