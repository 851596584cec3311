"""Explanations are true: ranks are those of a warehouse in which the named things did not happen."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import gfm_store
from gfm_store.errors import UsageError
from gfm_store.schema import EXPLANATION
from gfm_store.serving import explain, lists
from gfm_store.serving.lists import Wish
from gfm_store.warehouse.connection import rewrite_warehouse

ALL = 1_000


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def explained(store):
    """Users with the best items of their lists and the reasons."""
    query = """
        SELECT user_id FROM interaction_event WHERE event_type = 'stream' GROUP BY user_id
        ORDER BY count(DISTINCT item_id) DESC, user_id LIMIT 12
    """
    users = store.sql(query)["user_id"].to_pylist()
    pairs = [(user, item) for user in users for item in store.recommend(user, 4)["item_id"].to_pylist()]
    return {pair: store.explain(*pair).to_pylist() for pair in pairs}


def rank_of(store, user, item):
    return store.recommend(user, ALL)["item_id"].to_pylist().index(item) + 1


def test_columns_and_shares(store, explained):
    assert EXPLANATION.names[:4] == ["reason", "item_id", "share", "rank_without"]
    assert store.explain(*next(iter(explained))).schema == EXPLANATION
    for (user, item), rows in explained.items():
        shares = [row["share"] for row in rows]
        assert shares == sorted(shares, reverse=True)
        assert all(share > 0 for share in shares)
        assert sum(shares) < 1 + 1e-6
        assert {row["rank"] for row in rows} == {rank_of(store, user, item)}


def test_reasons_are_of_the_history_and_edges_are_edges(store, explained):
    linked = 0
    for (user, item), rows in explained.items():
        streamed = store.sql("SELECT item_id FROM interaction_event WHERE user_id = $u", {"u": user})
        edges = store.sql(
            "SELECT dst_item_id, n_users, weight FROM co_interaction_edge WHERE src_item_id = $i", {"i": item}
        ).to_pylist()
        edges = {edge["dst_item_id"]: (edge["n_users"], edge["weight"]) for edge in edges}
        for row in rows:
            assert row["item_id"] in (
                {item} if row["reason"] == "popular" else streamed["item_id"].to_pylist()
            )
            assert (row["n_users"], row["weight"]) == edges.get(row["item_id"], (None, None))
            assert (row["reason"] == "co_interaction") == (row["item_id"] in edges)
            linked += row["reason"] == "co_interaction"
    assert linked > len(explained)


def test_without_the_named_items_the_rank_falls(explained):
    carried = [rows for rows in explained.values() if any(row["reason"] != "popular" for row in rows)]
    assert len(carried) > 0.6 * len(explained)
    for rows in carried:
        assert {row["rank_without_all"] > row["rank"] for row in rows} == {True}
        assert min(row["rank_without"] - row["rank"] for row in rows if row["reason"] != "popular") >= 0
    fallen = [rows[0]["rank_without_all"] / rows[0]["rank"] for rows in carried]
    assert np.median(fallen) > 2


def test_ranks_are_those_of_a_warehouse_without_the_events(world, explained):
    """The events are deleted, one reason at a time and then all, and the store is asked again."""
    several = [
        pair for pair, rows in explained.items() if sum(row["reason"] != "popular" for row in rows) > 1
    ]
    pairs = list(dict(several).items())[:3]  # one a user
    assert len(pairs) == 3
    for user, item in pairs:
        rows = [row for row in explained[user, item] if row["reason"] != "popular"]
        for items, expected in [
            ([rows[-1]["item_id"]], rows[-1]["rank_without"]),
            ([row["item_id"] for row in rows], rows[0]["rank_without_all"]),
        ]:
            with rewrite_warehouse(world) as warehouse:
                warehouse.execute(
                    "DELETE FROM interaction_event WHERE user_id = $u AND list_contains($items, item_id)",
                    {"u": user, "items": items},
                )
            with gfm_store.open(world) as store:
                assert rank_of(store, user, item) == expected


def test_somebody_without_history(store):
    item = store.recommend("nobody", 3)["item_id"][2].as_py()
    row = {"reason": "popular", "item_id": item, "share": 1.0, "rank_without": None, "rank": 3}
    rows = store.explain("nobody", item).to_pylist()
    assert [{name: one[name] for name in row} for one in rows] == [row]


def test_somebody_whose_history_is_too_old_is_not_shown_what_they_streamed(store):
    session, (user,) = store._session, store.users().to_pylist()[:1]
    asked = replace(session.users(pa.array([user])), has_history=np.array([False]))
    listed = lists.recommend(session, asked, Wish(k=20))["item_id"].to_pylist()
    assert listed != store.recommend("nobody", 20)["item_id"].to_pylist()  # some of it they have streamed
    ranks = [explain.explain(session, asked, item)["rank"].to_pylist() for item in listed]
    assert ranks == [[rank] for rank in range(1, 21)]


def test_what_cannot_be_explained(store, world):
    with pytest.raises(UsageError, match="knows no item 'x; OR 1=1'"):
        store.explain("nobody", "x; OR 1=1")
    item = store.recommend("nobody", 1)["item_id"][0].as_py()
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute("UPDATE item SET withdrawn_at = '2026-09-01' WHERE item_id = $i", {"i": item})
    with gfm_store.open(world) as changed, pytest.raises(UsageError, match="is not offered"):
        changed.explain("nobody", item)
