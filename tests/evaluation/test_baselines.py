"""The baselines against plain Python and dense algebra, and one contract for all of them."""

from dataclasses import asdict, replace
from datetime import timedelta
from math import isinf, log, sqrt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from worlds import AS_OF, add_events, catalogue, make_warehouse, stream

from gfm_store.evaluation import baselines
from gfm_store.evaluation.baselines import (
    BASELINES,
    EASE,
    IALS,
    Blend,
    ItemKNN,
    Popularity,
    RP3beta,
    SentenceVectors,
    TfIdf,
    item_precision,
)
from gfm_store.evaluation.split import Split, read_split
from gfm_store.warehouse.connection import open_warehouse

NUM_USERS, NUM_ITEMS = 7, 6
KNN, TEXT = ItemKNN(50, 1.0, 30.0, 30.0), TfIdf(1, 30.0)
EVERY = [
    Popularity(7),
    KNN,
    RP3beta(0.7, 0.3, 50, 30.0),
    EASE(2.0, 30.0),
    IALS(4, 0.1, 10.0, np.inf),
    TEXT,
    SentenceVectors(30.0),
    Blend(KNN, TEXT, Popularity(7), 0.3, 0.1),
]
each = pytest.mark.parametrize("baseline", EVERY, ids=[type(one).__name__ for one in EVERY])


def split_of(days, num_users=NUM_USERS, num_items=NUM_ITEMS, text=None, known=None, text_vector=None):
    """A split of {(user, item): days since the last stream}; every user is asked about, and a new one, the last."""
    user, item = ([key[i] for key in days] for i in (0, 1))
    streams = sparse.csr_array((list(map(float, days.values())), (user, item)), shape=(num_users, num_items))
    table = pa.table({"text": text or [""] * num_items, "is_known": known or [True] * num_items})
    return Split(
        as_of=AS_OF,
        horizon_days=14,
        item=table,
        text_vector=np.zeros((num_items, 4), np.float32) if text_vector is None else text_vector,
        streams=streams,
        user_id=pa.array([f"u{i}" for i in range(num_users + 1)]),
        country=pa.nulls(num_users + 1, pa.string()),
        known_user=np.append(np.arange(num_users), -1),
        target_user=np.zeros(1, np.int64),
        target_node=np.zeros(1, np.int64),
    )


def scores_of(baseline, split, users=None):
    return baseline.fit(split)(np.arange(len(split.user_id)) if users is None else np.array(users))


def dense(days, num_users=NUM_USERS, num_items=NUM_ITEMS):
    """X (users, items) of 0 and 1, float64."""
    matrix = np.zeros((num_users, num_items))
    for key in days:
        matrix[key] = 1
    return matrix


def dense_profile(days, half_life):
    """(users + 1, items): what each stream weighs, counted from the user's last one."""
    profile = np.zeros((NUM_USERS + 1, NUM_ITEMS))
    for (user, item), day in days.items():
        newest = min(d for (u, _), d in days.items() if u == user)
        profile[user, item] = 0.5 ** ((day - newest) / half_life)
    return profile


def strongest(square, count):
    """Each row's `count` greatest off the diagonal; of equals the first."""
    kept = np.zeros_like(square)
    for i, row in enumerate(square):
        others = sorted((j for j in range(len(row)) if j != i and row[j] > 0), key=lambda j: (-row[j], j))
        for j in others[:count]:
            kept[i, j] = row[j]
    return kept


days_of_streams = st.dictionaries(
    st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1)),
    st.integers(0, 40).map(float),
    min_size=1,
    max_size=30,
)
half_lives = st.sampled_from([5.0, 40.0, np.inf])


@given(days=days_of_streams, window=st.sampled_from([3, 7.5, 30, np.inf]))
@settings(max_examples=40, deadline=None)
def test_popularity_counts_users_inside_the_window_then_all_of_history(days, window):
    recent = [sum(d <= window for (_, i), d in days.items() if i == item) for item in range(NUM_ITEMS)]
    ever = dense(days).sum(axis=0)
    order = sorted(range(NUM_ITEMS), key=lambda i: (-recent[i], -ever[i], i))
    scores = scores_of(Popularity(window), split_of(days))
    for row in scores:
        assert np.floor(row).tolist() == recent
        assert np.argsort(-row, kind="stable").tolist() == order


