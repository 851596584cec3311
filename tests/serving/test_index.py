"""A store whose version has an index answers as one without it does."""

import numpy as np
import pytest

import gfm_store
from gfm_store.lifecycle.refresh import refresh_dynamic


@pytest.fixture(scope="module")
def both(published, tmp_path_factory, quick):
    """Stores on the same events, exact and with lists of ten items."""
    import shutil

    root = tmp_path_factory.mktemp("indexed") / "warehouse"
    shutil.copytree(published, root, symlinks=True)
    serving = quick.serving.model_copy(update={"index_rows": 10, "index_recall": 0.95})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gfm_store.serving.partition.LISTS_PER_ROOT", 1)
        patch.setattr("gfm_store.serving.index_choice.WORTH", 1)
        refresh_dynamic(root, quick.model_copy(update={"serving": serving}))
    with gfm_store.open(published) as exact, gfm_store.open(root) as indexed:
        yield exact, indexed


def test_lists_agree(both):
    exact, indexed = both
    columns = "index_kind, index_recall, validation_ndcg"
    record = indexed.sql(f"SELECT {columns} FROM version ORDER BY built_at").to_pylist()[-1]
    assert 0 < record["validation_ndcg"] < 1
    assert record["index_kind"] == "ivf_flat"
    assert record["index_recall"] >= 0.95
    users = exact.users().to_pylist()[:60]
    creators = exact.sql("SELECT DISTINCT creator FROM item ORDER BY creator LIMIT 9")["creator"].to_pylist()
    best = exact.recommend(users, 3)["item_id"].unique().to_pylist()
    for asked in (
        {},
        {"item_type": "audiobook"},
        {"item_type": ["music", "podcast"], "languages": ["sv", "de"]},
        {"languages": "sv"},
        {"include_seen": True},
        {"creators": creators, "include_seen": True},
        {"published_after": "2026-06-01"},
        {"exclude": [*best, *best, "unknown"]},
    ):
        same = []
        for user in users:
            one, other = (store.recommend(user, 10, **asked).to_pylist() for store in both)
            assert len(one) == len(other) > 0
            assert not {row["item_id"] for row in other} & set(asked.get("exclude", ()))
            same.append(np.mean([row["item_id"] in {item["item_id"] for item in other} for row in one]))
        assert np.mean(same) > 0.9
    assert indexed.recommend(users, 10)["item_id"] == exact.recommend(users, 10)["item_id"]


def test_what_goes_through_all_items_is_the_same(both):
    exact, indexed = both
    user = exact.users()[3].as_py()
    item = exact.recommend(user, 1)["item_id"][0].as_py()
    for ask in (
        lambda store: store.similar_items(item, 10),
        lambda store: store.search("sea and ships", 10),
        lambda store: store.explain(user, item),
        lambda store: store.recommend(user, 10, max_per_creator=1),
        lambda store: store.recommend("nobody", 10, languages="en"),
    ):
        one, other = ask(exact).to_pylist(), ask(indexed).to_pylist()
        drop = {"embedding_version", "score", "share"}
        assert [{k: v for k, v in row.items() if k not in drop} for row in one] == [
            {k: v for k, v in row.items() if k not in drop} for row in other
        ]
