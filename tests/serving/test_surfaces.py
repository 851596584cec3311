"""One answer, whoever asks: Python, SQL, SQLAlchemy and plain LanceDB."""

import lancedb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa

import gfm_store
from gfm_store.vectors.indexes import SCALAR, WORDS
from gfm_store.vectors.publication import TABLES


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def tables(published):
    return lancedb.connect(str(published / "vectors"))


@pytest.fixture(scope="module")
def users(store):
    """With a country and without, by number of streams."""
    query = """
        SELECT user_id FROM interaction_event WHERE event_type = 'stream' GROUP BY user_id
        ORDER BY count(*) DESC, user_id LIMIT 40
    """
    return store.sql(query)["user_id"].to_pylist()


def offered(store, user):
    """A LanceDB filter: items that may be offered where the user is."""
    forbidden = store.sql(
        "SELECT item_id FROM item, user_profile WHERE user_id = $u AND len(markets) > 0 "
        "AND NOT list_contains(markets, country)",
        {"u": user},
    )["item_id"].to_pylist()
    return _not_in(forbidden)


def streamed(store, user):
    query = "SELECT DISTINCT item_id FROM interaction_event WHERE user_id = $u AND event_type = 'stream'"
    return _not_in(store.sql(query, {"u": user})["item_id"].to_pylist())


def _not_in(items):
    listed = ", ".join("'" + item.replace("'", "''") + "'" for item in [*items, ""])
    return f"item_id NOT IN ({listed})"


@pytest.mark.parametrize("include_seen", [True, False])
@pytest.mark.parametrize("item_type", [None, "audiobook", "music"])
def test_the_same_lists_everywhere(store, tables, users, item_type, include_seen):
    retrieval, user_vector = tables.open_table("retrieval"), tables.open_table("user_vector")
    for user in users[::8]:
        python = store.recommend(user, 20, item_type=item_type, include_seen=include_seen)
        sql = store.sql(
            "SELECT * FROM recommend($user, 20, item_type := $type, include_seen := $seen)",
            {"user": user, "type": item_type, "seen": include_seen},
        )
        vector = user_vector.search().where(f"user_id = '{user}'").to_list()[0]["vector"]
        where = [offered(store, user)]
        where += [f"item_type = '{item_type}'"] if item_type else []
        where += [] if include_seen else [streamed(store, user)]
        lance = retrieval.search(vector).where(" AND ".join(where)).limit(20).to_arrow()
        assert python["item_id"].to_pylist() == sql["item_id"].to_pylist() == lance["item_id"].to_pylist()
        assert python["rank"].to_pylist() == sql["rank"].to_pylist()
        assert np.allclose(python["score"].to_numpy(), sql["score"].to_numpy(), atol=1e-5)
        dot = np.stack(lance["vector"].to_pylist()) @ np.array(vector)
        assert np.allclose(python["score"].to_numpy(), dot, atol=1e-5)


def test_the_same_similar_items_everywhere(store, tables):
    found = tables.open_table("item_search")
    for item in store.sql("SELECT item_id FROM retrieval ORDER BY item_id")["item_id"].to_pylist()[::29]:
        python = store.similar_items(item, 10)
        sql = store.sql("SELECT * FROM similar_items($item, 10)", {"item": item})
        query = np.array(found.search().where(f"item_id = '{item}'").to_list()[0]["vector"])
        query[-1] = 0  # the padding
        lance = found.search(query).where(f"item_id <> '{item}'").limit(10).to_arrow()
        assert python["item_id"].to_pylist() == sql["item_id"].to_pylist() == lance["item_id"].to_pylist()
        assert python.column_names == sql.column_names
        assert np.allclose(python["score"].to_numpy(), sql["score"].to_numpy(), atol=1e-5)
        music = store.sql("SELECT * FROM similar_items($item, 5, item_type := 'music')", {"item": item})
        assert store.similar_items(item, 5, item_type="music")["item_id"] == music["item_id"]


