"""Any database that SQLAlchemy reaches, read in batches, so that memory does not grow with it."""

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from gfm_store import progress
from gfm_store.errors import SourceError
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.ingest.columns import Column, Relation, Source

_BATCH_ROWS = 50_000
_QUERY = re.compile(
    r"(\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|with|values|from|table)[\s(*]", re.IGNORECASE | re.DOTALL
)


class DatabaseSource(Source):
    """`URL::table` or `URL::query`. Columns come as text, and are parsed as a text file's are."""

    def __init__(self, url: str, rows: str) -> None:
        parsed = _parsed(url)
        shown = parsed.render_as_string(hide_password=True)
        self.name = self.label = f"{shown}::{rows.strip()}"
        try:
            # DuckDB lets many read at once, but only when none of them could write.
            reading = {"read_only": True} if parsed.get_backend_name() == "duckdb" else {}
            self._engine = sqlalchemy.create_engine(parsed, connect_args=reading)
            # Nothing is ever committed here.
            self._connection = self._engine.connect()
            self._result = self._connection.execution_options(yield_per=_BATCH_ROWS).execute(_statement(rows))
            names = list(self._result.keys())
        except ModuleNotFoundError as error:
            raise SourceError(
                f"{shown} needs the Python module {error.name!r}, which is not installed."
            ) from None
        except (SQLAlchemyError, TypeError, ValueError) as error:
            self.close()
            raise SourceError(f"{self.label} cannot be read: {_cause(error)}.") from None
        self.columns = tuple(Column(name, f"column_{index}") for index, name in enumerate(names))

    def load(self, warehouse: Warehouse) -> Relation:
        names = [column.expression for column in self.columns]
        warehouse.execute(
            "CREATE OR REPLACE TEMP TABLE source_row (source_line BIGINT, "
            + ", ".join(f"{name} VARCHAR" for name in names)
            + ")"
        )
        done = 0
        with progress.task(f"read {self.label[:40]}", unit="rows") as task:
            try:
                for rows in self._result.partitions():
                    columns = [_texts(values) for values in zip(*rows, strict=True)]
                    lines = pa.array(range(done + 1, done + len(rows) + 1), pa.int64())
                    batch = pa.table([lines, *columns], names=["source_line", *names])
                    warehouse.connection.register("source_batch", batch)
                    warehouse.execute("INSERT INTO source_row SELECT * FROM source_batch")
                    warehouse.connection.unregister("source_batch")
                    done += len(rows)
                    task.advance(len(rows))
            except SQLAlchemyError as error:
                raise SourceError(
                    f"{self.label} broke off after {done:,} rows: {_cause(error)}. Nothing was taken in."
                ) from None
        return Relation("source_row")

    def close(self) -> None:
        for part in ("_result", "_connection"):
            if hasattr(self, part):
                getattr(self, part).close()
        if hasattr(self, "_engine"):
            self._engine.dispose()


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        parsed = sqlalchemy.make_url(url)
        parsed.get_dialect()
    except NoSuchModuleError:
        raise SourceError(f"{url.partition('://')[0]}: SQLAlchemy knows no such database.") from None
    except (ArgumentError, ValueError) as error:
        raise SourceError(f"{url.partition('://')[0]}://... is no SQLAlchemy URL: {_cause(error)}.") from None
    # These two would make an empty database where there is none.
    if parsed.get_backend_name() in ("sqlite", "duckdb") and parsed.database not in (None, "", ":memory:"):
        path = Path(str(parsed.database))
        if not str(path).startswith("file:") and not path.is_file():
            shown = parsed.render_as_string(hide_password=True)
            raise SourceError(f"{shown}: no such file ({path.absolute()}).")
    return parsed


def _statement(rows: str) -> sqlalchemy.Executable:
    if _QUERY.match(rows):
        # A colon in the query is the query's own: a cast or a time, not a parameter.
        return sqlalchemy.text(rows.replace(":", r"\:"))
    schema, _, table = rows.strip().rpartition(".")
    return sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(
        sqlalchemy.table(table, schema=schema or None)
    )


def _texts(values: Sequence[Any]) -> pa.Array:
    """One column of a batch as text, whatever types its rows have; a duration is its number of seconds, and whole
    floats lose their `.0`."""
    try:
        array = pa.array(values)
        if pa.types.is_duration(array.type):
            array = pc.divide(array.cast(pa.duration("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
        if pa.types.is_floating(array.type):
            whole = pc.and_(pc.equal(pc.trunc(array), array), pc.less(pc.abs(array), 2.0**53))
            as_whole = pc.if_else(whole, array, None).cast(pa.int64()).cast(pa.string())
            return pc.coalesce(as_whole, array.cast(pa.string()))
        return array.cast(pa.string())
    except (pa.ArrowException, OverflowError):
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """Of a value that Arrow does not turn into text: a list, a UUID, bytes, or one of a mixture of types."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _cause(error: Exception) -> str:
    """What the driver said, without SQLAlchemy's appendix of statement, parameters and links."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
