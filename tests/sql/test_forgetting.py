"""sql/ingest and sql/history for users who are forgotten and events as they were known: rows in, rows out."""

import hashlib

import pytest
from worlds import AS_OF, add_events, catalogue, make_warehouse, stream

from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse

SALT = "salt"


@pytest.fixture
def root(tmp_path):
    """A warehouse that has forgotten u1 and u2."""
    make_warehouse(tmp_path, catalogue("p1"), [])
    with rewrite_warehouse(tmp_path) as warehouse:
        for user in ("u1", "u2"):
            digest = hashlib.sha256((SALT + user).encode()).hexdigest()
            warehouse.execute(
                "INSERT INTO forgotten_user VALUES ($digest, $salt, $ts)",
                {"digest": digest, "salt": SALT, "ts": AS_OF},
            )
    return tmp_path


def refused(root, *users):
    with open_warehouse(root) as warehouse:
        warehouse.execute("CREATE TEMP TABLE given_user_id (user_id VARCHAR)")
        for user in users:
            warehouse.execute("INSERT INTO given_user_id VALUES ($user)", {"user": user})
        return sorted(warehouse.select("ingest/refused_user")["user_id"].to_pylist())


def test_the_forgotten_are_found_by_their_hash(root):
    assert refused(root, "u1", "u1", "u10", "1", "U1", None, "u2", "u3") == ["u1", "u2"]


def test_nobody_is_refused_where_nobody_was_forgotten(tmp_path):
    make_warehouse(tmp_path, catalogue("p1"), [])
    assert refused(tmp_path, "u1", None) == []


def test_records_that_are_no_rows_are_searched_field_by_field(root):
    lines = {1: "u1,p1", 2: "p1;u2 ;x", 3: 'a,"u1"', 4: "u10,p1", 5: "x u1,p1", 6: "p1\tu1", 7: ""}
    with open_warehouse(root) as warehouse:
        warehouse.execute(
            "CREATE TEMP TABLE malformed_row (source_line BIGINT, reason VARCHAR, content VARCHAR)"
        )
        for number, line in lines.items():
            warehouse.execute(
                "INSERT INTO malformed_row VALUES ($number, 'bad quotes', json_object('line', $line))",
                {"number": number, "line": line},
            )
        found = warehouse.select("ingest/refused_record")["source_line"].to_pylist()
    assert sorted(found) == [1, 2, 3, 6]


def test_events_as_a_version_knew_them(tmp_path):
    make_warehouse(tmp_path, catalogue("p1"), [stream("u", "p1", 5), stream("u", "p1", -1)])  # ingest 1
    add_events(tmp_path, [stream("u", "p1", 4), stream("u", "p1", -2)])  # 2
    add_events(tmp_path, [stream("u", "p1", 3), stream("u", "p1", 0), stream("u", "p1", -3)])  # 3
    with open_warehouse(tmp_path) as warehouse:

        def known(last, later):
            rows = warehouse.select(
                "history/event_then", as_of=AS_OF, last_ingest_id=last, later_ingest_id=later
            )
            return sorted((AS_OF - ts).days for ts in rows["event_ts"].to_pylist())

        assert known(1, 1) == [-1, 5]
        assert known(1, 2) == [-2, -1, 5]
        assert known(2, 2**62) == [-3, -2, -1, 0, 4, 5]
        assert known(3, 3) == [-3, -2, -1, 0, 3, 4, 5]
