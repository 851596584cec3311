"""SQL over everything at once: the warehouse's tables, Lance tables and the macros of `sql/query/`, read-only.

A statement that comes from outside is one SELECT. It reads what is here and nothing else: no files, no network, no
settings; its time and memory are bounded. Lance tables are scanned where they lie, with filters pushed down.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import duckdb
import pyarrow as pa

from gfm_store.config import SqlConfig
from gfm_store.errors import UsageError
from gfm_store.schema import KEPT_ITEM_EMBEDDING
from gfm_store.warehouse.catalogue import Statement, statements
from gfm_store.warehouse.connection import Warehouse, open_warehouse, quote

TABLE_FUNCTIONS = frozenset(
    {"generate_series", "range", "repeat", "unnest", "json_each", "json_tree"}
    | {"duckdb_columns", "duckdb_functions", "duckdb_tables", "duckdb_views"}
)
"""What may stand in FROM beside tables and the macros of `sql/query/`: nothing that takes an address or a path."""

_SETTINGS = Lock()

Tables = Mapping[str, Any]
"""By name, what stands beside the warehouse's own tables: Lance datasets and Arrow tables."""


def run_select(
    root: Path,
    tables: Tables,
    sql: str,
    parameters: Mapping[str, Any],
    config: SqlConfig,
    threads: int | None,
) -> pa.Table:
    """The rows of one SELECT, its `$name` parameters bound.

    Raises:
        UsageError: not one SELECT, a mistake in it, a parameter that is missing, or beyond the bounds of `config`.
    """
    with open_warehouse(root, threads=threads, memory_limit=config.memory_limit) as warehouse:
        prepare(warehouse.connection, tables, max_temporary=config.max_temporary)
        with _explained(config), _time_bounded(warehouse.connection, config.timeout_seconds):
            _check_select(warehouse, sql)
            return _read(warehouse.execute(sql, parameters).to_arrow_reader(), config.max_result_mb)


def prepare(connection: Any, tables: Tables, *, max_temporary: str | None = None) -> None:
    """Bring `tables` and the macros into a connection, as temporary objects, and close every way out of it."""
    for name, table in tables.items():
        connection.register(name, table)
    if tables:
        connection.execute(_history([name for name in tables if name.startswith(KEPT_ITEM_EMBEDDING)]))
        for one in statements("query"):
            connection.execute(macro(one))
    with _SETTINGS:
        # Connections of one process to one file share their settings: another one may have locked them.
        (locked,) = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
        if not locked:
            if max_temporary:
                connection.execute(f"SET max_temp_directory_size = '{max_temporary}'")
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")


def macro(one: Statement) -> str:
    """A statement of `sql/query/` as a table macro; its header says the order of parameters and their defaults."""
    parameters = re.findall(r"\$([a-z_]+)(?: := (\w+))?:", one.header)
    listed = ", ".join(f"{name} := {default}" if default else name for name, default in parameters)
    body = re.sub(r"\$([a-z_]+)", r"\1", re.sub(r"--.*", "", one.text))
    return f"CREATE OR REPLACE TEMP MACRO {one.name}({listed}) AS TABLE\n{body}"


def _history(kept: list[str]) -> str:
    """The item embeddings of all kept versions as one view; vectors may differ in length, so they are lists there."""
    parts = [
        f"SELECT item_id, item_type, CAST(vector AS FLOAT[]) AS vector, embedding_version FROM {quote(name)}"
        for name in kept
    ]
    return "CREATE OR REPLACE TEMP VIEW item_embedding_history AS\n" + "\nUNION ALL\n".join(parts)


def _check_select(warehouse: Warehouse, sql: str) -> None:
    """By DuckDB's own parser: one SELECT, with known table functions only."""
    parsed = json.loads(warehouse.scalar("SELECT json_serialize_sql($asked)", asked=sql))
    if parsed["error"]:
        raise UsageError(
            f"sql: {parsed['error_message']}".replace(" can be serialized to json", " can be run")
        )
    if len(parsed["statements"]) != 1:
        raise UsageError(f"sql holds {len(parsed['statements'])} statements; one SELECT at a time.")
    known = TABLE_FUNCTIONS | {one.name for one in statements("query")}
    if refused := sorted(set(_table_functions(parsed["statements"])) - known):
        raise UsageError(
            f"sql: {', '.join(refused)} cannot be used here. Beside tables there are: {', '.join(sorted(known))}."
        )


def _table_functions(node: Any) -> Iterator[str]:
    """Names of all functions that stand in FROM, anywhere in a parsed statement."""
    if isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield node["function"]["function_name"].lower()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _table_functions(child)


@contextmanager
def _explained(config: SqlConfig) -> Iterator[None]:
    """DuckDB's complaints as one message each; while rows stream, Arrow hands them on as errors of its own."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        message = " ".join(str(error).partition("Stack Trace")[0].split())
        if isinstance(error, duckdb.InterruptException) or message.startswith("INTERRUPT Error"):
            raise UsageError(
                f"sql took longer than {config.timeout_seconds:g} seconds and was stopped; ask for less, or raise "
                "sql.timeout_seconds in gfm.toml."
            ) from None
        if isinstance(error, duckdb.OutOfMemoryException) or message.startswith("Out of Memory Error"):
            raise UsageError(
                f"sql needs more than {config.memory_limit} of memory and {config.max_temporary} of disk; ask for "
                "less, or raise sql.memory_limit in gfm.toml."
            ) from None
        raise UsageError(f"sql: {message}") from None


@contextmanager
def _time_bounded(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(reader: pa.RecordBatchReader, max_mb: int) -> pa.Table:
    batches, size = [], 0
    for batch in reader:
        size += batch.nbytes
        if size > max_mb * 2**20:
            raise UsageError(
                f"sql: the result is larger than {max_mb} MB; ask for less, or raise sql.max_result_mb in gfm.toml."
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=reader.schema)
