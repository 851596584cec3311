"""SQL from outside: one SELECT over what is here, nothing else, within bounds."""

from datetime import datetime

import pyarrow as pa
import pytest
from worlds import catalogue, make_warehouse, stream

from gfm_store import schema
from gfm_store.config import SqlConfig
from gfm_store.errors import UsageError
from gfm_store.warehouse.analysis import macro, run_select
from gfm_store.warehouse.catalogue import Statement, statement

BOUNDS = SqlConfig()
EXTRA = {
    "item_search": schema.item_search_schema(8).empty_table(),
    "user_vector": schema.user_vector_schema(8).empty_table(),
    "retrieval": schema.retrieval_schema(8).empty_table(),
    "co_interaction_edge": schema.CO_INTERACTION_EDGE.empty_table(),
    f"{schema.KEPT_ITEM_EMBEDDING}0": schema.item_embedding_schema(8, 8).empty_table(),
    "score": pa.table({"item_id": ["p1", "p2"], "score": [1.0, 2.0]}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    return make_warehouse(folder, catalogue("p1", "p2"), [stream("u", "p1", 3), stream("u", "p2", 1)])


def ask(root, sql, parameters=None, config=BOUNDS, tables=EXTRA):
    return run_select(root, tables, sql, parameters or {}, config, 1)


def test_the_warehouse_and_what_stands_beside_it_are_one_world(root):
    query = "SELECT user_id, sum(score) AS score FROM interaction_event JOIN score USING (item_id) GROUP BY user_id"
    assert ask(root, query).to_pylist() == [{"user_id": "u", "score": 3.0}]


def test_values_are_bound(root):
    query = "SELECT count(*) AS n FROM interaction_event WHERE item_id = $item AND event_ts > $ts"
    values = {"item": "p1", "ts": datetime(2020, 1, 1)}
    assert ask(root, query, values).to_pylist() == [{"n": 1}]
    assert ask(root, query, values | {"item": "p1' OR 'a'='a"}).to_pylist() == [{"n": 0}]
    with pytest.raises(UsageError, match="ts"):
        ask(root, query, {"item": "p1"})


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM item",
        "INSERT INTO item VALUES ('x', 'y')",
        "CREATE TABLE x AS SELECT 1",
        "CREATE TEMP TABLE x AS SELECT 1",
        "COPY item TO 'out.csv'",
        "COPY (SELECT 1) TO 'out.csv'",
        "EXPORT DATABASE 'out'",
        "ATTACH 'other.duckdb'",
        "DETACH warehouse",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA memory_limit='100GB'",
        "SET memory_limit='100GB'",
        "RESET lock_configuration",
        "CALL pragma_version()",
        "CHECKPOINT",
        "BEGIN",
        "VACUUM",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE item",
        "",
        "-- nothing",
        "SELEC 1",
        "SELECT * FROM nowhere",
        "SELECT * FROM 'file.csv'",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_parquet('https://example.org/x.parquet')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "SELECT * FROM pandas_scan(1)",
        "SELECT * FROM ARROW_SCAN_DUMB(1, 2, 3)",
        "SELECT * FROM query('SELECT * FROM arrow_scan(1, 2, 3)')",
        "SELECT (SELECT count(*) FROM query('SELECT 1'))",
        "WITH a AS (SELECT * FROM json_execute_serialized_sql('{}')) SELECT * FROM a",
        "SELECT * FROM item WHERE item_id IN (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM sqlite_scan('x.db', 'y')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_settings()",
        "SELECT getenv('HOME')",
        "FROM (COPY item TO 'out.csv')",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_nothing_but_one_select_over_what_is_here(root, sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    with pytest.raises(UsageError, match=r"^sql"):
        ask(root, sql)
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "FROM item",
        "VALUES (1), (2)",
        "SELECT unnest([1, 2])",
        "SELECT * FROM range(2)",
        "SELECT * FROM generate_series(1, 2)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2) SELECT * FROM n",
        "SELECT item_id, row_number() OVER (ORDER BY item_id) FROM item QUALIFY true",
    ],
)
def test_what_is_a_select(root, sql):
    assert ask(root, sql).num_rows == 2


def test_a_statement_that_takes_too_long_is_stopped(root):
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7"
    with pytest.raises(UsageError, match=r"took longer than 0\.3 seconds"):
        ask(root, endless, config=SqlConfig(timeout_seconds=0.3))


def test_a_mistake_or_a_bound_met_while_rows_stream_is_told_alike(root):
    with pytest.raises(UsageError, match="boom"):
        ask(root, "SELECT CASE WHEN i = 5000000 THEN error('boom') ELSE i END FROM range(6000000) AS t(i)")
    long = "SELECT i FROM range(1000000000000) AS t(i) WHERE i < 3000000 OR sin(i) > 2"
    with pytest.raises(UsageError, match=r"took longer than 0\.5 seconds"):
        ask(root, long, config=SqlConfig(timeout_seconds=0.5))


def test_what_a_statement_quotes_is_not_why_it_failed(root):
    for name in ("INTERRUPTED", '"Out of Memory Error"'):
        with pytest.raises(UsageError, match="not found in FROM"):
            ask(root, f"SELECT {name} FROM item")


def test_a_result_that_is_too_large_is_refused(root):
    with pytest.raises(UsageError, match="larger than 1 MB"):
        ask(root, "SELECT * FROM range(10000000)", config=SqlConfig(max_result_mb=1))


def test_memory_is_bounded_and_beyond_it_disk(root):
    sort = "SELECT max(h) AS h FROM (SELECT hash(range) AS h, repeat('x', 100) AS x FROM range(400000) ORDER BY h, x)"
    query = "SELECT count(*) AS n FROM (SELECT list(range) FROM range(3000000) GROUP BY range % 1000000)"
    small = SqlConfig(memory_limit="40MB", max_temporary="1MB")
    with pytest.raises(UsageError, match="needs more than 40MB of memory"):
        ask(root, query, config=small)
    assert ask(root, sort, config=SqlConfig(memory_limit="200MB")).num_rows == 1


def test_python_s_variables_are_not_tables(root):
    frame = pa.table({"secret": [1]})
    with pytest.raises(UsageError, match="frame"):
        ask(root, "SELECT * FROM frame")
    assert frame.num_rows == 1


def test_a_macro_takes_its_parameters_from_its_header():
    one = Statement(
        "m",
        "-- m: of $b.\n-- grain: x\n-- $b: first; $a := NULL: second\nSELECT t.a FROM t WHERE t.b = $b AND $a",
    )
    assert macro(one).splitlines()[0] == "CREATE OR REPLACE TEMP MACRO m(b, a := NULL) AS TABLE"
    assert macro(one).rstrip().endswith("SELECT t.a FROM t WHERE t.b = b AND a")


@pytest.mark.parametrize("name", ["recommend", "similar_items", "neighbours"])
def test_the_header_gives_each_parameter_once(name):
    one = statement(f"query/{name}")
    listed = macro(one).partition("(")[2].partition(")")[0]
    assert {part.split(" := ")[0] for part in listed.split(", ")} == set(one.parameters)
