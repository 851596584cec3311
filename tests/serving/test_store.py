"""The store on a small published world: the contract of `gfm_store.open(...).recommend(...)`."""

from datetime import UTC, datetime, timedelta, timezone

import lancedb
import numpy as np
import pytest

import gfm_store
from gfm_store.errors import EmptyWarehouseError, NotPublishedError, UsageError
from gfm_store.schema import RECOMMENDATION
from gfm_store.vectors.publication import published_folder
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def active(published):
    """Two users with streams in the last month, and what the first has streamed."""
    with open_warehouse(published) as warehouse:
        rows = warehouse.execute(
            "SELECT user_id FROM interaction_event WHERE event_type = 'stream' GROUP BY user_id "
            "HAVING max(event_ts) > TIMESTAMP '2026-09-15' ORDER BY count(*) DESC, user_id LIMIT 2"
        ).fetchall()
        users = [row[0] for row in rows]
        seen = warehouse.execute(
            "SELECT DISTINCT item_id FROM interaction_event WHERE event_type = 'stream' AND user_id = $user",
            {"user": users[0]},
        ).fetchall()
    return users, {row[0] for row in seen}


def insert_events(root, *events):
    with rewrite_warehouse(root) as warehouse:
        for user, item, kind, ts in events:
            warehouse.execute(
                "INSERT INTO interaction_event VALUES ($u, $i, $k, $t, NULL, 99)",
                {"u": user, "i": item, "k": kind, "t": ts},
            )


def test_columns_order_and_ranks(store, active):
    users, _ = active
    lists = store.recommend(users, k=5)
    assert lists.schema == RECOMMENDATION
    assert lists["user_id"].to_pylist() == [users[0]] * 5 + [users[1]] * 5
    assert lists["rank"].to_pylist() == [1, 2, 3, 4, 5] * 2
    scores = lists["score"].to_numpy().reshape(2, 5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert set(lists["source"].to_pylist()) == {"model"}
    assert set(lists["embedding_version"].to_pylist()) == {store.version}


def test_one_user_is_answered_as_among_many(store, active):
    users, _ = active
    alone, both = store.recommend(users[1], k=5), store.recommend(users, k=5).slice(5)
    assert alone["item_id"] == both["item_id"]
    assert np.allclose(alone["score"].to_numpy(), both["score"].to_numpy(), atol=1e-5)


def test_seen_items_are_left_out_unless_asked_for(store, active):
    users, seen = active
    catalogue = 150
    new = set(store.recommend(users[0], k=catalogue)["item_id"].to_pylist())
    every = set(store.recommend(users[0], k=catalogue, include_seen=True)["item_id"].to_pylist())
    assert not new & seen
    assert every - new == seen & every


def test_k_beyond_the_catalogue_gives_what_there_is(store, published):
    n_items = lancedb.connect(str(published / "vectors")).open_table("retrieval").count_rows()
    assert store.recommend("nobody", k=10_000).num_rows == n_items


def test_one_type(store, active):
    users, _ = active
    lists = store.recommend(users[0], k=5, item_type="audiobook")
    assert lists["item_type"].to_pylist() == ["audiobook"] * 5
    two = store.recommend(users[0], k=100, item_type=["audiobook", "music"])
    assert set(two["item_type"].to_pylist()) == {"audiobook", "music"}


def test_a_user_never_seen_gets_what_is_popular(store, published):
    lists = store.recommend("nobody", k=3)
    assert lists["source"].to_pylist() == ["popular"] * 3
    table = lancedb.connect(str(published / "vectors")).open_table("retrieval").to_arrow().to_pylist()
    popularity = {row["item_id"]: row["popularity"] for row in table}
    shown = [popularity[item] for item in lists["item_id"].to_pylist()]
    assert min(shown) > np.median(list(popularity.values()))


def test_plain_lancedb_gives_the_same_list(store, active, published):
    users, _ = active
    table = lancedb.connect(str(published / "vectors")).open_table("retrieval")
    ours = store.recommend(users[0], k=10, item_type="podcast", include_seen=True)
    vector = store.user_vector(users[0])
    theirs = table.search(vector).where("item_type = 'podcast'").limit(10).to_arrow()
    assert theirs["item_id"].to_pylist() == ours["item_id"].to_pylist()
    dots = np.stack(theirs["vector"].to_pylist()) @ vector
    assert np.allclose(dots, ours["score"].to_numpy(), rtol=1e-4)


def test_published_user_vectors_are_the_store_s(store, active, published):
    users, _ = active
    table = lancedb.connect(str(published / "vectors")).open_table("user_vector")
    row = table.search().where(f"user_id = '{users[0]}'").to_list()[0]
    assert np.allclose(row["vector"], store.user_vector(users[0]), atol=1e-5)


def test_events_that_are_not_ingested(store, published, active):
    users, _ = active
    with open_warehouse(published) as warehouse:
        events = warehouse.execute(
            "SELECT item_id, event_type, event_ts FROM interaction_event WHERE user_id = $u", {"u": users[0]}
        ).fetchall()
        moment = newest_event(warehouse)
    lists = store.recommend(history=events, k=5)
    assert lists["user_id"].to_pylist() == [None] * 5
    assert set(lists["source"].to_pylist()) == {"model"}
    assert not set(lists["item_id"].to_pylist()) & {item for item, kind, _ in events if kind == "stream"}
    text = [(events[0][0], "stream", moment.isoformat())]
    assert store.recommend(history=text, k=1)["source"].to_pylist() == ["model"]
    assert store.recommend(history=[], k=1)["source"].to_pylist() == ["popular"]


def test_a_request_s_own_events_leave_no_trace(store, active):
    users, _ = active
    before = store.recommend(users[0], k=5)
    store.recommend(history=[(before["item_id"][0].as_py(), "stream", datetime(2026, 9, 30))], k=5)
    assert store.recommend(users[0], k=5).equals(before)


def test_newest_events_count_at_once(world):
    with gfm_store.open(world) as store:
        assert store.recommend("newcomer", k=1)["source"].to_pylist() == ["popular"]
        item = store.recommend("newcomer", k=1)["item_id"][0].as_py()
        insert_events(world, ("newcomer", item, "stream", datetime(2026, 9, 30)))
        after = store.recommend("newcomer", k=150)
        assert after["source"][0].as_py() == "model"
        assert item not in after["item_id"].to_pylist()


def test_a_skip_after_the_refresh_pushes_down_what_it_touches(world, store, active):
    users, _ = active
    before = {user: store.recommend(user, k=150)["item_id"].to_pylist() for user in users}
    moment = datetime(2026, 9, 29, 23, 59)
    insert_events(
        world,
        *[(user, before[user][place], "skip", moment) for user, place in zip(users, (3, 8), strict=True)],
    )
    with gfm_store.open(world) as changed:
        for user, place in zip(users, (3, 8), strict=True):
            after = changed.recommend(user, k=150)["item_id"].to_pylist()
            assert after.index(before[user][place]) > place


def test_withdrawn_items_never_appear(world):
    with gfm_store.open(world) as store:
        first = store.recommend("nobody", k=1)["item_id"][0].as_py()
        with rewrite_warehouse(world) as warehouse:
            warehouse.execute(
                "UPDATE item SET withdrawn_at = TIMESTAMP '2026-09-01' WHERE item_id = $i", {"i": first}
            )
        assert first not in store.recommend("nobody", k=1000)["item_id"].to_pylist()


def test_an_earlier_moment_needs_a_version_from_before_it(store, published):
    with open_warehouse(published) as warehouse:
        moment = newest_event(warehouse)
    assert store.recommend("nobody", k=1, as_of=moment).num_rows == 1
    with pytest.raises(NotPublishedError, match="No kept version is from"):
        store.recommend("nobody", k=1, as_of=moment - timedelta(days=1))
    east = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=9)))
    for same in (moment.isoformat(), east, east.isoformat()):
        listed = store.recommend("nobody", k=5, as_of=same)
        assert listed.equals(store.recommend("nobody", k=5, as_of=moment))
    with pytest.raises(UsageError, match="as_of: 'noon' is not a moment"):
        store.recommend("nobody", as_of="noon")