@given(
    days=days_of_streams,
    neighbours=st.integers(1, 6),
    shrink=st.sampled_from([0.0, 2.5]),
    stream_half_life=half_lives,
    half_life=half_lives,
)
@settings(max_examples=60, deadline=None)
def test_item_knn_sums_the_strongest_shrunk_cosines(days, neighbours, shrink, stream_half_life, half_life):
    users = [{u for u, i in days if i == item} for item in range(NUM_ITEMS)]
    cosine = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for i in range(NUM_ITEMS):
        for j in range(NUM_ITEMS):
            if users[i] & users[j]:
                shared = sum(0.5 ** (days[u, j] / stream_half_life) for u in users[i] & users[j])
                cosine[i, j] = shared / (sqrt(len(users[i]) * len(users[j])) + shrink)
    found = scores_of(ItemKNN(neighbours, shrink, stream_half_life, half_life), split_of(days))
    values = np.sort(cosine[~np.eye(NUM_ITEMS, dtype=bool)].reshape(NUM_ITEMS, -1), axis=1)
    if neighbours < 5 and np.isclose(np.diff(values), 0, atol=1e-9).any():
        return  # ties within rounding: which neighbour is kept is not told by the figures
    np.testing.assert_allclose(
        found, dense_profile(days, half_life) @ strongest(cosine, neighbours), rtol=1e-5
    )


@given(
    days=days_of_streams,
    alpha=st.sampled_from([0.6, 1.0]),
    beta=st.sampled_from([0.0, 0.4]),
    half_life=half_lives,
)
@settings(max_examples=40, deadline=None)
def test_rp3beta_is_three_steps_of_a_walk(days, alpha, beta, half_life):
    x = dense(days)
    user_degree, item_degree = np.maximum(x.sum(axis=1), 1), np.maximum(x.sum(axis=0), 1)
    to_item, to_user = (x / user_degree[:, None]) ** alpha, (x.T / item_degree[:, None]) ** alpha
    walk = to_user @ to_item / item_degree**beta
    expected = dense_profile(days, half_life) @ strongest(walk, NUM_ITEMS)
    np.testing.assert_allclose(
        scores_of(RP3beta(alpha, beta, NUM_ITEMS, half_life), split_of(days)), expected, rtol=1e-5
    )


def test_rp3beta_keeps_each_rows_strongest():
    days = {(0, 0): 1, (0, 1): 1, (1, 0): 1, (1, 1): 1, (2, 0): 1, (2, 2): 1}
    scores = scores_of(RP3beta(1.0, 0.0, 1, np.inf), split_of(days), [2])
    assert scores[0, 1] > 0  # from item 0; its way to item 2 is the weaker
    assert scores[0, 0] > 0 and scores[0, 2] == 0


def textbook_ease(x, l2):
    """Steck (2019), algorithm 1."""
    p = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    b = p / -np.diag(p)
    np.fill_diagonal(b, 0)
    return b


@given(days=days_of_streams, l2=st.sampled_from([0.5, 20.0]), half_life=half_lives)
@settings(max_examples=40, deadline=None)
def test_ease_is_the_textbook_formula(days, l2, half_life):
    expected = dense_profile(days, half_life) @ textbook_ease(dense(days), l2)
    np.testing.assert_allclose(scores_of(EASE(l2, half_life), split_of(days)), expected, atol=2e-5)


@pytest.mark.parametrize("num_users", [8, 70], ids=["by users", "by items"])
def test_ease_by_users_equals_ease_by_items(num_users, monkeypatch):
    monkeypatch.setattr(baselines, "COLUMNS_AT_ONCE", 7)
    x = np.random.default_rng(0).random((num_users, 30)) < 0.3
    days = {(int(u), int(i)): 0.0 for u, i in zip(*x.nonzero(), strict=True)}
    split = split_of(days, num_users, 30)
    assert (item_precision(split, 3.0).streams is None) == (num_users == 70)
    np.testing.assert_allclose(
        scores_of(EASE(3.0, np.inf), split)[:-1], x @ textbook_ease(x * 1.0, 3.0), atol=1e-5
    )


