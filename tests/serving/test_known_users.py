"""Users in memory are those of the warehouse."""

from datetime import timedelta

import pyarrow as pa
from worlds import add_events, add_items, catalogue

import gfm_store
from gfm_store.serving.known_users import KnownUsers
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse


def test_one_user_is_found_as_sql_finds_them(world):
    with open_warehouse(world) as warehouse:
        now = newest_event(warehouse)
    with gfm_store.open(world) as store:
        one, other = store.sql("SELECT item_id FROM retrieval ORDER BY item_id LIMIT 2")[
            "item_id"
        ].to_pylist()
    strange = ["", "\u00e9", "\uffee", "\U0001f600", "user-", "zz"]
    add_items(world, catalogue("after-the-refresh"))
    add_events(
        world,
        [
            *((user, one, "stream", now + timedelta(hours=place)) for place, user in enumerate(strange)),
            *(("zz", one, kind, now - timedelta(days=2)) for kind in ("skip", "stream", "follow")),
            ("zz", other, "stream", now - timedelta(days=4_000)),
            ("zz", "after-the-refresh", "stream", now),
        ],
    )
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute("INSERT INTO user_profile (user_id, country) VALUES ('only a profile', 'SE')")
    with gfm_store.open(world) as store:
        users = [*strange, "only a profile", "a stranger", *store.users().to_pylist()[::29]]
        session = store._session
        read = [session.users(pa.array([user])) for user in users]
        assert session._known is None
        session._known = KnownUsers.read(session.warehouse, session.bound, session.now)
        found = [session.users(pa.array([user])) for user in users]
    for slow, fast in zip(read, found, strict=True):
        assert slow.user_id.equals(fast.user_id)
        assert (slow.vector == fast.vector).all()
        assert slow.has_history.tolist() == fast.has_history.tolist()
        assert slow.country.tolist() == fast.country.tolist()
        assert [part.tolist() for part in slow.seen] == [part.tolist() for part in fast.seen]
    by_name = dict(zip(users, found, strict=True))
    assert by_name["only a profile"].country.tolist() == ["SE"]
    assert not by_name["a stranger"].has_history[0]
    assert len(by_name["zz"].seen[1]) == 3


def test_users_are_read_into_memory_after_some_requests_and_anew_after_an_ingest(world, monkeypatch):
    monkeypatch.setattr("gfm_store.serving.session.REQUESTS_OF_STRANGERS", 3)
    with gfm_store.open(world) as store:
        user = store.users()[3].as_py()
        before = store.recommend(user, 5)
        store.recommend([user, "another"], 5)
        assert store._session._known is None
        for _ in range(2):
            assert store.recommend(user, 5).equals(before)
        assert store._session._known is not None
        with open_warehouse(world) as warehouse:
            now = newest_event(warehouse)
        add_events(world, [(user, before["item_id"][0].as_py(), "stream", now)])
        after = store.recommend(user, 5)
    assert before["item_id"][0].as_py() not in after["item_id"].to_pylist()
