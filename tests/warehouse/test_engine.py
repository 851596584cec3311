"""The SQLAlchemy engine: reflection, pandas, typed columns, read-only."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from worlds import make_warehouse

from gfm_store.errors import EmptyWarehouseError
from gfm_store.schema import INTERACTION_EVENT, ITEM, USER_PROFILE
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from gfm_store.warehouse.engine import create_engine


@pytest.fixture
def root(tmp_path):
    make_warehouse(
        tmp_path,
        [{"item_id": "i1", "item_type": "music"}],
        [("u1", "i1", "stream", datetime(2024, 1, 2, 3, 4, 5))],
    )
    return tmp_path


def test_reflection_gives_the_canonical_columns(root):
    reflected = sa.MetaData()
    reflected.reflect(create_engine(root))
    assert set(reflected.tables) == {
        "item",
        "interaction_event",
        "user_profile",
        "rejected_row",
        "ingest_run",
        "forgotten_user",
        "schema_version",
    }
    event = reflected.tables["interaction_event"].c
    assert isinstance(event.event_ts.type, sa.DateTime)
    assert isinstance(event.seconds_played.type, sa.Float)
    assert not event.user_id.nullable


def test_the_tables_hold_the_canonical_columns(root):
    with open_warehouse(root) as warehouse:
        for name, schema in (
            ("item", ITEM),
            ("interaction_event", INTERACTION_EVENT),
            ("user_profile", USER_PROFILE),
        ):
            table = warehouse.arrow(f"SELECT * FROM {name}")
            assert table.select(schema.names).schema.types == schema.types, name


def test_pandas_reads_typed_columns(root):
    frame = pd.read_sql("SELECT event_ts, item_id FROM interaction_event", create_engine(root))
    assert frame["event_ts"][0] == pd.Timestamp("2024-01-02 03:04:05")


def test_values_are_bound(root):
    with create_engine(root).connect() as connection:
        found = connection.execute(sa.text("SELECT item_type FROM item WHERE item_id = :id"), {"id": "i1"})
        assert found.scalar_one() == "music"


def test_the_engine_cannot_write(root):
    with create_engine(root).connect() as connection, pytest.raises(DBAPIError, match="read-only"):
        connection.execute(sa.text("DELETE FROM item"))


def test_an_engine_does_not_keep_an_ingest_out_and_sees_its_result(root):
    engine = create_engine(root)
    assert pd.read_sql("SELECT count(*) AS n FROM item", engine)["n"][0] == 1
    with rewrite_warehouse(root) as writer:
        writer.execute("INSERT INTO item (item_id, item_type) VALUES ('i2', 'music')")
    assert pd.read_sql("SELECT count(*) AS n FROM item", engine)["n"][0] == 2


def test_no_warehouse_is_one_clear_error(tmp_path):
    with pytest.raises(EmptyWarehouseError):
        create_engine(tmp_path)


def test_several_connections_are_open_at_once_and_speak_utc(root):
    engine = create_engine(root)
    with engine.connect() as first, engine.connect() as second, create_engine(root).connect() as third:
        for connection in (first, second, third):
            assert connection.execute(sa.text("SELECT count(*) FROM item")).scalar() == 1
            assert connection.execute(sa.text("SELECT current_setting('TimeZone')")).scalar() == "UTC"
            with pytest.raises(DBAPIError):
                connection.execute(sa.text("SELECT * FROM read_text('/etc/hostname')"))


def test_threads_read_side_by_side(root):
    engine = create_engine(root)
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda n: pd.read_sql(f"SELECT {n} AS n FROM item", engine), range(20)))
    assert [frame["n"].tolist() for frame in frames] == [[n] for n in range(20)]