def test_ease_beyond_its_limit_knows_the_most_streamed_items(monkeypatch):
    monkeypatch.setattr(baselines, "EASE_LIMIT", 3)
    days = {(u, i): 0.0 for i, users in enumerate([2, 5, 1, 4, 3]) for u in range(users)}
    expected = np.zeros((NUM_USERS, NUM_ITEMS))
    x = dense(days)[:, [1, 3, 4]]
    expected[:, [1, 3, 4]] = x @ textbook_ease(x, 1.0)
    np.testing.assert_allclose(scores_of(EASE(1.0, np.inf), split_of(days))[:-1], expected, atol=1e-5)


def test_ials_finds_the_group_of_a_user():
    """Two groups of six users and six items; each user has streamed all items of the group but one."""
    days = {(u, i): 1.0 for u in range(12) for i in range(12) if u % 2 == i % 2 and u // 2 != i // 2}
    scores = scores_of(IALS(4, 0.1, 10.0, np.inf), split_of(days, 12, 12))
    for user in range(12):
        unseen = [i for i in range(12) if (user, i) not in days]
        assert max(unseen, key=lambda i: scores[user, i]) == user


def test_ials_trusts_what_was_streamed_long_ago_more_than_what_never_was(monkeypatch):
    given = []
    fit = baselines.AlternatingLeastSquares.fit
    monkeypatch.setattr(
        baselines.AlternatingLeastSquares,
        "fit",
        lambda self, x, **more: given.append(x) or fit(self, x, **more),
    )
    IALS(4, 0.1, 10.0, 30.0).fit(split_of({(0, 0): 0.0, (0, 1): 30.0, (1, 1): 3000.0}))
    np.testing.assert_allclose(np.sort(given[0].data), [1.0, 6.0, 11.0])


TEXTS = ["red apple", "red pear pear", "", "green apple tart", "apple", "tart zebra red"]


def tf_idf_oracle(known):
    """(N, V) by the definition: (1 + ln count) * (1 + ln((1 + known) / (1 + known with the word))), unit length."""
    words = sorted({word for text, there in zip(TEXTS, known, strict=True) if there for word in text.split()})
    with_word = [sum(w in t.split() for t, there in zip(TEXTS, known, strict=True) if there) for w in words]
    rare = [1 + log((1 + sum(known)) / (1 + count)) for count in with_word]
    rows = np.zeros((len(TEXTS), len(words)))
    for i, text in enumerate(TEXTS):
        for j, word in enumerate(words):
            if count := text.split().count(word):
                rows[i, j] = (1 + log(count)) * rare[j]
    return rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-30)[:, None]


@given(days=days_of_streams, half_life=half_lives, last_is_known=st.booleans())
@settings(max_examples=40, deadline=None)
def test_tf_idf_is_the_cosine_by_words_known_at_the_cut(days, half_life, last_is_known):
    known = [True] * 5 + [last_is_known]
    rows = tf_idf_oracle(known)
    taste = dense_profile(days, half_life) @ rows
    taste /= np.maximum(np.linalg.norm(taste, axis=1), 1e-30)[:, None]
    split = split_of(days, text=TEXTS, known=known)
    np.testing.assert_allclose(scores_of(TfIdf(1, half_life), split), taste @ rows.T, atol=1e-6)


def test_sentence_vectors_are_the_cosine_with_the_profile():
    vector = np.random.default_rng(1).normal(size=(NUM_ITEMS, 4)).astype(np.float32)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    vector[2] = 0
    days = {(0, 0): 3.0, (0, 1): 13.0, (1, 2): 1.0}
    split = split_of(days, text_vector=vector)
    scores = scores_of(SentenceVectors(10.0), split)
    taste = vector[0] + 0.5 * vector[1]
    np.testing.assert_allclose(scores[0], vector @ taste / np.linalg.norm(taste), atol=1e-6)
    assert not scores[1:].any()
    other = replace(split, text_vector=vector[::-1].copy())
    assert not np.allclose(scores_of(SentenceVectors(10.0), other), scores)


