"""A SQLAlchemy engine over warehouse and Lance tables, for pandas, notebooks and BI tools."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from duckdb_sqlalchemy import Dialect
from duckdb_sqlalchemy.datatypes import FixedArray, visit_fixed_array
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool

from gfm_store.schema import KEPT_ITEM_EMBEDDING
from gfm_store.warehouse.analysis import Tables, prepare
from gfm_store.warehouse.connection import open_warehouse, warehouse_file

registry.register("duckdb.gfm_store", __name__, "WarehouseDialect")
compiles(FixedArray)(visit_fixed_array)  # so that the type of a vector can be printed without a dialect


class WarehouseDialect(Dialect):
    """DuckDB, where what stands in the temporary schema beside the file's tables is listed and reflected as well."""

    supports_statement_cache = True

    def get_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        names: list[str] = super().get_table_names(connection, schema, **kw)
        return names + (_temporary(connection) if schema is None else [])


def _temporary(connection: Connection) -> list[str]:
    found = connection.execute(
        sqlalchemy.text(
            "SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal ORDER BY view_name"
        )
    )
    return [name for (name,) in found if not name.startswith(KEPT_ITEM_EMBEDDING)]


def create_engine(root: Path, tables: Callable[[], Tables] = dict) -> Engine:
    """A read-only engine on which `MetaData.reflect`, `pandas.read_sql` and typed columns work.

    A connection opens the file anew and sees what was ingested and published last; none is kept between uses.
    Where another one is open in the process, they see the same file.

    Args:
        tables: gives what stands beside the warehouse's own tables whenever a connection is opened.

    Raises:
        EmptyWarehouseError, SchemaVersionError, WarehouseLockedError: as `open_warehouse`.
    """
    open_warehouse(root).close()
    engine = sqlalchemy.create_engine(
        f"duckdb+gfm_store:///{warehouse_file(root)}",
        connect_args={"read_only": True, "config": {"python_enable_replacements": False}},
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: object) -> None:
        prepare(connection, tables())

    return engine
