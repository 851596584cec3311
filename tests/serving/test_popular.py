"""Lists for users without a history: their country's, in its languages, blended with what is new."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from worlds import AS_OF, add_events, ago, catalogue, make_warehouse, stream

import gfm_store
from gfm_store.lifecycle.refresh import refresh_dynamic
from gfm_store.serving.popular import Popularity


@pytest.fixture(scope="module")
def root(tmp_path_factory, quick):
    """Everybody streams p1, Sweden s1; p2 and p3 are streamed alike."""
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


def test_country_and_language_decide(root):
    with gfm_store.open(root) as store:
        lists = {
            who: store.recommend(who, 10)["item_id"].to_pylist()
            for who in ("new-US", "new-SE", "new-XX", "?")
        }
        assert set(store.recommend(list(lists), 1)["source"].to_pylist()) == {"popular"}
    assert lists["new-US"][0] == "p1" and set(lists["new-US"][1:3]) == {"p2", "p3"}
    assert lists["new-SE"][0] == "s1"
    assert lists["new-XX"] == lists["?"]
    assert all("p4" not in listed for listed in lists.values())
    assert all(len(listed) == 5 for listed in lists.values())


def test_streams_of_the_country_and_what_is_expected_of_anybody_by_hand():
    """Two English items and a Swedish one. The US stream the first two alike: what is expected more of comes first,
    and how new an item is is among what the model expects by. Sweden streams the third and a little the first."""
    streams = [("US", 0, 50), ("US", 1, 50), ("SE", 2, 75), ("SE", 0, 25)]
    recent = pa.table(dict(zip(("country", "node", "n_streams"), zip(*streams, strict=True), strict=True)))
    language = pa.array(["en", "en", "sv"]).dictionary_encode()
    listed = np.ones(3, dtype=bool)
    popularity = Popularity(np.log([5.0, 3.0, 2.0]).astype(np.float32), language, recent, listed)
    np.testing.assert_allclose(popularity.scores(None), [0.5, 0.3, 0.2], rtol=1e-5)
    np.testing.assert_allclose(popularity.scores("XX"), [0.5, 0.3, 0.2], rtol=1e-5)
    # English is 100% of what the US stream, 62.5% anywhere: 1.6 times. The prior is .8, .48, 0, over their sum.
    us = [(50 + 100 * 0.625) / 200, (50 + 100 * 0.375) / 200, 0.0]
    np.testing.assert_allclose(popularity.scores("US"), us, rtol=1e-5)
    # In Sweden 25% over 62.5%, and 75% over 37.5%: 0.4 and 2 times. The prior is .2, .12, .4, over their sum.
    se = [(25 + 100 * 0.2 / 0.72) / 200, 100 * 0.12 / 0.72 / 200, (75 + 100 * 0.4 / 0.72) / 200]
    np.testing.assert_allclose(popularity.scores("SE"), se, rtol=1e-5)


def test_what_was_streamed_after_the_refresh_counts(root, tmp_path):
    with gfm_store.open(root) as store:
        before = store.recommend("new-SE", 10)["item_id"].to_pylist()
        vector = store.version
    add_events(root, [(f"SE{i % 40}", "s2", "stream", AS_OF + timedelta(minutes=i)) for i in range(400)])
    with gfm_store.open(root) as store:
        assert store.version == vector
        assert store.recommend("new-SE", 10)["item_id"].to_pylist().index("s2") < before.index("s2")
