"""Lists for users without a history: their country's, in its languages, blended with what is new."""

from datetime import timedelta

import pytest
from worlds import AS_OF, add_events, ago, catalogue, make_warehouse, stream

import gfm_store
from gfm_store.lifecycle.refresh import refresh_dynamic


@pytest.fixture(scope="module")
def root(tmp_path_factory, quick):
    """Everybody streams p1, Sweden s1; p2 and p3 are streamed alike, p3 is new."""
    items = catalogue("p1", "p2", language="en", published_at=ago(300)) + catalogue("s1", "s2", language="sv")
    items += catalogue("p3", language="en", published_at=ago(1)) + catalogue("p4", withdrawn_at=ago(1))
    users = [{"user_id": f"{c}{i}", "country": c} for c in ("US", "SE") for i in range(40)]
    users += [{"user_id": f"new-{c}", "country": c} for c in ("US", "SE", "XX")]
    events = []
    for i in range(40):
        events += [stream(f"US{i}", "p1", 2 + i % 5), stream(f"US{i}", "p4", 3)]
        events += [stream(f"SE{i}", "s1", 2 + i % 5)] + [stream(f"SE{i}", "p1", 4)] * (i < 20)
        events += [stream(f"US{i}", "p2", 1), stream(f"US{i}", "p3", 0.5)] * (i < 15) + [
            stream(f"SE{i}", "s2", 6)
        ] * (i < 3)
    root = make_warehouse(tmp_path_factory.mktemp("popular"), items, sorted(set(events)), users)
    refresh_dynamic(root, quick)
    return root


def test_country_and_language_decide_then_freshness(root):
    with gfm_store.open(root) as store:
        lists = {
            who: store.recommend(who, 10)["item_id"].to_pylist()
            for who in ("new-US", "new-SE", "new-XX", "?")
        }
        assert set(store.recommend(list(lists), 1)["source"].to_pylist()) == {"popular"}
    assert lists["new-US"][:3] == ["p1", "p3", "p2"]  # p3 is as much streamed as p2, and new
    assert lists["new-SE"][0] == "s1"
    assert lists["new-XX"] == lists["?"]
    assert all("p4" not in listed for listed in lists.values())
    assert all(len(listed) == 5 for listed in lists.values())


def test_what_was_streamed_after_the_refresh_counts(root, tmp_path):
    with gfm_store.open(root) as store:
        before = store.recommend("new-SE", 10)["item_id"].to_pylist()
        vector = store.version
    add_events(root, [(f"SE{i % 40}", "s2", "stream", AS_OF + timedelta(minutes=i)) for i in range(400)])
    with gfm_store.open(root) as store:
        assert store.version == vector
        assert store.recommend("new-SE", 10)["item_id"].to_pylist().index("s2") < before.index("s2")
