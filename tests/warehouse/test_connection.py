"""The warehouse file: rewritten and renamed, never locked for others, refused when it is not ours."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

from gfm_store.errors import EmptyWarehouseError, SchemaVersionError, WarehouseError, WarehouseLockedError
from gfm_store.warehouse import connection
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse, warehouse_file

ADD_ITEM = "INSERT INTO item (item_id, item_type) VALUES ($id, 'music')"


@pytest.fixture
def root(tmp_path):
    with rewrite_warehouse(tmp_path):
        pass
    return tmp_path


def count(warehouse):
    return warehouse.scalar("SELECT count(*) FROM item")


@contextmanager
def shell(path, code="pass"):
    """Another process that has the file open read-write."""
    opened = f"import duckdb, sys\nc = duckdb.connect({str(path)!r})"
    program = f"{opened}\n{code}\nprint('up', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_a_reader_keeps_what_it_saw_while_a_writer_renames(root):
    with open_warehouse(root) as before:
        with rewrite_warehouse(root) as writer:
            writer.execute(ADD_ITEM, {"id": "a"})
        assert count(before) == 0
        with open_warehouse(root) as after:
            assert count(after) == 1


def test_nothing_changes_when_the_writer_fails(root):
    with pytest.raises(RuntimeError, match="half-way"), rewrite_warehouse(root) as writer:
        writer.execute(ADD_ITEM, {"id": "a"})
        raise RuntimeError("half-way")
    with open_warehouse(root) as warehouse:
        assert count(warehouse) == 0
    assert {path.name for path in root.iterdir()} == {"gfm.duckdb", ".ingest.lock"}


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_succeeds(root):
    program = (
        "import os, pathlib, signal\n"
        "from gfm_store.warehouse.connection import rewrite_warehouse\n"
        f"with rewrite_warehouse(pathlib.Path({str(root)!r})) as w:\n"
        "    w.execute(\"INSERT INTO item (item_id, item_type) VALUES ('a', 'music')\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with open_warehouse(root) as warehouse:
        assert count(warehouse) == 0
    with rewrite_warehouse(root) as writer:
        writer.execute(ADD_ITEM, {"id": "b"})
    with open_warehouse(root) as warehouse:
        assert count(warehouse) == 1


def test_a_second_writer_leaves_with_a_message(root):
    with (
        rewrite_warehouse(root),
        pytest.raises(WarehouseLockedError, match="Another ingest"),
        rewrite_warehouse(root),
    ):
        pass


def test_a_read_write_shell_is_named(root):
    with shell(warehouse_file(root)) as process:
        with pytest.raises(WarehouseLockedError, match=f"PID {process.pid}"):
            open_warehouse(root)
        with pytest.raises(WarehouseLockedError, match="held read-write"), rewrite_warehouse(root):
            pass


def test_what_another_program_wrote_meanwhile_is_not_lost(root):
    with (
        pytest.raises(WarehouseLockedError, match="changed by another program"),
        rewrite_warehouse(root) as writer,
    ):
        writer.execute(ADD_ITEM, {"id": "ours"})
        with duckdb.connect(str(warehouse_file(root))) as theirs:
            theirs.execute(ADD_ITEM, {"id": "theirs"})
    with open_warehouse(root) as warehouse:
        assert warehouse.scalar("SELECT string_agg(item_id) FROM item") == "theirs"


def test_what_a_killed_shell_had_committed_is_kept(root):
    with shell(
        warehouse_file(root), "c.execute(\"INSERT INTO item (item_id, item_type) VALUES ('wal', 'x')\")"
    ):
        pass
    assert (root / "gfm.duckdb.wal").exists()
    with rewrite_warehouse(root) as writer:
        assert count(writer) == 1
    with open_warehouse(root) as warehouse:
        assert count(warehouse) == 1


def test_no_warehouse(tmp_path):
    with pytest.raises(EmptyWarehouseError, match=r"jobs\.sample"):
        open_warehouse(tmp_path)


def test_a_newer_schema_is_refused_and_untouched(root):
    with duckdb.connect(str(warehouse_file(root))) as connection:
        connection.execute("UPDATE schema_version SET version = 2")
    before = warehouse_file(root).read_bytes()
    with pytest.raises(SchemaVersionError, match="Install a newer gfm-store"):
        open_warehouse(root)
    with pytest.raises(SchemaVersionError, match="schema version 2"), rewrite_warehouse(root):
        pass
    assert warehouse_file(root).read_bytes() == before


def test_another_duckdb_file_is_refused(tmp_path):
    with duckdb.connect(str(warehouse_file(tmp_path))) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(SchemaVersionError, match="not a gfm-store warehouse"):
        open_warehouse(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    warehouse_file(tmp_path).write_text("hello" * 1000)
    with pytest.raises(SchemaVersionError, match="cannot be opened as a DuckDB database"):
        open_warehouse(tmp_path)


def test_a_damaged_file_is_not_taken_for_a_locked_one(root):
    make_warehouse(root / "w", catalogue("p0"), [stream("u", "p0", 3)])
    path = warehouse_file(root / "w")
    content = bytearray(path.read_bytes())
    content[100:116] = b"X" * 16
    path.write_bytes(content)
    with pytest.raises(SchemaVersionError, match="cannot be opened as a DuckDB database"):
        open_warehouse(root / "w")


class Full:
    """A connection whose file finds no more space when it is checkpointed."""

    def __init__(self, opened):
        self._opened = opened

    def __getattr__(self, name):
        return getattr(self._opened, name)

    def execute(self, sql, *more):
        if sql.startswith("CHECKPOINT"):
            raise duckdb.IOException("No space left on device")
        return self._opened.execute(sql, *more)


@pytest.mark.parametrize("when", ["copied", "filled", "checked"])
def test_a_full_disk_leaves_the_warehouse_and_no_copy(root, monkeypatch, when):
    def full(*_):
        raise OSError(28, "No space left on device")

    if when == "copied":
        monkeypatch.setattr(shutil, "copyfile", lambda source, copy: Path(copy).write_text("half") and full())
    if when == "checked":
        make = connection._memory_connection
        monkeypatch.setattr(connection, "_memory_connection", lambda *given: Full(make(*given)))
    before = warehouse_file(root).read_bytes()
    with (
        pytest.raises(WarehouseError, match=r"could not be written: .*No space left.*as it was"),
        rewrite_warehouse(root),
    ):
        if when == "filled":
            raise duckdb.TransactionException("Could not write file: No space left on device")
        assert when == "checked"
    assert warehouse_file(root).read_bytes() == before
    assert {path.name for path in root.iterdir()} == {"gfm.duckdb", ".ingest.lock"}


def test_a_file_that_is_a_link_is_rewritten_where_it_lies(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real = warehouse_file(root).rename(elsewhere / "real.duckdb")
    warehouse_file(root).symlink_to(real)
    with rewrite_warehouse(root) as writer:
        writer.execute(ADD_ITEM, {"id": "a"})
    assert warehouse_file(root).is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["real.duckdb"]
    with open_warehouse(root) as warehouse:
        assert count(warehouse) == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WarehouseError, match="cannot be written"), rewrite_warehouse(tmp_path / "file"):
        pass


def test_reads_are_read_only(root):
    with open_warehouse(root) as warehouse, pytest.raises(duckdb.Error, match="read-only"):
        warehouse.execute("DELETE FROM item")


def test_python_variables_are_invisible_to_sql(root):
    events = [1]
    with open_warehouse(root) as warehouse, pytest.raises(duckdb.CatalogException, match="events"):
        warehouse.execute("SELECT * FROM events")
    assert events == [1]


def test_the_default_moment_needs_an_event(root):
    with open_warehouse(root) as warehouse, pytest.raises(EmptyWarehouseError, match="no events yet"):
        newest_event(warehouse)


PODCASTS = [stream("u", "p1", 3), stream("u", "p1", 1), ("v", "p2", "follow", ago(2))]
BOOKS = [stream("u", "b1", 5), ("v", "b1", "preview", ago(4)), ("w", "b1", "skip", ago(1))]


@pytest.fixture
def two_types(tmp_path):
    return make_warehouse(tmp_path, catalogue("p1", "p2", "b1"), PODCASTS + BOOKS)


def events(warehouse):
    """(user, item, type) of what the name `interaction_event` stands for."""
    found = warehouse.arrow("SELECT user_id, item_id, event_type FROM interaction_event").to_pylist()
    return sorted(tuple(row.values()) for row in found)


def brief(rows):
    return sorted(row[:3] for row in rows)


def test_what_stands_in_for_a_table_is_what_statements_read(two_types):
    with open_warehouse(two_types) as warehouse:
        with (
            warehouse.stand_in("interaction_event", "evaluation/event_of_type", item_type="podcast"),
            warehouse.stand_in("item", "evaluation/item_of_type", item_type="book"),
        ):
            assert events(warehouse) == brief(PODCASTS)
            assert warehouse.create("history/user_node", as_of=AS_OF) == 2
            assert warehouse.scalar("SELECT string_agg(item_id) FROM item") == "b1"
        assert events(warehouse) == brief(PODCASTS + BOOKS)
        assert warehouse.create("history/user_node", as_of=AS_OF) == 3
        assert count(warehouse) == 3


def test_stand_ins_are_nested(two_types):
    with open_warehouse(two_types) as warehouse:
        with warehouse.stand_in("interaction_event", "evaluation/event_of_type", item_type="book"):
            with warehouse.stand_in("item", "evaluation/item_of_type", item_type="book"):
                with warehouse.stand_in("interaction_event", "evaluation/strong_event"):
                    assert events(warehouse) == [("u", "b1", "stream"), ("w", "b1", "skip")]
                    assert count(warehouse) == 1
                assert events(warehouse) == brief(BOOKS)
                assert count(warehouse) == 1
            assert events(warehouse) == brief(BOOKS)
            assert count(warehouse) == 3
            with warehouse.stand_in("interaction_event", "evaluation/strong_event"):
                assert len(events(warehouse)) == 2
        assert events(warehouse) == brief(PODCASTS + BOOKS)


def test_tables_are_what_they_were_after_an_error(two_types):
    with open_warehouse(two_types) as warehouse:
        with warehouse.stand_in("interaction_event", "evaluation/event_of_type", item_type="book"):
            with (
                pytest.raises(RuntimeError, match="half-way"),
                warehouse.stand_in("interaction_event", "evaluation/strong_event"),
            ):
                raise RuntimeError("half-way")
            assert events(warehouse) == brief(BOOKS)
        with (
            pytest.raises(RuntimeError, match="half-way"),
            warehouse.stand_in("interaction_event", "evaluation/strong_event"),
        ):
            raise RuntimeError("half-way")
        assert events(warehouse) == brief(PODCASTS + BOOKS)
        assert warehouse.scalar("SELECT count(*) FROM duckdb_views() WHERE temporary AND NOT internal") == 0
        assert warehouse.scalar("SELECT count(*) FROM duckdb_tables() WHERE temporary") == 0


def test_a_stand_in_that_cannot_be_made_leaves_things_as_they_are(two_types):
    with open_warehouse(two_types) as warehouse:
        with (
            pytest.raises(duckdb.Error),  # it reads last_item, which was not made
            warehouse.stand_in("interaction_event", "evaluation/event_before_last"),
        ):
            pass
        assert events(warehouse) == brief(PODCASTS + BOOKS)
        with warehouse.stand_in("interaction_event", "evaluation/strong_event"):
            assert len(events(warehouse)) == 4
        assert events(warehouse) == brief(PODCASTS + BOOKS)


def test_a_stand_in_leaves_the_file_alone(two_types):
    before = warehouse_file(two_types).read_bytes()
    with (
        open_warehouse(two_types) as warehouse,
        warehouse.stand_in("interaction_event", "evaluation/strong_event"),
        open_warehouse(two_types) as other,
    ):
        assert len(events(warehouse)) == 4
        assert len(events(other)) == 6
    assert warehouse_file(two_types).read_bytes() == before


def test_connections_spill_into_folders_of_their_own(root):
    with open_warehouse(root, memory_limit="60MB") as one, open_warehouse(root, memory_limit="60MB") as other:
        folders = [w.scalar("SELECT current_setting('temp_directory')") for w in (one, other)]
        assert folders[0] != folders[1]
        big = (
            "SELECT max(place) FROM (SELECT row_number() OVER (ORDER BY md5(range::VARCHAR)) AS place "
            "FROM range(1000000))"
        )
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda warehouse: warehouse.scalar(big), (one, other))) == [1_000_000] * 2
        one.execute("SET max_temp_directory_size = '1KB'")
        with pytest.raises(duckdb.OutOfMemoryException):
            one.scalar(big)  # it does spill
    assert not any(Path(folder).exists() for folder in folders)
