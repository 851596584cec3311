"""Similar items: like in text and in listeners, across types; on the made world, of the same hidden scenes."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import gfm_store
from gfm_store.dynamic_layer.similarity import as_query, similarity_vectors
from gfm_store.errors import UsageError
from gfm_store.schema import SIMILAR_ITEM
from gfm_store.warehouse.connection import rewrite_warehouse
from gfm_store.warehouse.sample.truth import truth_folder


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def items(store):
    return store.sql("SELECT item_id FROM retrieval ORDER BY item_id")["item_id"].to_pylist()


def test_columns_and_ranks(store, items):
    found = store.similar_items(items[:2], 4)
    assert found.schema == SIMILAR_ITEM
    assert found["query_item_id"].to_pylist() == [items[0]] * 4 + [items[1]] * 4
    assert found["rank"].to_pylist() == [1, 2, 3, 4] * 2
    assert (np.diff(found["score"].to_numpy().reshape(2, 4)) <= 0).all()
    assert not {items[0]} & set(found["item_id"].to_pylist()[:4])
    assert set(found["embedding_version"].to_pylist()) == {store.version}


def test_filters_and_k_beyond_the_catalogue(store, items):
    every = store.similar_items(items[0], 10_000)
    assert every.num_rows == len(items) - 1
    podcasts = [row["item_id"] for row in every.to_pylist() if row["item_type"] == "podcast"]
    assert store.similar_items(items[0], 5, item_type="podcast")["item_id"].to_pylist() == podcasts[:5]
    assert (
        store.similar_items(items[0], 5, item_type="podcast", exclude=podcasts[0])["item_id"][0].as_py()
        == podcasts[1]
    )


def test_a_withdrawn_item_is_not_found_but_may_be_asked_for(world, items):
    with gfm_store.open(world) as store:
        first = store.similar_items(items[0], 1)["item_id"][0].as_py()
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute("UPDATE item SET withdrawn_at = '2026-09-01' WHERE item_id = $i", {"i": first})
    with gfm_store.open(world) as store:
        assert first not in store.similar_items(items[0], 200)["item_id"].to_pylist()
        assert store.similar_items(first, 5).num_rows == 5


def test_of_the_same_hidden_topic(store, items, published):
    """Scenes are known to nothing but the generator; chance finds the same topic one time in twelve."""
    truth = pq.read_table(truth_folder(published) / "item.parquet")
    topic = {
        item: {scene // 3 for scene in scenes if scene >= 0}
        for item, scenes in zip(truth["item_id"].to_pylist(), truth["scene"].to_pylist(), strict=True)
    }

    def share(found):
        return np.mean(
            [bool(topic[row["query_item_id"]] & topic[row["item_id"]]) for row in found.to_pylist()]
        )

    chance = np.mean([bool(topic[a] & topic[b]) for a in items for b in items if a != b])
    assert share(store.similar_items(items, 3)) > 2.5 * chance
    music = [item for item in items if item.startswith("music")]
    assert share(store.similar_items(music, 3, item_type="podcast")) > 2 * chance


def test_the_space_is_the_mean_of_both_cosines():
    rng = np.random.default_rng(0)
    text, behaviour = (rng.normal(size=(5, d)).astype(np.float32) for d in (6, 4))
    behaviour[3] = 0  # nobody streamed it yet
    vectors = similarity_vectors(text, behaviour)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosine = [
        part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9) for part in (text, behaviour)
    ]
    expected = sum(part @ part.T for part in cosine) / 2
    assert np.allclose(as_query(vectors) @ vectors.T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": "nothing"}, "knows no item 'nothing'"),
        ({"items": "x'; DROP TABLE item; --"}, "knows no item"),
        ({"items": ["podcast-01", ""]}, "knows no item ''"),
        ({"items": "podcast-01", "k": 0}, "k is 0"),
        ({"items": "podcast-01", "item_type": "film"}, "unknown item type 'film'"),
        ({"items": None}, "items must be text"),
    ],
)
def test_bad_requests(store, arguments, message):
    with pytest.raises(UsageError) as error:
        store.similar_items(**arguments)
    assert message in str(error.value)
