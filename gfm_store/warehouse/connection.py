"""Opening `gfm.duckdb`: read-only beside everybody else, or rewritten as a new file and renamed.

DuckDB locks a file for one writer or many readers. So nobody writes the file that others read: a writer
works on a copy and renames it over the old one when it is whole. A reader that is open keeps the old file
until it closes; a killed writer leaves a copy that the next one removes.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import duckdb
import pyarrow as pa

from gfm_store import progress
from gfm_store.config import warehouse_option
from gfm_store.errors import EmptyWarehouseError, SchemaVersionError, WarehouseError, WarehouseLockedError
from gfm_store.locks import exclusive
from gfm_store.schema import SCHEMA_VERSION
from gfm_store.warehouse.catalogue import statement, statements

log = logging.getLogger("gfm_store.sql")
"""Every statement that runs is logged here at DEBUG."""

FILE_NAME = "gfm.duckdb"
DATABASE_ERRORS = (duckdb.IOException, duckdb.OutOfMemoryException)
"""What DuckDB raises where disk or memory is not enough: no mistake of a program or a statement."""
UNWRITTEN = (duckdb.TransactionException, duckdb.FatalException)
"""What it raises besides where a statement was run and its rows cannot be written."""


class Warehouse:
    """A DuckDB connection whose current schema is the warehouse.

    Made by `open_warehouse` (read-only) or `rewrite_warehouse`. `create` makes temporary tables, which are
    never part of the file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, root: Path) -> None:
        self.connection = connection
        self.root = root
        self.discard = False
        """Set inside `rewrite_warehouse`: nothing has changed after all, so leave the file as it is."""
        self._standing_in: list[str] = []

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Run one statement with `$name` parameters bound."""
        log.debug("%s -- %s", sql, dict(parameters or {}))
        return self.connection.execute(sql, dict(parameters or {}))

    def scalar(self, sql: str, **parameters: Any) -> Any:
        """The first value of the first row."""
        row = self.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def arrow(self, sql: str, **parameters: Any) -> pa.Table:
        """The rows of a SELECT as an Arrow table."""
        return self.execute(sql, parameters).to_arrow_table()

    def select(self, name: str, **parameters: Any) -> pa.Table:
        """The rows of a statement of the catalogue, such as `"graph/item_node"`."""
        return self.arrow(statement(name).text, **parameters)

    def create(self, name: str, **parameters: Any) -> int:
        """Make (anew) the temporary table that a statement of the catalogue defines; its row count."""
        one = statement(name)
        self.connection.unregister(one.name)
        with _long_statement(self.connection, one.name):
            self.execute(f"CREATE OR REPLACE TEMP TABLE {one.name} AS\n{one.text}", parameters)
        return int(self.scalar(f"SELECT count(*) FROM {one.name}"))

    def register(self, name: str, table: pa.Table) -> None:
        """Let an Arrow table stand in for the temporary table of that name, without copying it."""
        self.connection.unregister(name)
        self.execute(f"DROP TABLE IF EXISTS temp.{quote(name)}")
        self.connection.register(name, table)

    @contextmanager
    def stand_in(self, name: str, source: str, **parameters: Any) -> Iterator[None]:
        """Let the rows of a statement of the catalogue stand in for the table `name`, such as "item", for a while.

        Stand-ins may be nested: the statement reads what is in force when it is entered.
        """
        depth = len(self._standing_in)
        rows = f"stand_in_{depth}"
        self.execute(f"CREATE OR REPLACE TEMP TABLE {rows} AS\n{statement(source).text}", parameters)
        self._standing_in.append(name)
        self.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM temp.{rows}")
        try:
            yield
        finally:
            self._standing_in.pop()
            self.execute(f"DROP VIEW temp.{quote(name)}")
            if name in self._standing_in:
                outer = depth - 1 - self._standing_in[::-1].index(name)
                self.execute(f"CREATE TEMP VIEW {quote(name)} AS SELECT * FROM temp.stand_in_{outer}")
            self.execute(f"DROP TABLE temp.{rows}")

    def close(self) -> None:
        """Give the file free."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _long_statement(connection: duckdb.DuckDBPyConnection, label: str) -> Iterator[None]:
    """Show DuckDB's own estimate (percent) while a statement runs longer than two seconds."""
    reporter = progress.current()
    done = Event()

    def watch() -> None:
        if done.wait(2):
            return
        with reporter.task(f"SQL {label}", 100, "%") as task:
            shown = 0.0
            while not done.wait(0.5):
                percent = min(max(connection.query_progress(), 0.0), 100.0)
                task.advance(max(percent - shown, 0.0))
                shown = max(shown, percent)
            task.advance(100 - shown)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def quote(identifier: str) -> str:
    """An SQL identifier in double quotes: the one way identifiers that are data enter SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def warehouse_file(root: Path) -> Path:
    """Where the DuckDB file of a warehouse lies."""
    return root / FILE_NAME


def warehouse_mark(root: Path) -> tuple[int, int] | None:
    """What is another one whenever the file was rewritten; None where there is none."""
    try:
        stat = warehouse_file(root).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def open_warehouse(root: Path, *, threads: int | None = None, memory_limit: str | None = None) -> Warehouse:
    """Open the warehouse read-only; it sees one unchanging state until closed.

    Raises:
        EmptyWarehouseError: there is no `gfm.duckdb`.
        SchemaVersionError: the file is of a newer version, or not a warehouse.
        WarehouseLockedError: somebody has opened the file read-write.
    """
    path = warehouse_file(root)
    if not path.is_file():
        raise EmptyWarehouseError(
            f"{root} holds no warehouse ({FILE_NAME} is missing). Fill one with `python -m jobs.sample` or "
            "`python -m jobs.ingest`, or name another folder with --warehouse."
        )
    connection = _memory_connection(threads, memory_limit)
    try:
        connection.execute(f"ATTACH {_literal(str(path))} AS warehouse (READ_ONLY)")
        connection.execute("USE warehouse")
        warehouse = Warehouse(connection, root)
        check_schema_version(warehouse)
    except BaseException as error:
        connection.close()
        if isinstance(error, duckdb.Error):
            raise _explain(path, error) from None
        raise
    return warehouse


def _memory_connection(threads: int | None, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {"python_enable_replacements": "false", "preserve_insertion_order": "false"}
    if threads:
        config["threads"] = threads
    if memory_limit:
        config["memory_limit"] = memory_limit
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")
    # A name of its own each time: what one connection spills is never found by another one.
    connection.execute(f"SET temp_directory = {_literal(str(_spill_folder()))}")
    return connection


def _spill_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"gfm-store-spill-{uuid4().hex}"


def check_schema_version(warehouse: Warehouse) -> None:
    """Raise SchemaVersionError unless the tables are of the one version that this program knows."""
    path = warehouse_file(warehouse.root)
    try:
        version = warehouse.scalar("SELECT max(version) FROM schema_version")
    except duckdb.CatalogException:
        raise SchemaVersionError(
            f"{path} is a DuckDB file, but not a gfm-store warehouse (it has no schema_version). Ingest "
            f"from it instead: python -m jobs.ingest --events 'duckdb:///{path}::TABLE' --warehouse OTHER_FOLDER"
        ) from None
    if version != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path} has schema version {version}; this gfm-store knows version {SCHEMA_VERSION}. "
            + (
                "Install a newer gfm-store."
                if version and version > SCHEMA_VERSION
                else "Ingest into a new folder."
            )
        )


def _explain(path: Path, error: duckdb.Error) -> WarehouseError:
    text = str(error)
    if "could not set lock" in text.lower():
        holder = text.partition("held in")[2].partition(". See")[0].strip() or "another process"
        return WarehouseLockedError(
            f"{path} is held read-write by {holder}. Close that program, or let it open the file read-only."
        )
    reason = text.splitlines()[0]
    if isinstance(error, duckdb.OutOfMemoryException) or "Cannot open file" in text:
        return WarehouseError(f"{path} cannot be opened: {reason}")
    return SchemaVersionError(f"{path} cannot be opened as a DuckDB database: {reason}")


@contextmanager
def rewrite_warehouse(
    root: Path, *, threads: int | None = None, memory_limit: str | None = None, compact: bool = False
) -> Iterator[Warehouse]:
    """Yield a read-write copy of the warehouse (new where there is none) and put it in place at the end.

    Nothing changes when the block raises or the process dies: the copy becomes the warehouse in one rename.
    Readers that are open keep what they see.

    Args:
        compact: write all rows into a file of their own at the end, so that no byte of deleted ones is left.

    Raises:
        WarehouseLockedError: another ingest is at work, or somebody has the file open read-write.
    """
    with exclusive(root, "ingest"):
        yield from _rewrite(root, threads, memory_limit, compact)


def _rewrite(root: Path, threads: int | None, memory_limit: str | None, compact: bool) -> Iterator[Warehouse]:
    path = warehouse_file(root).resolve()  # where it is a link, what it points to is rewritten
    copy, whole = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.compact")
    _remove(copy)
    _remove(whole)
    before = None
    connection = _memory_connection(threads, memory_limit)
    try:
        if path.exists():
            open_warehouse(root).close()  # refuses what is locked, newer or no warehouse
            if _wal(path).exists():  # a shell was killed while it wrote: let DuckDB finish its work first
                _recover(path)
            before = _state(path)
            with _written(root, (OSError,)):
                shutil.copyfile(path, copy)
        connection.execute(f"ATTACH {_literal(str(copy))} AS warehouse")
        connection.execute("USE warehouse")
        warehouse = Warehouse(connection, root)
        _create_tables(warehouse)
        if before is None:
            warehouse.execute("INSERT INTO schema_version VALUES ($version)", {"version": SCHEMA_VERSION})
        with _written(root, UNWRITTEN):
            yield warehouse
        if warehouse.discard:
            return
        with _written(root, (duckdb.IOException, *UNWRITTEN)):
            connection.execute("CHECKPOINT warehouse")
            if compact:
                connection.execute(f"ATTACH {_literal(str(whole))} AS compact")
                connection.execute("COPY FROM DATABASE warehouse TO compact")
                connection.execute("CHECKPOINT compact")
        connection.close()
        if path.exists() and _state(path) != before:
            raise WarehouseLockedError(
                f"{path} was changed by another program meanwhile, so nothing was taken in. Close shells "
                "that have it open read-write, and try again."
            )
        (whole if compact else copy).replace(path)
    finally:
        connection.close()
        _remove(copy)
        _remove(whole)


@contextmanager
def _written(root: Path, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """What a disk does that is full, as one clear error."""
    try:
        yield
    except errors as error:
        raise WarehouseError(
            f"{root} could not be written: {str(error).splitlines()[0][:300]}. The warehouse is as it was."
        ) from None


def _create_tables(warehouse: Warehouse) -> None:
    """Those of `sql/warehouse/` that are not there: all of a new one, later ones of an older warehouse."""
    there = {
        row[0]
        for row in warehouse.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'warehouse'"
        ).fetchall()
    }
    for one in statements("warehouse"):
        if one.name not in there:
            warehouse.execute(one.text)


def _recover(path: Path) -> None:
    try:
        with duckdb.connect(path) as connection:
            connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise _explain(path, error) from None


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    wal = _wal(path)
    return stat.st_ino, stat.st_mtime_ns, wal.stat().st_mtime_ns if wal.exists() else 0


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _remove(copy: Path) -> None:
    for path in (copy, _wal(copy)):
        path.unlink(missing_ok=True)


def _literal(text: str) -> str:
    """A string literal for the few statements that take no parameters (ATTACH, SET)."""
    return "'" + text.replace("'", "''") + "'"


def newest_event(warehouse: Warehouse) -> datetime:
    """The default `as_of`: just after (one microsecond) the newest event.

    Raises:
        EmptyWarehouseError: there are no events.
    """
    newest = warehouse.scalar("SELECT max(event_ts) + INTERVAL 1 MICROSECOND FROM interaction_event")
    if newest is None:
        raise EmptyWarehouseError(
            f"{warehouse.root} holds no events yet. Bring some in with `python -m jobs.ingest "
            f"{warehouse_option(warehouse.root)} --events SRC`."
        )
    return newest
