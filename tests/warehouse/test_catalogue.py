"""Every file of sql/: documented, one statement, values bound, and readable for Spark."""

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import ErrorLevel, exp
from worlds import AS_OF, make_warehouse
from worlds import catalogue as items_of

from gfm_store import schema
from gfm_store.warehouse import catalogue
from gfm_store.warehouse.catalogue import Statement, fingerprint, sql_folder, statement, statements
from gfm_store.warehouse.connection import open_warehouse

SQL = Path(catalogue.PACKAGE).parent / "sql"
FILES = sorted(str(path.relative_to(SQL).with_suffix("")) for path in SQL.glob("*/*.sql"))
NOT_FOR_SPARK: dict[str, str] = {}
"""File: why sqlglot cannot turn it into Spark SQL."""


def test_the_folders_of_the_catalogue_are_found():
    assert {"warehouse", "graph", "history", "audit"} <= {name.partition("/")[0] for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_header_names_the_table_and_its_grain(name):
    header = statement(name).header.splitlines()
    assert header[0].startswith(f"{Path(name).name}: ")
    assert [line for line in header if line.startswith("grain: ")] == [header[1]]


@pytest.mark.parametrize("name", FILES)
def test_the_header_explains_every_parameter(name):
    one = statement(name)
    assert one.parameters - set(re.findall(r"\$([a-z_]+)", one.header)) == set()


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_one_statement_that_reads_only(name):
    parsed = sqlglot.parse(statement(name).text, dialect="duckdb")
    assert len(parsed) == 1
    assert isinstance(parsed[0], exp.Create if name.startswith("warehouse/") else exp.Query)


@pytest.mark.parametrize("name", FILES)
def test_a_statement_becomes_spark_sql(name):
    text = statement(name).text
    if name in NOT_FOR_SPARK:
        with pytest.raises(sqlglot.errors.UnsupportedError):
            sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
        return
    spark = sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
    assert len(spark) == 1
    sqlglot.parse_one(spark[0], dialect="spark")  # raises ParseError for what Spark could not read


@pytest.mark.parametrize("name", FILES)
def test_values_are_bound_never_formatted_in(name):
    code = re.sub(r"--.*", "", statement(name).text)
    assert re.findall(r"\{\w*\}|%s|%\(", code) == []
    parsed = sqlglot.parse_one(statement(name).text, dialect="duckdb")
    bound = {parameter.name for parameter in parsed.find_all(exp.Parameter, exp.Placeholder)}
    assert bound == set(statement(name).parameters)


def test_missing_and_superfluous_parameters_are_refused(tmp_path):
    make_warehouse(tmp_path, items_of("p1"), [])
    with open_warehouse(tmp_path) as warehouse:
        with pytest.raises(duckdb.InvalidInputException, match="as_of"):
            warehouse.create("graph/item_node")
        with pytest.raises(duckdb.InvalidInputException, match="other"):
            warehouse.create("graph/item_node", as_of=AS_OF, other=1)


def test_parameters_in_comments_do_not_count():
    one = Statement("t", "-- t: of $nobody\nSELECT $a_b, '$x' -- and $c\n")
    assert one.parameters == {"a_b", "x"}
    assert one.header == "t: of $nobody"


def test_the_packages_own_copy_comes_before_the_checkouts(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path / "gfm_store")
    with pytest.raises(FileNotFoundError, match="reinstall"):
        sql_folder()
    (tmp_path / "sql" / "warehouse").mkdir(parents=True)
    assert sql_folder() == tmp_path / "sql"
    (tmp_path / "gfm_store" / "sql" / "warehouse").mkdir(parents=True)
    assert sql_folder() == tmp_path / "gfm_store" / "sql"


def test_a_fingerprint_follows_text_and_name(tmp_path, monkeypatch):
    def of(**files: str) -> str:
        folder = tmp_path / "sql" / "warehouse"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.sql"):
            old.unlink()
        for name, text in files.items():
            (folder / f"{name}.sql").write_text(text)
        catalogue.statement.cache_clear()
        return fingerprint("warehouse")

    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path / "gfm_store")
    try:
        first = of(a="SELECT 1", b="SELECT 2")
        assert of(b="SELECT 2", a="SELECT 1") == first
        assert (
            len({first, of(a="SELECT 2", b="SELECT 1"), of(a="SELECT 1", c="SELECT 2"), of(a="SELECT 1")})
            == 4
        )
    finally:
        catalogue.statement.cache_clear()


def test_statements_of_a_folder_come_by_name():
    assert [one.name for one in statements("audit")] == sorted(
        path.stem for path in (SQL / "audit").glob("*.sql")
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("item", schema.ITEM),
        ("interaction_event", schema.INTERACTION_EVENT),
        ("user_profile", schema.USER_PROFILE),
    ],
)
def test_warehouse_tables_have_the_columns_of_the_schema(tmp_path, table, expected):
    make_warehouse(tmp_path, [], [])
    with open_warehouse(tmp_path) as warehouse:
        found = warehouse.arrow(f"SELECT * FROM {table}").schema
        nullable = dict(
            warehouse.execute(
                "SELECT column_name, is_nullable FROM duckdb_columns() WHERE table_name = $table",
                {"table": table},
            ).fetchall()
        )
    names = [name for name in found.names if name != "ingest_id"]
    assert names == expected.names
    assert [found.field(name).type for name in names] == [
        field.type if not pa.types.is_list(field.type) else pa.list_(pa.field("l", pa.string()))
        for field in expected
    ]
    assert [nullable[name] for name in names] == [field.nullable for field in expected]
