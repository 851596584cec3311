"""CSV, TSV and RecBole files: lines into DuckDB, fields by SQL.

DuckDB's own CSV reader gives no line numbers for the rows that it reads, and skips empty lines uncounted,
so a row that is refused later could not be named. Here a file comes in as numbered lines, and the
statements of `sql/ingest/` find the records (a quoted field may span lines) and part them into fields.
A line that opens a quote which never closes well costs that line and no other.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa

from gfm_store import progress
from gfm_store.errors import SourceError
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.ingest.columns import Column, Kind, Relation, Source

RECBOLE = (".inter", ".item", ".user")
SUFFIXES = (".csv", ".tsv", *RECBOLE)
_RECBOLE_ALIASES = {
    ".inter": {"timestamp": "event_ts"},
    ".item": {"genre": "genres", "movie_title": "title", "release_year": "published_at"},
    ".user": {},
}
_BLOCK_BYTES = 8 << 20
_LONGEST_LINE_BYTES = 64 << 20
_HEADER_BYTES = 1 << 20
_HEADER_LINES = 2
"""Line breaks that the name of a column may hold."""
_PASSES = 100
"""Bound on the search for quotes that never close; each pass settles all that it finds."""


class DelimitedSource(Source):
    """A text file with a header line, UTF-8 with or without a byte order mark."""

    def __init__(self, path: Path, label: str, suffix: str) -> None:
        self._path, self.name, self.label = path, str(path.resolve()), label
        self._quoted = suffix not in RECBOLE
        self.aliases = _RECBOLE_ALIASES.get(suffix, {})
        names = self._read_header("," if suffix == ".csv" else "\t")
        self.columns = tuple(
            _column(name, index, recbole=not self._quoted) for index, name in enumerate(names, start=1)
        )

    def _read_header(self, delimiter: str) -> list[str]:
        with self._open() as file:
            start = self._read(file, _HEADER_BYTES)
        if start.startswith(b"\x1f\x8b"):
            raise SourceError(
                f"{self.label} is compressed by gzip, and its name does not say so: mv {self._path.name} "
                f"{self._path.name}.gz"
            )
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:1000]:
            raise SourceError(
                f"{self.label} is not UTF-8 but looks like UTF-16. "
                f"Turn it into UTF-8: iconv -f UTF-16 -t UTF-8 {self._path.name} > utf8_{self._path.name}"
            )
        if b"\r" in start and b"\n" not in start:
            raise SourceError(
                f"{self.label}: its lines end in carriage returns alone. Turn them into newlines: "
                f"tr '\\r' '\\n' < {self._path.name} > lines_{self._path.name}"
            )
        text = start.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        line = next((one for one in text.splitlines() if one.strip()), None)
        if line is None:
            raise SourceError(f"{self.label} is empty: it has no header line.")
        if re.search("[\udc80-\udcff]", line):
            raise SourceError(
                f"{self.label} is not UTF-8: its header line holds other bytes. Turn it into UTF-8, "
                f"for example: iconv -f ISO-8859-1 -t UTF-8 {self._path.name} > utf8_{self._path.name}"
            )
        try:
            self._delimiter = self._sniffed(line) if delimiter == "," else delimiter
            rows = self._rows(text, self._delimiter)
            names = next((row for row in rows if any(cell.strip() for cell in row)), None)
        except csv.Error as error:
            raise SourceError(
                f"{self.label}: its header line cannot be read ({error}). Does a quote stay open there?"
            ) from None
        if names is None:
            raise SourceError(f"{self.label} has no header line: no column has a name.")
        if self._quoted and max(name.count("\n") for name in names) > _HEADER_LINES:
            raise SourceError(f"{self.label}: a name of its header runs on. Does a quote stay open there?")
        self._header_lines = rows.line_num  # type: ignore[attr-defined]
        return [name.strip() for name in names]

    def _sniffed(self, header: str) -> str:
        """A comma where it parts the header, else what parts it into the most names."""
        n_names = {one: len(next(iter(self._rows(header, one)))) for one in ",;\t|"}
        return "," if n_names[","] > 1 else max(n_names, key=lambda one: n_names[one])

    def _rows(self, text: str, delimiter: str) -> Iterator[list[str]]:
        lines = io.StringIO(text, newline="")
        if self._quoted:
            return csv.reader(lines, delimiter=delimiter)
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)

    def _open(self) -> IO[bytes]:
        try:
            if self._path.suffix == ".gz":
                return cast(IO[bytes], gzip.open(self._path, "rb"))
            return self._path.open("rb")
        except OSError as error:
            raise SourceError(f"{self.label} cannot be read: {error.strerror}.") from None

    def _read(self, file: IO[bytes], n_bytes: int) -> bytes:
        try:
            return file.read(n_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{self.label} cannot be read to its end: {error}.") from None

    def load(self, warehouse: Warehouse) -> Relation:
        patterns = _patterns(self._delimiter)
        self._load_lines(warehouse)
        warehouse.execute("CREATE OR REPLACE TEMP TABLE quote_span (first_line BIGINT, last_line BIGINT)")
        if self._quoted:
            _find_spans(warehouse, patterns)
        warehouse.create("ingest/source_record")
        warehouse.execute("DROP TABLE source_text")
        warehouse.create(
            "ingest/source_row",
            delimiter=self._delimiter,
            quoted=self._quoted,
            complete=patterns["complete"],
            field=patterns["field"],
            n_columns=len(self.columns),
        )
        warehouse.execute("DROP TABLE source_record")
        warehouse.create("ingest/malformed_row")
        return Relation("(SELECT source_line, fields FROM source_row WHERE problem IS NULL)")

    def _load_lines(self, warehouse: Warehouse) -> None:
        """`source_text`: the lines after the header, numbered as in the file, without line ends."""
        warehouse.execute(
            "CREATE OR REPLACE TEMP TABLE source_text (source_line BIGINT, line VARCHAR, is_utf8 BOOLEAN)"
        )
        size = self._path.stat().st_size
        with self._open() as file, progress.task(f"read {self._path.name[:40]}", size, "bytes") as task:
            n_lines, position = 0, 0
            for block in self._blocks(file):
                batch = _lines(block, n_lines + 1)
                n_lines += len(batch)
                warehouse.connection.register("source_batch", batch)
                warehouse.execute(
                    "INSERT INTO source_text SELECT source_line, rtrim(line, chr(13) || chr(10)), is_utf8 "
                    "FROM source_batch WHERE source_line > $header_lines",
                    {"header_lines": self._header_lines},
                )
                warehouse.connection.unregister("source_batch")
                # Of a compressed file this is where the decompressor has read to.
                at = file.fileobj.tell() if isinstance(file, gzip.GzipFile) else file.tell()
                task.advance(at - position)
                position = at

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Whole lines, several megabytes at a time; the last one ends in a newline too."""
        rest = b""
        while True:
            block = self._read(file, _BLOCK_BYTES)
            if not block:
                break
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = tail
            else:
                rest += tail
                if len(rest) > _LONGEST_LINE_BYTES:
                    raise SourceError(
                        f"{self.label} holds a line of more than 64 MiB: this is no table of text."
                    )
        if rest:
            yield rest + b"\n"


