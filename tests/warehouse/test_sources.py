"""Reading SRC: what comes out of a file or a database, with which line number, and what is refused whole."""

import csv
import gzip
import io
import re
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_store.errors import SourceError
from gfm_store.warehouse.connection import rewrite_warehouse
from gfm_store.warehouse.ingest.sources import open_source


def read(source_text: str, root: Path) -> tuple[list[str], list[tuple], list[tuple]]:
    """Column names, the rows as (line, text, text, ...), and the malformed rows as (line, reason)."""
    source = open_source(source_text)
    with rewrite_warehouse(root) as warehouse:
        warehouse.execute(
            "CREATE TEMP TABLE malformed_row (source_line BIGINT, reason VARCHAR, content VARCHAR)"
        )
        relation = source.load(warehouse)
        values = ", ".join(f"CAST({column.expression} AS VARCHAR)" for column in source.columns)
        rows = warehouse.execute(
            f"SELECT source_line, {values} FROM {relation.sql} ORDER BY source_line", relation.parameters
        ).fetchall()
        malformed = warehouse.execute("SELECT source_line, reason FROM malformed_row ORDER BY 1").fetchall()
        warehouse.discard = True
    source.close()
    return [column.name for column in source.columns], rows, malformed


def read_text(text: str | bytes, tmp_path: Path, name: str = "rows.csv") -> tuple[list[str], list, list]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(str(path), tmp_path / "warehouse")


def test_csv_is_text_with_lines_that_count_the_header(tmp_path):
    names, rows, malformed = read_text("id,n\n007,1.0\n,  \n\nx,2", tmp_path)
    assert names == ["id", "n"]
    assert rows == [(2, "007", "1.0"), (3, "", "  "), (5, "x", "2")]
    assert malformed == []


def test_a_quoted_newline_stays_and_later_lines_keep_their_numbers(tmp_path):
    text = 'id,title\na,"one\ntwo ""quoted"", three\n\nfour"\nb,plain\nc,"1\r\n2"\r\nd,5" disk\n'
    _, rows, malformed = read_text(text, tmp_path)
    assert rows == [
        (2, "a", 'one\ntwo "quoted", three\n\nfour'),
        (6, "b", "plain"),
        (7, "c", "1\n2"),
        (9, "d", '5" disk'),
    ]
    assert malformed == []


@pytest.mark.parametrize(
    ("text", "lines", "malformed"),
    [
        (
            "a,b\n1,2\n1\n1,2,3\n1,2\n",
            [2, 5],
            [(3, "wrong number of columns"), (4, "wrong number of columns")],
        ),
        # A quote that is never closed costs its own line, however it is found out.
        ('a,b\n1,2\n"1,2\n3,4\n5,6\n', [2, 4, 5], [(3, "bad quotes")]),
        ('a,b\n"1,2\n3,4\n"5","6"\n7,8\n', [3, 4, 5], [(2, "bad quotes")]),
        ('a,b\n"1,2\n"3,4\n"5",6\n"7,8\n', [4], [(2, "bad quotes"), (3, "bad quotes"), (5, "bad quotes")]),
        ('a,b\n"1"x,2\n3,4\n', [3], [(2, "bad quotes")]),
        # ... also one inside of which proper records would have opened and closed.
        ('a,b\n1,"2\n3,"x\ny"\n5,6\n', [3, 5], [(2, "bad quotes")]),
    ],
)
def test_malformed_records_cost_no_other_row(text, lines, malformed, tmp_path):
    _, rows, found = read_text(text, tmp_path)
    assert ([row[0] for row in rows], found) == (lines, malformed)