@given(days=days_of_streams)
@settings(max_examples=30, deadline=None)
def test_a_blend_of_popularity_alone_ranks_like_popularity(days):
    split = split_of(days, text=TEXTS)
    alone = scores_of(Blend(KNN, TEXT, Popularity(7), 0.0, 0.0), split)
    popular = scores_of(Popularity(7), split)
    np.testing.assert_array_equal(np.argsort(-alone, kind="stable"), np.argsort(-popular, kind="stable"))


def test_a_blend_adds_parts_of_one_scale():
    days = {(0, 0): 1, (0, 1): 2, (1, 0): 3, (1, 4): 50, (2, 1): 1, (2, 3): 5, (2, 5): 2, (3, 3): 4}
    split = split_of(days, text=TEXTS)
    seen = dense(days)[0] > 0
    expected = np.log1p(scores_of(Popularity(7), split, [0])[0])
    expected /= expected.max()
    for part, weight in ((KNN, 0.5), (TEXT, 2.0)):
        mine = np.where(seen, 0, scores_of(part, split, [0])[0])
        expected = expected + weight * mine / mine.max()
    found = scores_of(Blend(KNN, TEXT, Popularity(7), 0.5, 2.0), split)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    popular = np.log1p(scores_of(Popularity(7), split, [NUM_USERS])[0])
    np.testing.assert_allclose(found[NUM_USERS], popular / popular.max(), rtol=1e-6)  # a new user


def test_a_blends_part_that_is_next_to_nothing_counts_in_full():
    """Streams so old that their weight is below what float32 holds exactly."""
    days = {(0, 0): 0, (1, 0): 433, (1, 1): 433, (2, 2): 1}
    blend = Blend(ItemKNN(50, 0.0, 3.0, np.inf), TEXT, Popularity(7), 0.25, 0.0)
    with np.errstate(all="raise", under="ignore"):
        found = scores_of(blend, split_of(days), [0])[0]
    popular = scores_of(replace(blend, item_knn_weight=0.0), split_of(days), [0])[0]
    np.testing.assert_allclose(found - popular, [0, 0.25, 0, 0, 0, 0], atol=1e-6)


def test_only_proportions_of_recency_matter():
    """A user whose last stream is years ago has a profile still."""
    recent = {(0, 0): 1.0, (0, 1): 8.0, (1, 0): 0.0, (1, 2): 0.0}
    old = {key: day + 9000 * (key[0] == 0) for key, day in recent.items()}
    one, other = (scores_of(ItemKNN(50, 0.0, np.inf, 7.0), split_of(days), [0]) for days in (recent, old))
    np.testing.assert_array_equal(one, other)
    assert one.any()


HISTORY = {
    "u": {"p0": 20, "p1": 2},
    "v": {"p0": 5, "p1": 40, "b2": 1},
    "w": {"p0": 50, "b3": 4},
    "x": {"p1": 30},
}
FUTURE = {"u": "b3", "w": "b2", "new": "p0"}


def world(root, history=HISTORY, future=FUTURE, later=()):
    """A warehouse: `later` items come only inside the horizon, p9 never."""
    events = [stream(user, item, day) for user, items in history.items() for item, day in items.items()]
    events += [stream(user, item, -1) for user, item in future.items()]
    events += [stream("new", item, -3) for item in later]
    items = sorted({item for one in history.values() for item in one} | set(future.values()) | {"p9"})
    rows = catalogue(*items, title="a tale of the red sea")
    rows += catalogue(*later, title="zebra", published_at=AS_OF + timedelta(days=2))
    return make_warehouse(root, rows, events)


def vectors_of(texts):
    """(n, 4): the same for the same text."""
    spread = np.array(
        [[len(t), t.count("a"), t.count("e"), 1] for t in texts["text"].to_pylist()], np.float32
    )
    return spread / np.linalg.norm(spread, axis=1, keepdims=True)