def _column(name: str, index: int, *, recbole: bool) -> Column:
    """RecBole writes `name:type` in its header."""
    kind: Kind = "text"
    if recbole:
        name, _, type_ = name.partition(":")
        kind = "words" if type_ == "token_seq" else "text"
    return Column(name, f"fields[{index}]", kind)


def _lines(block: bytes, first_line: int) -> pa.Table:
    """A block of whole lines as a table, its bytes shared; a line of other bytes than UTF-8 is marked."""
    is_utf8 = None
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        code_points = np.frombuffer(
            block.decode("utf-8", "surrogateescape").encode("utf-32-le", "surrogatepass"), np.uint32
        )
        # UTF-8 never decodes to a surrogate: each one here stands for a byte that is none of it.
        wrong = np.flatnonzero((code_points >= 0xDC80) & (code_points <= 0xDCFF))
        ends = np.flatnonzero(code_points == 10)
        is_utf8 = np.ones(len(ends), bool)
        is_utf8[np.searchsorted(ends, wrong)] = False
        block = block.decode("utf-8", "backslashreplace").encode()
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    n = len(ends)
    line = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(block))
    return pa.table(
        {
            "source_line": np.arange(first_line, first_line + n),
            "line": line,
            "is_utf8": np.ones(n, bool) if is_utf8 is None else is_utf8,
        }
    )


def _patterns(delimiter: str) -> dict[str, str]:
    """Regular expressions of one line, by whether it starts outside or inside of a quoted field."""
    d = rf"\{delimiter}" if delimiter == "|" else delimiter
    inner = '(?:[^"]|"")*'
    one = f'(?:"{inner}"|[^"{delimiter}][^{delimiter}]*|)'
    return {
        "field": f'{d}("{inner}"|[^"{delimiter}][^{delimiter}]*|)',
        "complete": f"{one}(?:{d}{one})*",
        "opens": f'(?:{one}{d})*"{inner}',
        "stays": f'{inner}(?:"{d}(?:{one}{d})*"{inner})?',
        "closes": f'{inner}"(?:{d}{one})*',
    }


def _find_spans(warehouse: Warehouse, patterns: dict[str, str]) -> None:
    """`quote_span`: the records of more than one line.

    Whether a line starts inside of quotes depends on all lines before. Where a quote turns out never to
    close well, its line counts as refused and the search runs again without it.
    """
    warehouse.create(
        "ingest/quote_mark", **{k: patterns[k] for k in ("complete", "opens", "stays", "closes")}
    )
    if not warehouse.scalar("SELECT count(*) FROM quote_mark WHERE after_outside = 1"):
        return
    warehouse.execute("CREATE OR REPLACE TEMP TABLE refused_opener (source_line BIGINT)")
    for _ in range(_PASSES):
        warehouse.create("ingest/quote_span")
        if not warehouse.scalar("SELECT count(*) FROM quote_span WHERE never_closes"):
            break
        # What follows a line that is left open over other openers has to be read anew before it is judged.
        warehouse.execute(
            "INSERT INTO refused_opener SELECT first_line FROM quote_span WHERE never_closes AND first_line <= "
            "(SELECT coalesce(min(first_line) FILTER (WHERE n_openers > 0), max(first_line)) "
            "FROM quote_span WHERE never_closes)"
        )
    warehouse.execute("DELETE FROM quote_span WHERE never_closes")