def test_lines_that_are_not_utf8_are_named_and_the_others_read(tmp_path):
    text = "id,t\n1,é\n".encode() + "2,é\n".encode("latin-1") + "3,日本\n".encode() + b'4,"x\n\xff"\n5,y\n'
    _, rows, malformed = read_text(text, tmp_path)
    assert rows == [(2, "1", "é"), (4, "3", "日本"), (7, "5", "y")]
    assert malformed == [(3, "not UTF-8"), (5, "not UTF-8")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", "\ufeffid,t\n1,x\n"),
        ("rows.csv", "id;t\r\n1;x\r\n"),
        ("rows.csv", "id|t\n1|x\n"),
        ("rows.csv", '"id","t"\n"1","x"'),
        ("rows.tsv", "id\tt\n1\tx\n"),
        ("rows.csv.gz", "id,t\n1,x\n"),
        ("rows.inter", "id:token\tt:token\n1\tx\n"),
        ("odd ' name [1]*.csv", "id,t\n1,x\n"),
    ],
)
def test_kinds_of_text_files(name, text, tmp_path):
    raw = text.encode()
    names, rows, _ = read_text(gzip.compress(raw) if name.endswith("gz") else raw, tmp_path, name)
    assert (names, rows) == (["id", "t"], [(2, "1", "x")])


def test_a_header_may_hold_blanks_after_quotes_and_names_of_two_lines(tmp_path):
    names, rows, _ = read_text('"id" ,"t\n(EUR)" \n1,x\n', tmp_path)
    assert (names, rows) == (["id", "t\n(EUR)"], [(3, "1", "x")])


def test_recbole_knows_no_quotes(tmp_path):
    _, rows, _ = read_text('id:token\tt:token_seq\n1\t"a b\n2\tc\n', tmp_path, "rows.item")
    assert rows == [(2, "1", '"a b'), (3, "2", "c")]


def test_a_column_name_may_hold_anything(tmp_path):
    name = '"; DROP TABLE item; --'
    quoted = '"' + name.replace('"', '""') + '"'
    names, rows, _ = read_text(f"id,{quoted}\n1,x\n", tmp_path)
    assert (names, rows) == (["id", name], [(2, "1", "x")])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.text('a",;\n|é ', max_size=5), min_size=2, max_size=2), max_size=12))
