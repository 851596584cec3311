"""Filters of lists: what may stand in them is decided before the search, so k rows come whenever k exist."""

from datetime import datetime

import numpy as np
import pytest

import gfm_store
from gfm_store.errors import UsageError
from gfm_store.serving.filters import ItemFilter
from gfm_store.warehouse.connection import rewrite_warehouse

ALL = 1_000


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def items(store):
    """The catalogue's own columns by item_id, of what is available."""
    rows = store.sql("SELECT item_embedding.* FROM item_embedding JOIN retrieval USING (item_id)").to_pylist()
    return {row["item_id"]: row for row in rows}


@pytest.fixture(scope="module")
def user(store):
    """Somebody whose country is known and who streamed a good deal."""
    query = """
        SELECT user_id FROM interaction_event JOIN user_profile USING (user_id)
        WHERE country IS NOT NULL AND event_type = 'stream' GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT 1
    """
    return store.sql(query)["user_id"][0].as_py()


@pytest.fixture(scope="module")
def every(store, user):
    """The user's whole list, best first."""
    return store.recommend(user, k=ALL)["item_id"].to_pylist()


def ids(table):
    return table["item_id"].to_pylist()


@pytest.mark.parametrize("k", [3, ALL])
def test_a_filtered_list_is_the_whole_one_without_the_others(store, user, every, items, k):
    creator = items[every[20]]["creator"]
    after = datetime(2026, 8, 15)
    newer = [i for i in every if items[i]["published_at"] and items[i]["published_at"] > after]
    assert 3 < len(newer) < len(every)
    asked = {
        "languages": (["de", "sv"], [i for i in every if items[i]["language"] in ("de", "sv")]),
        "creators": (creator, [i for i in every if items[i]["creator"] == creator]),
        "published_after": (after, newer),
        "exclude": ([*every[:2], "retired long ago"], every[2:]),
        "item_type": (["music", "audiobook"], [i for i in every if items[i]["item_type"] != "podcast"]),
    }
    for name, (value, expected) in asked.items():
        assert ids(store.recommend(user, k, **{name: value})) == expected[:k], name
    assert ids(store.recommend(user, k, published_after=after.isoformat())) == newer[:k]
    dated = [i for i in every if items[i]["published_at"]]  # works may be older than events
    assert ids(store.recommend(user, k, published_after="1605-01-16")) == dated[:k]


def test_filters_hold_together_and_for_users_without_history(store, items):
    lists = store.recommend(["nobody", "else"], ALL, languages="en", item_type="podcast")
    expected = {i for i, row in items.items() if row["language"] == "en" and row["item_type"] == "podcast"}
    assert set(ids(lists)) == expected
    assert lists.num_rows == 2 * len(expected)


def test_a_cap_per_creator_keeps_the_best_of_each(store, user, every, items):
    expected, counts = [], {}
    for item in every:
        creator = items[item]["creator"]
        counts[creator] = counts.get(creator, 0) + 1
        if creator is None or counts[creator] <= 2:
            expected.append(item)
    assert len(expected) < len(every)
    for k in (5, ALL):
        capped = store.recommend([user, "nobody"], k, max_per_creator=2)
        assert ids(capped)[: len(expected[:k])] == expected[:k]
        assert capped["rank"].to_pylist()[: len(expected[:k])] == list(range(1, len(expected[:k]) + 1))


def test_diversity_brings_unlike_items_together(store, user, every):
    plain, some, diverse = (ids(store.recommend(user, 10, diversity=d)) for d in (0.0, 0.5, 0.9))
    vector = store._session.bound.search_vector[:, :-1]
    row = {item: i for i, item in enumerate(store._session.bound.retrieval["item_id"].to_pylist())}

    def likeness(listed):
        vectors = vector[[row[item] for item in listed]]
        return (vectors @ vectors.T)[np.triu_indices(len(listed), 1)].mean()

    assert diverse[0] == plain[0]
    assert len(set(diverse)) == 10
    assert set(diverse) <= set(every)
    assert likeness(diverse) < likeness(some) < likeness(plain)
    assert ids(store.recommend(user, 10, diversity=1e-9)) == plain
    assert set(ids(store.recommend(user, ALL, diversity=0.5))) == set(every)


def test_markets_count_where_both_are_known(world, user):
    with rewrite_warehouse(world) as warehouse:
        country = warehouse.scalar("SELECT country FROM user_profile WHERE user_id = $u", u=user)
        listed = warehouse.scalar(
            "SELECT any_value(user_id) FROM user_profile WHERE country IS DISTINCT FROM $c", c=country
        )
        warehouse.execute("UPDATE user_profile SET country = NULL WHERE user_id = $u", {"u": listed})
    with gfm_store.open(world) as store:
        closed = store.sql(
            "SELECT item_id FROM item WHERE markets IS NOT NULL AND NOT list_contains(markets, $c)",
            {"c": country},
        )["item_id"].to_pylist()
        there, anywhere = (set(ids(store.recommend(one, ALL, include_seen=True))) for one in (user, listed))
    assert len(set(closed) & anywhere) > 5
    assert anywhere - there == set(closed) & anywhere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": "xx"}, "unknown language 'xx'; there are: de, en, es, fr, sv"),
        ({"languages": ["en", "' OR 1=1 --"]}, 'unknown language "\' OR 1=1 --"'),
        ({"creators": "nobody'; DROP TABLE item"}, "unknown creator"),
        ({"item_type": ["music", "film"]}, "unknown item type 'film'"),
        ({"item_type": 7}, "item type must be text"),
        ({"published_after": "soon"}, "published_after: 'soon' is not a moment"),
        ({"published_after": 2026}, "published_after: 2026 is not a moment"),
        ({"exclude": [1]}, "excluded item must be text"),
        ({"max_per_creator": 0}, "max_per_creator is 0"),
        ({"diversity": 1.5}, "diversity is 1.5"),
        ({"k": 2.5}, "k is 2.5; it must be a whole number"),
        ({"k": -1}, "k is -1"),
    ],
)
def test_bad_wishes(store, arguments, message):
    with pytest.raises(UsageError) as error:
        store.recommend("nobody", **arguments)
    assert message in str(error.value)


def test_filters_that_pass_the_same_are_equal():
    one = ItemFilter(item_type="music", languages=["sv"], published_after="2026-01-31T06:00")
    other = ItemFilter(["music"], "sv", published_after=datetime(2026, 1, 31, 6), exclude=["an item"])
    assert one.asked() == other.asked()
    assert len({one.asked(), other.asked(), ItemFilter("music").asked()}) == 2


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, "1.0"),
        ({"exclude": ["an item"]}, "1.0"),
        ({"languages": "sv", "item_type": ["music"]}, "item_type = music and language = sv"),
        ({"languages": ["sv", "de"], "item_type": "music"}, None),
        ({"creators": "somebody"}, None),
        ({"item_type": "music", "published_after": "2026-01-31"}, None),
    ],
)
def test_an_index_knows_the_filters_that_it_measures_by_name(asked, name):
    assert ItemFilter(**asked).asked().name == name
