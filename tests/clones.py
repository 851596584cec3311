"""Versions without training: copies of the served one under another name, for tests of what is done with versions."""

import shutil
from datetime import datetime
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa

from gfm_store.lifecycle.versions import remove_unkept
from gfm_store.vectors.arrow import to_arrow, to_numpy
from gfm_store.vectors.publication import (
    TABLES,
    dynamic_folder,
    open_table,
    publish,
    published_folder,
    publishing,
)
from gfm_store.vectors.version import DynamicRecord


def clone(
    root: Path, version: str, *, stretch: float = 1.0, keep: int = 5, as_of: datetime | None = None
) -> DynamicRecord:
    """Publish what is served anew as `version`, its retrieval vectors `stretch` times as long."""
    folder = published_folder(root)
    served = DynamicRecord.read(folder)
    record = served.model_copy(
        update={
            "version": version,
            "inputs": version,
            "follows": served.version,
            "as_of": as_of or served.as_of,
        }
    )
    tables = {}
    for name in TABLES:
        rows = open_table(folder, name).to_table()
        if name == "retrieval":
            rows = _with(rows, "vector", to_arrow(to_numpy(rows["vector"]) * np.float32(stretch)))
        if "embedding_version" in rows.column_names:
            rows = _with(rows, "embedding_version", pa.array([version] * rows.num_rows))
        tables[name] = rows
    with publishing(root):
        weights = dynamic_folder(root, version)
        shutil.copytree(dynamic_folder(root, served.version), weights, dirs_exist_ok=True)
        record.write(weights)
        publish(root, record, tables, keep)
        remove_unkept(root)
    return record


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(name), values)


def plain_versions(root: Path) -> set[str]:
    """The versions that a reader with nothing but lancedb finds, in all tables together."""
    database = lancedb.connect(str(root / "vectors"))
    return {
        version
        for name in TABLES
        if "embedding_version" in database.open_table(name).schema.names
        for version in database.open_table(name).to_arrow()["embedding_version"].to_pylist()
    }


def disk_bytes(root: Path) -> int:
    """Bytes on disk; what is linked twice counts once."""
    stats = [path.lstat() for path in root.rglob("*") if path.is_file()]
    return sum({stat.st_ino: stat.st_size for stat in stats}.values())
