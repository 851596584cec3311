"""What all jobs share: the options every job takes, and how errors become exit codes."""

import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gfm_store import progress
from gfm_store.arguments import as_moment
from gfm_store.config import warehouse_root
from gfm_store.errors import GfmError, UsageError
from gfm_store.lifecycle.journal import Journal
from gfm_store.warehouse.connection import DATABASE_ERRORS

WarehouseOption = Annotated[
    Path | None,
    typer.Option(
        "--warehouse", metavar="DIR", help="Warehouse folder (default: GFM_WAREHOUSE, else `warehouse`)."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings: a file (default: gfm.toml where present), or a name: default, paper.",
    ),
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
WIDE = 200
"""Columns of a table that goes into a pipe."""

__all__ = [
    "AsOfOption",
    "ConfigOption",
    "WarehouseOption",
    "check_ending",
    "console",
    "job",
    "parse_as_of",
    "recorded_root",
    "run",
    "show_rows",
    "warehouse_root",
    "write_rows",
]

_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


def job() -> typer.Typer:
    """A typer application for one command."""
    return typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def parse_as_of(text: str | None) -> datetime | None:
    """`2014-01-25` or an ISO moment; a zone is converted to UTC, none means UTC."""
    return None if text is None else as_moment(text, "--as-of")


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
    stdout = sys.stdout
    try:
        _mend_streams()
        code = _run(app, argv, name)
        return code
    finally:
        sys.stdout = stdout
        if (journal := _journal.get()) is not None:
            journal.end(code)
        _journal.reset(token)


def _mend_streams() -> None:
    """Somewhere to write where there is nothing, and no error for characters that the terminal does not know."""
    sys.stdout, sys.stderr = (one or Path(os.devnull).open("w") for one in (sys.stdout, sys.stderr))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.__stdout__ is not None and sys.stdout is sys.__stdout__:
        sys.stdout = cast(TextIO, _Unread(sys.__stdout__))


class _Unread:
    """A stream whose reader may leave, as `| head -1` does: what nobody reads goes nowhere, and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


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
    except DATABASE_ERRORS as error:
        _tell(str(error).splitlines()[0])
        return GfmError.exit_code
    return 0


def check_ending(out: Path | None) -> None:
    """Refuse an --out that is neither Parquet nor CSV, before anything is computed."""
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out {out}: the ending must be .parquet or .csv.")


def write_rows(out: Path, schema: pa.Schema, blocks: Iterable[pa.Table]) -> int:
    """Write blocks to a file that appears whole or not at all; returns the number of rows."""
    if out.suffix == ".parquet" and (
        twice := sorted({one for one in schema.names if schema.names.count(one) > 1})
    ):
        raise UsageError(f"--out {out}: several columns are called {', '.join(twice)}; rename them by AS.")
    partial = out.with_name(f".{out.name}.partial")
    writer_of = pyarrow.parquet.ParquetWriter if out.suffix == ".parquet" else pyarrow.csv.CSVWriter
    n_rows = 0
    try:
        with writer_of(str(partial), schema) as writer:
            for block in blocks:
                writer.write_table(block)
                n_rows += block.num_rows
        partial.replace(out)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror or error}.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        hint = "Lists and vectors go into .parquet only; cast what fits nowhere to VARCHAR."
        raise UsageError(f"--out {out}: {error}. {hint}") from None
    finally:
        partial.unlink(missing_ok=True)
    return n_rows


def console() -> Console:
    """What tables are printed on: as wide as the terminal, and `WIDE` where there is none."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def show_rows(rows: pa.Table) -> None:
    """Print rows as a table; numbers stand on the right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(escape(field.name), justify="right" if number else "left", overflow="fold")
    # By column: two of them may have one name.
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        table.add_row(*(escape(_shown(value)) for value in row))
    console().print(table)


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _tell(error: str) -> None:
    typer.echo(f"error: {error}", err=True)
    if (journal := _journal.get()) is not None:
        journal.note(f"error: {error}")
