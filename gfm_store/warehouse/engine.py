"""A SQLAlchemy engine over the warehouse, for pandas, notebooks and BI tools."""

from pathlib import Path

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.pool import NullPool

from gfm_store.warehouse.connection import open_warehouse, warehouse_file


def create_engine(root: Path) -> Engine:
    """A read-only engine on which `MetaData.reflect`, `pandas.read_sql` and typed columns work.

    Each connection opens the file anew and sees what was ingested last; none is kept between uses.

    Raises:
        EmptyWarehouseError, SchemaVersionError, WarehouseLockedError: as `open_warehouse`.
    """
    open_warehouse(root).close()
    return sqlalchemy.create_engine(
        f"duckdb:///{warehouse_file(root)}",
        connect_args={"read_only": True, "config": {"python_enable_replacements": False}},
        poolclass=NullPool,
    )