def test_neighbours_are_the_edges(store):
    item = store.sql("SELECT src_item_id FROM co_interaction_edge LIMIT 1")["src_item_id"][0].as_py()
    found = store.sql("SELECT * FROM neighbours($item)", {"item": item}).to_pylist()
    edges = store.sql(
        "SELECT * FROM co_interaction_edge WHERE src_item_id = $item", {"item": item}
    ).to_pylist()
    assert {(row["item_id"], row["n_users"], row["weight"]) for row in found} == {
        (edge["dst_item_id"], edge["n_users"], edge["weight"]) for edge in edges
    }
    weights = [row["weight"] for row in found]
    assert weights == sorted(weights, reverse=True)


@pytest.mark.parametrize("text", ["x'; DROP TABLE item; --", "' OR '1'='1", 'user"', ""])
def test_macros_take_values_never_sql(store, text):
    for call in ("recommend($x, 5)", "similar_items($x, 5)", "neighbours($x)"):
        assert store.sql(f"SELECT * FROM {call}", {"x": text}).num_rows == 0


def test_the_engine_sees_what_sql_sees(store, users):
    engine = store.engine
    reflected = sa.MetaData()
    reflected.reflect(engine)
    assert set(reflected.tables) >= {"item", "interaction_event", "user_profile", "version", *TABLES}
    assert "item_embedding_history" in reflected.tables
    retrieval = reflected.tables["retrieval"].c
    assert isinstance(retrieval.item_id.type, sa.String)
    assert isinstance(retrieval.published_at.type, sa.DateTime)
    with engine.connect() as connection:
        edge = reflected.tables["co_interaction_edge"]
        counted = connection.execute(sa.select(sa.func.count()).select_from(edge)).scalar_one()
    assert counted == store.sql("SELECT count(*) AS n FROM co_interaction_edge")["n"][0].as_py()
    frame = pd.read_sql(sa.text("SELECT * FROM recommend(:user, 5)"), engine, params={"user": users[0]})
    assert frame["item_id"].tolist() == store.recommend(users[0], 5)["item_id"].to_pylist()


def test_filters_and_columns_reach_the_lance_scan(store):
    query = "EXPLAIN SELECT item_type FROM item_embedding WHERE item_id = 'podcast-01'"
    with store.engine.connect() as connection:
        plan = connection.execute(sa.text(query)).fetchone()[1]
    assert "Filters" in plan
    assert "item_id='podcast-01'" in plan
    assert "text_vector" not in plan


def test_the_engine_reads_no_files_and_writes_nothing(store):
    for statement in (
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY item TO 'out.csv'",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM item",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with store.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text(statement))


def test_columns_that_people_filter_by_are_indexed(tables):
    for name in TABLES:
        indexed = {column for index in tables.open_table(name).list_indices() for column in index.columns}
        assert indexed == set(SCALAR[name]) | set(WORDS.get(name, []))


def test_a_notebook_with_pandas_and_one_with_polars(store, tables, users):
    retrieval = tables.open_table("retrieval")
    vector = tables.open_table("user_vector").search().where(f"user_id = '{users[0]}'").to_list()[0]["vector"]

    query = retrieval.search(vector).where("language = 'en' AND published_at IS NOT NULL").limit(20)
    frame = query.select(["item_id", "item_type", "popularity", "_distance"]).to_pandas()
    by_type = frame.groupby("item_type")["popularity"].agg(["size", "mean"])
    assert by_type["size"].sum() == len(frame) == 20
    assert frame["_distance"].is_monotonic_increasing

    polars = query.select(["item_id", "item_type", "popularity", "_distance"]).to_polars()
    assert polars["item_id"].to_list() == frame["item_id"].tolist()
    same = polars.group_by("item_type").agg(pl.len(), pl.col("popularity").mean()).sort("item_type")
    assert same["popularity"].to_list() == pytest.approx(by_type["mean"].tolist())

    words = tables.open_table("item_search").search("sea", query_type="fts", fts_columns="text").limit(5)
    assert all("sea" in row["text"].lower() for row in words.to_list())
