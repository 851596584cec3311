"""From SRC on the command line to an opened source.

events.parquet
events.csv   events.tsv   events.csv.gz        the delimiter of .csv is read off its header
ml-100k.inter   ml-100k.item   ml-100k.user    RecBole atomic files
URL::table   URL::SELECT ...                   any SQLAlchemy URL
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gfm_store.errors import SourceError
from gfm_store.warehouse.connection import Warehouse, quote
from gfm_store.warehouse.ingest.columns import Column, Relation, Source, kind_of
from gfm_store.warehouse.ingest.database import DatabaseSource
from gfm_store.warehouse.ingest.delimited import SUFFIXES, DelimitedSource

_DATABASE = re.compile(r"(?P<url>[A-Za-z][\w+.-]*://(?:\[[^\]]*\]|[^\[])*?)::(?P<rows>.+)", re.DOTALL)
"""The first `::` that is not inside an IPv6 address's brackets parts the URL from the table or query."""

_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class ParquetSource(Source):
    """A Parquet file, read by DuckDB where it lies. A duration is its number of seconds."""

    def __init__(self, path: Path, label: str) -> None:
        self.name, self.label = str(path.resolve()), label
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{label} is not a whole Parquet file ({first_line(error)}). Write or copy it again."
            ) from None
        folded = [name.lower() for name in schema.names]
        clash = [name for name in schema.names if folded.count(name.lower()) > 1 or name == "file_row_number"]
        if clash:
            raise SourceError(
                f"{label}: rename the columns {', '.join(clash)}; DuckDB cannot tell apart names that differ in "
                "case only, nor a file_row_number from its own."
            )
        self.columns = tuple(
            Column(one.name, _read(one.type, f"column_{index}"), kind_of(one.type))
            for index, one in enumerate(schema)
        )

    def load(self, warehouse: Warehouse) -> Relation:
        columns = ", ".join(
            f"{quote(column.name)} AS column_{index}" for index, column in enumerate(self.columns)
        )
        return Relation(
            f"(SELECT file_row_number + 1 AS source_line, {columns} FROM read_parquet($source_path, "
            "file_row_number = true, hive_partitioning = false))",
            # A file's name may hold what DuckDB takes for a pattern.
            {"source_path": re.sub(r"([\[*?])", r"[\1]", self.name)},
        )


def _read(kind: pa.DataType, column: str) -> str:
    """DuckDB reads a duration as its whole number of units."""
    return (
        f"(CAST({column} AS DOUBLE) / {_UNITS_PER_SECOND[kind.unit]})"
        if pa.types.is_duration(kind)
        else column
    )


def open_source(text: str) -> Source:
    """Open SRC as far as its columns.

    Raises:
        SourceError: there is no such thing, or it is of no kind that is known, or it cannot be read.
    """
    if database := _DATABASE.fullmatch(text):
        return DatabaseSource(database["url"], database["rows"])
    if "://" in text:
        raise SourceError(
            f"{text.partition('://')[0]}://...: a database needs a table or a query behind two colons, "
            "such as 'sqlite:///shop.db::play' or 'sqlite:///shop.db::SELECT * FROM play'."
        )
    path = Path(text)
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    if suffix != ".parquet" and suffix.removesuffix(".gz") not in SUFFIXES:
        raise SourceError(
            f"{text}: files that end in {suffix or 'nothing'!r} are not known. Known are .parquet, "
            f"{', '.join(SUFFIXES)} (these also with .gz), and URL::table-or-query for a database."
        )
    if not path.exists():
        raise SourceError(f"{text}: no such file (looked in {path.absolute().parent}).")
    if not path.is_file():
        raise SourceError(f"{text} is a folder or a pipe; name files, one by one.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"{text} cannot be read: {error.strerror}.") from None
    if size == 0:
        raise SourceError(f"{text} is empty: 0 bytes, not even a header line.")
    if suffix == ".parquet":
        return ParquetSource(path, text)
    return DelimitedSource(path, text, suffix.removesuffix(".gz"))


def first_line(error: Exception) -> str:
    """The first line of an error's text, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