def test_opening_a_named_version(published, store):
    with gfm_store.open(published, version=store.version) as pinned:
        assert pinned.recommend("nobody", k=3).equals(store.recommend("nobody", k=3))
    with pytest.raises(
        NotPublishedError, match=f"'d-000000000000' is not kept in .*; there are: {store.version}"
    ):
        gfm_store.open(published, version="d-000000000000")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": "u", "k": 0}, "k is 0"),
        (
            {"users": "u", "item_type": "film"},
            "unknown item type 'film'; there are: audiobook, music, podcast",
        ),
        ({"users": "u", "item_type": "music' OR 1=1 --"}, "unknown item type"),
        ({}, "either users or history"),
        ({"users": "u", "history": []}, "either users or history"),
        ({"history": [("nothing", "stream", "2026-09-01")]}, "knows no item 'nothing'"),
        ({"history": [("podcast-01", "play", "2026-09-01")]}, "unknown event types ['play']"),
        ({"history": [("podcast-01", "stream", "yesterday")]}, "'yesterday' is not a moment"),
    ],
)
def test_bad_requests(store, arguments, message):
    with pytest.raises(UsageError) as error:
        store.recommend(**arguments)
    assert message in str(error.value)


def test_ids_are_values_never_sql(store):
    lists = store.recommend(["'; DROP TABLE item; --", 'x" OR 1=1', ""], k=2)
    assert lists["source"].to_pylist() == ["popular"] * 6


def test_no_warehouse_and_nothing_published(tmp_path):
    with pytest.raises(EmptyWarehouseError, match="holds no warehouse"):
        gfm_store.open(tmp_path)
    with rewrite_warehouse(tmp_path) as warehouse:
        warehouse.execute("INSERT INTO item (item_id, item_type) VALUES ('a', 'b')")
    with pytest.raises(NotPublishedError, match=r"Build one with `python -m jobs\.refresh_dynamic"):
        gfm_store.open(tmp_path)


def test_what_is_no_folder_and_what_is_no_version(published):
    for wrong in (None, 5, published / "gfm.duckdb"):
        with pytest.raises(UsageError, match="by the folder of its warehouse"):
            gfm_store.open(wrong)
    with pytest.raises(UsageError, match="version must be one text"):
        gfm_store.open(published, version=5)
    with pytest.raises(NotPublishedError):
        gfm_store.open(published, version="")


def test_opening_changes_nothing(published):
    before = sorted((path, path.stat().st_mtime_ns) for path in published.rglob("*"))
    with gfm_store.open(published) as store:
        store.recommend("nobody")
    assert sorted((path, path.stat().st_mtime_ns) for path in published.rglob("*")) == before


def test_the_bound_version_is_one_for_all_tables(published, store):
    folder = published_folder(published)
    versions = set()
    for name in ("retrieval", "user_vector", "item_embedding"):
        table = lancedb.connect(str(folder)).open_table(name)
        versions |= set(table.to_arrow()["embedding_version"].to_pylist())
    assert versions == {store.version}
