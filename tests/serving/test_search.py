"""Search: names exactly, meaning in several languages, filters first, and a query personalised by a user."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import gfm_store
from gfm_store.errors import UsageError
from gfm_store.schema import FOUND_ITEM
from gfm_store.warehouse.sample.truth import truth_folder
from gfm_store.warehouse.sample.vocabulary import LANGUAGES, topics


@pytest.fixture(scope="module")
def store(published):
    with gfm_store.open(published) as opened:
        yield opened


@pytest.fixture(scope="module")
def items(store):
    return store.sql(
        "SELECT item_embedding.* FROM item_embedding JOIN retrieval USING (item_id) ORDER BY item_id"
    ).to_pylist()


def test_columns_and_ranks(store):
    found = store.search("history of the roman empire", k=7)
    assert found.schema == FOUND_ITEM
    assert found["rank"].to_pylist() == list(range(1, 8))
    assert (np.diff(found["score"].to_numpy()) <= 0).all()
    assert set(found["embedding_version"].to_pylist()) == {store.version}


def test_every_creator_s_name_finds_the_creator(store, items):
    creators = sorted({row["creator"] for row in items if row["creator"]})
    creator = {row["item_id"]: row["creator"] for row in items}
    first = [creator[store.search(name.upper(), 1)["item_id"][0].as_py()] == name for name in creators]
    assert np.mean(first) > 0.95


def test_titles_are_found_with_or_without_accents_and_points(store, items):
    titles = {row["title"] for row in items if row["title"]}
    for title in sorted(titles)[:20]:
        assert store.search(f"{title.lower()}!", 1)["title"][0].as_py() in (title, *titles - {title})
        assert title in store.search(f"{title.lower()}!", 3)["title"].to_pylist()
    accented = next(title for title in sorted(titles) if "ä" in title)
    assert accented in store.search(accented.replace("ä", "a"), 5)["title"].to_pylist()


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_a_topic_find_it_in_every_language(store, published, language):
    truth = pq.read_table(truth_folder(published) / "item.parquet")
    topic = {
        item: {scene // 3 for scene in scenes if scene >= 0}
        for item, scenes in zip(truth["item_id"].to_pylist(), truth["scene"].to_pylist(), strict=True)
    }
    available = set(
        store.sql("SELECT item_id FROM retrieval WHERE language = $l", {"l": language})["item_id"].to_pylist()
    )
    asked = [i for i, _ in enumerate(topics()) if any(i in topic[item] for item in available)]
    best = []
    for i in asked:
        words = topics()[i].words[language]
        found = store.search(" ".join(words[:6]), 1)["item_id"][0].as_py()
        best.append(i in topic[found])
    assert np.mean(best) >= 0.7


def test_meaning_finds_what_shares_no_word(store, items):
    text = {row["item_id"]: f"{row['title']} {row['description']} {row['genres']}".lower() for row in items}
    query = "automobiles"
    assert not any(query in one for one in text.values())
    assert store.search(query, 5).num_rows == 5


def test_filters_come_before_the_search(store, items):
    every = store.search("sea and ships", 10_000)
    assert every.num_rows == len(items)
    language = {row["item_id"]: row["language"] for row in items}
    swedish = [row["item_id"] for row in every.to_pylist() if language[row["item_id"]] == "sv"]
    assert store.search("sea and ships", 4, languages="sv")["item_id"].to_pylist() == swedish[:4]


def test_a_user_s_taste_joins(store):
    user = store.sql(
        "SELECT user_id FROM interaction_event WHERE event_type = 'stream' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    )["user_id"][0].as_py()
    wanted = store.recommend(user, 200, include_seen=True)["item_id"].to_pylist()

    def agreement(found):
        """Rank correlation with what the user is recommended."""
        place = [wanted.index(item) for item in found["item_id"].to_pylist() if item in wanted]
        return np.corrcoef(np.argsort(np.argsort(place)), np.arange(len(place)))[0, 1]

    plain, personal = (agreement(store.search("music", 100, user=who)) for who in (None, user))
    assert personal > plain + 0.1
    assert store.search("music", 5, user="nobody").equals(store.search("music", 5))


@pytest.mark.parametrize(
    "query", ['"quoted" AND (NOT x*)^2', "'; DROP TABLE item; --", "title:x -y +z", "%_\\", "\x00", "🎧"]
)
def test_a_query_is_words_never_syntax(store, query):
    assert store.search(query, 3).num_rows == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, "the query is empty"),
        ({"query": " \n"}, "the query is empty"),
        ({"query": None}, "the query must be one text"),
        ({"query": "word " * 10_000}, "the query has 10,000 words; at most 1,000"),
        ({"query": "sea", "k": 0}, "k is 0"),
        ({"query": "sea", "languages": "xx"}, "unknown language 'xx'"),
        ({"query": "sea", "item_type": "x' OR 1=1"}, "unknown item type"),
        ({"query": "sea", "user": 5}, "user must be one text"),
    ],
)
def test_bad_queries(store, arguments, message):
    with pytest.raises(UsageError) as error:
        store.search(**arguments)
    assert message in str(error.value)