def read(root):
    with open_warehouse(root) as warehouse:
        return read_split(warehouse, AS_OF, 14, vectors_of)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The world above."""
    return read(world(tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def with_later(tmp_path_factory):
    """The same with two items that come inside the horizon, one of them of a new type."""
    return read(world(tmp_path_factory.mktemp("later"), later=("p7", "c8")))


@pytest.fixture(scope="module")
def with_more_future(tmp_path_factory):
    """The same with more events after the cut."""
    root = world(tmp_path_factory.mktemp("future"))
    more = [stream("v", "b3", -2), stream("x", "p0", -3), stream("u", "b2", -1), stream("x", "p1", -20)]
    return read(add_events(root, more))


@pytest.fixture(scope="module", params=["a new user", "two users apart", "one type, shared"])
def smallest(request, tmp_path_factory):
    """Worlds in which next to nothing has happened."""
    history, future = {
        "a new user": ({"u": {"p0": 3}}, {"v": "p0"}),
        "two users apart": ({"u": {"p0": 3}, "v": {"b0": 2}}, {"u": "b0"}),
        "one type, shared": ({"u": {"p0": 3}, "v": {"p0": 2}}, {"u": "p9"}),
    }[request.param]
    return read(world(tmp_path_factory.mktemp("smallest"), history, future))


def test_baselines_are_in_the_order_of_tuning():
    assert [type(one) for one in EVERY] == list(BASELINES)
    names = [one.name for one in BASELINES]
    assert len(set(names)) == len(names) and names[0] == "popularity" and names[-1] == "blend"
    assert all(one.about for one in BASELINES)


def test_every_grid_is_small_and_of_distinct_settings():
    tuned = []
    for kind in BASELINES:
        points = list(kind.grid(tuned))
        assert 1 < len(set(points)) == len(points) <= 60, kind.name
        assert all(type(point) is kind and asdict(point) for point in points)
        tuned.append(points[0])


def test_the_blends_grid_takes_the_tuned_parts_and_holds_popularity_alone():
    tuned = [Popularity(7), KNN, TEXT]
    points = list(Blend.grid(tuned))
    assert {(point.item_knn, point.tf_idf) for point in points} == {(KNN, TEXT)}
    assert {point.popularity.days for point in points} == {3, 7, 14}
    assert Blend(KNN, TEXT, Popularity(7), 0.0, 0.0) in points
    assert any(isinf(point.popularity.days) for point in Blend.grid([Popularity(np.inf), KNN, TEXT]))


@each
def test_scores_are_finite_for_every_user_and_item(with_later, baseline):
    assert with_later.item.num_rows == 7 and with_later.known.sum() == 5
    score = baseline.fit(with_later)
    whole = score(np.arange(3))
    assert whole.shape == (3, 7) and whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert np.unique(whole[1]).size > 1
    assert score(np.zeros(0, dtype=np.int64)).shape == (0, 7)
    if baseline.name not in ("popularity", "blend"):
        assert not whole[with_later.user_id.to_pylist().index("new")].any()
    if baseline.name in ("popularity", "ItemKNN", "RP3beta", "EASE", "iALS"):
        assert not whole[:, ~with_later.warm].any()


@each
def test_blocks_of_users_give_the_same_scores(plain, baseline):
    score = baseline.fit(plain)
    whole = score(np.arange(3))
    for block in ([0, 1], [2], [2, 0], [1]):
        np.testing.assert_allclose(score(np.array(block)), whole[block], rtol=1e-6, atol=1e-7)


@each
def test_a_second_fit_gives_the_same_scores(plain, baseline):
    np.testing.assert_array_equal(scores_of(baseline, plain), scores_of(baseline, plain))


@each
def test_events_after_the_cut_change_no_score(plain, with_more_future, baseline):
    assert with_more_future.user_id.to_pylist() == ["new", "u", "v", "w", "x"]
    found = scores_of(baseline, with_more_future, [0, 1, 3])
    np.testing.assert_array_equal(found, scores_of(baseline, plain))


@each
def test_items_of_the_horizon_change_no_score_of_the_others(plain, with_later, baseline):
    there = np.isin(with_later.item["item_id"].to_pylist(), plain.item["item_id"].to_pylist())
    found = scores_of(baseline, with_later)[:, there]
    np.testing.assert_allclose(found, scores_of(baseline, plain), rtol=1e-6, atol=1e-7)


@each
def test_the_smallest_worlds_have_scores(smallest, baseline):
    scores = scores_of(baseline, smallest)
    assert scores.shape == (1, smallest.item.num_rows) and np.isfinite(scores).all()


def test_text_without_any_word_scores_nothing():
    assert not scores_of(TfIdf(2, np.inf), split_of({(0, 0): 1.0})).any()