def test_what_pythons_csv_writes_is_read_back(tmp_path_factory, cells):
    """The csv module is the oracle of both the fields and their lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    expected, line = [], 2
    for row in cells:
        writer.writerow(row)
        expected.append((line, *row))
        line += 1 + sum(cell.count("\n") for cell in row)
    _, rows, malformed = read_text(text.getvalue(), tmp_path_factory.mktemp("csv"))
    assert (rows, malformed) == (expected, [])


def read_line_by_line(lines: list[str]) -> tuple[list[tuple[int, str, str]], list[tuple[int, str]]]:
    """The oracle of broken files: the rule for quotes, one line after the other. Line numbers start at 2."""
    field = '(?:"(?:[^"]|"")*"|[^",][^,]*|)'
    rows, malformed, start = [], [], 0
    while start < len(lines):
        end = start
        if re.fullmatch(f'(?:{field},)*"(?:[^"]|"")*', lines[start]):
            while end < len(lines) and not re.fullmatch(
                f"{field}(?:,{field})*", "\n".join(lines[start : end + 1])
            ):
                open_still = re.fullmatch(f'(?:{field},)*"(?:[^"]|"")*', "\n".join(lines[start : end + 1]))
                end = end + 1 if open_still else len(lines)
        if end == len(lines):
            malformed.append((start + 2, "bad quotes"))
            end = start
        else:
            record = "\n".join(lines[start : end + 1])
            fields = [match[1] for match in re.finditer(f",({field})", "," + record)]
            if not re.fullmatch(f"{field}(?:,{field})*", record):
                malformed.append((start + 2, "bad quotes"))
            elif record.strip(" ") and len(fields) != 2:
                malformed.append((start + 2, "wrong number of columns"))
            elif record.strip(" "):
                rows.append(
                    (
                        start + 2,
                        *[one[1:-1].replace('""', '"') if one.startswith('"') else one for one in fields],
                    )
                )
        start = end + 1
    return rows, malformed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text('ab",', max_size=6), max_size=10))
def test_broken_quotes_cost_what_a_reader_line_by_line_would_refuse(tmp_path_factory, lines):
    _, rows, malformed = read_text("x,y\n" + "\n".join(lines), tmp_path_factory.mktemp("broken"))
    assert (rows, malformed) == read_line_by_line(lines)


def test_parquet_rows_count_from_1_and_a_pattern_in_the_name_is_no_pattern(tmp_path):
    pq.write_table(pa.table({"id": [7, 8], "genres": [["a"], None]}), tmp_path / "a[1]*.parquet")
    pq.write_table(pa.table({"id": [9], "genres": [["b"]]}), tmp_path / "a1.parquet")
    _, rows, _ = read(str(tmp_path / "a[1]*.parquet"), tmp_path / "warehouse")
    assert rows == [(1, "7", "[a]"), (2, "8", None)]


def test_a_parquet_column_may_be_called_like_ours(tmp_path):
    pq.write_table(pa.table({"source_line": [70], "column_0": ["x"], '"; --': [1.5]}), tmp_path / "a.parquet")
    _, rows, _ = read(str(tmp_path / "a.parquet"), tmp_path / "warehouse")
    assert rows == [(1, "70", "x", "1.5")]


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE "odd table" (id REAL, at TEXT, blob BLOB)')
        connection.executemany(
            'INSERT INTO "odd table" VALUES (?, ?, ?)',
            [(12.0, "10:30", b"x"), (1.5, None, None), ("b", "11:00", 3)],
        )
    return f"sqlite:///{path}"


def test_a_database_table_comes_as_text_whatever_its_rows_hold(shop, tmp_path):
    names, rows, _ = read(f"{shop}::odd table", tmp_path / "warehouse")
    assert names == ["id", "at", "blob"]
    assert rows == [(1, "12", "10:30", "x"), (2, "1.5", None, None), (3, "b", "11:00", "3")]


def test_a_database_query_may_hold_colons_and_percent_signs(shop, tmp_path):
    query = "SELECT id AS n, '%' AS p FROM \"odd table\" WHERE at > '10:45' AND at LIKE '11:%'"
    assert read(f"{shop}::{query}", tmp_path / "warehouse")[:2] == (["n", "p"], [(1, "b", "%")])


def test_a_duckdb_file_is_read_beside_its_other_readers(tmp_path):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.play AS SELECT 1 AS id, ['a', 'b'] AS genres")
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], **pipes) as reader:
        reader.stdout.readline()
        _, rows, _ = read(f"duckdb:///{path}::s.play", tmp_path / "warehouse")
        assert reader.poll() is None
    assert rows == [(1, "1", '["a", "b"]')]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_duration_is_its_seconds(unit, tmp_path):
    played = pa.array([timedelta(minutes=3), None]).cast(pa.duration(unit))
    pq.write_table(pa.table({"played": played}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    with rewrite_warehouse(tmp_path / "warehouse") as warehouse:
        relation = source.load(warehouse)
        sql = f"SELECT {source.columns[0].number()} FROM {relation.sql} ORDER BY source_line"
        assert warehouse.execute(sql, relation.parameters).fetchall() == [(180.0,), (None,)]


def test_a_duration_of_a_database_is_its_seconds(tmp_path):
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as shop:
        shop.execute(
            "CREATE TABLE play AS SELECT unnest([INTERVAL 90 SECOND, INTERVAL '1.5' SECOND, NULL]) AS s"
        )
    _, rows, _ = read(f"duckdb:///{path}::play", tmp_path / "warehouse")
    assert rows == [(1, "90"), (2, "1.5"), (3, None)]


def test_passwords_are_neither_shown_nor_recorded(shop):
    with pytest.raises(SourceError) as refused:
        open_source("postgresql+psycopg2://me:secret@localhost:1/x::play")
    assert "secret" not in str(refused.value)


def truncated_parquet(tmp_path: Path) -> str:
    path = tmp_path / "cut.parquet"
    pq.write_table(pa.table({"id": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-20])
    return str(path)


def truncated_gzip(tmp_path: Path) -> str:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"id,t\n" + b"1,x\n" * 10_000)[:-10])
    return str(path)


def written(tmp_path: Path, name: str, content: bytes) -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


UNUSABLE = {
    "missing": (lambda p: str(p / "nowhere.csv"), "no such file"),
    "folder": (lambda p: (p / "f.csv").mkdir() or str(p / "f.csv"), "is a folder"),
    "suffix": (lambda p: written(p, "a.xlsx", b"x"), "Known are .parquet, .csv"),
    "no suffix": (lambda p: written(p, "a", b"x"), "end in 'nothing'"),
    "0 bytes": (lambda p: written(p, "a.csv", b""), "0 bytes"),
    "blank": (lambda p: written(p, "a.csv", b"\n  \n"), "no header line"),
    "open quote": (lambda p: written(p, "a.csv", b'id,"t\n' + b"1,x\n" * 3), "Does a quote stay open"),
    "open quote, long": (
        lambda p: written(p, "a.csv", b'id,"t\n' + b"1,x\n" * 60_000),
        "Does a quote stay open",
    ),
    "no names": (lambda p: written(p, "a.csv", b",,\n,,\n"), "no column has a name"),
    "utf-16": (
        lambda p: written(p, "a.csv", "id,t\n1,x\n".encode("utf-16")),
        "iconv -f UTF-16 -t UTF-8 a.csv",
    ),
    "carriage returns alone": (lambda p: written(p, "a.csv", b"id,t\r1,x\r"), "carriage returns alone"),
    "latin-1 header": (lambda p: written(p, "a.csv", "id,größe\n".encode("latin-1")), "header line"),
    "cut parquet": (truncated_parquet, "not a whole Parquet file"),
    "case": (
        lambda p: pq.write_table(pa.table({"a": [1], "A": [2]}), p / "a.parquet") or str(p / "a.parquet"),
        "case",
    ),
    "no parquet": (lambda p: written(p, "a.parquet", b"id,t\n1,x\n"), "not a whole Parquet file"),
    "cut gzip": (truncated_gzip, "cannot be read"),
    "gzip without a name": (
        lambda p: written(p, "a.csv", gzip.compress(b"id,t\n1,x\n")),
        "mv a.csv a.csv.gz",
    ),
    "no gzip": (lambda p: written(p, "a.csv.gz", b"id,t\n"), "cannot be read"),
    "no table": (lambda p: "sqlite:///shop.db", "two colons"),
    "missing database": (lambda p: f"sqlite:///{p}/none.db::play", "no such file"),
    "missing table": (lambda p: f"sqlite:///{written(p, 'a.db', b'')}::play", "no such table: play"),
    "bad query": (lambda p: f"sqlite:///{written(p, 'a.db', b'')}::SELECT FROM", "syntax error"),
    "unknown dialect": (lambda p: "nosuchdb://x/y::play", "knows no such database"),
    "missing driver": (lambda p: "mysql+cymysql://me@localhost/x::play", "needs the Python module 'cymysql'"),
    "bad url": (lambda p: "sqlite://:x:y:z@/::play", "sqlite"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_source_says_why(name, tmp_path):
    make, message = UNUSABLE[name]
    with pytest.raises(SourceError) as refused:
        read(make(tmp_path), tmp_path / "warehouse")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("start", ["-- of today\n", "/* of\ntoday */ ", "  (", "\n"])
def test_a_query_may_begin_with_a_comment_or_a_parenthesis(shop, tmp_path, start):
    query = f"{start}SELECT at FROM \"odd table\" WHERE at = '11:00'"
    if start.strip() == "(":
        query = f"WITH t AS {query}) SELECT * FROM t"
    assert read(f"{shop}::{query}", tmp_path / "warehouse")[1] == [(1, "11:00")]
