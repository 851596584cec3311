"""From scores to lists, against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import hand_split

from gfm_store.evaluation import ranking
from gfm_store.evaluation.ranking import LIST_LENGTH, rank
from gfm_store.evaluation.views import Candidates

NUM_ITEMS = 7


def plain_rank(split, scores, nodes, users, k, new_users=None):
    """{user: best first} the slow way."""
    seen = split.streams.toarray() > 0
    found = {}
    for user in users:
        row = split.known_user[user]
        mine = scores[user] if new_users is None or (row >= 0 and seen[row].any()) else new_users
        allowed = nodes.nonzero()[0] if nodes.ndim == 1 else [node for node in nodes[user] if node >= 0]
        allowed = [int(node) for node in allowed if row < 0 or not seen[row, node]]
        here = split.country[user].as_py()
        markets = split.item["markets"].to_pylist()
        allowed = [node for node in allowed if here is None or not markets[node] or here in markets[node]]
        found[int(user)] = sorted(allowed, key=lambda node: (-mine[node], node))[:k]
    return found


def as_lists(ranked, users):
    """{user: list} without the empty places, which must be at the end."""
    found = {}
    for user in users:
        row = ranked[user].tolist()
        length = sum(node >= 0 for node in row)
        assert row[length:] == [-1] * (len(row) - length)
        found[int(user)] = row[:length]
    return found


@st.composite
def asked_worlds(draw):
    """A split of up to six users in two countries, distinct scores, two sets of candidates and who is asked for in
    each."""
    num_users = draw(st.integers(1, 6))
    known = [draw(st.sampled_from([-1, i])) for i in range(num_users)]
    pairs = st.tuples(st.integers(0, num_users - 1), st.integers(0, NUM_ITEMS - 1))
    seen = draw(st.sets(pairs, max_size=20))
    country = draw(st.lists(st.sampled_from([None, "SE", "DE"]), min_size=num_users, max_size=num_users))
    offers = st.sampled_from([[], ["SE"], ["DE", "SE"], ["FR"]])
    split = hand_split(
        ["p"] * NUM_ITEMS,
        dict.fromkeys(seen, 1.0),
        [(0, 0)],
        known,
        users_before=num_users,
        country=country,
        markets=draw(st.dictionaries(st.integers(0, NUM_ITEMS - 1), offers)),
    )
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = generator.permutation(num_users * NUM_ITEMS).reshape(num_users, NUM_ITEMS).astype(np.float32)
    shared = np.array(draw(st.lists(st.booleans(), min_size=NUM_ITEMS, max_size=NUM_ITEMS)), dtype=bool)
    own = np.full((num_users, draw(st.integers(1, NUM_ITEMS))), -1, dtype=np.int64)
    for row in own:
        some = generator.permutation(NUM_ITEMS)[: generator.integers(0, len(row) + 1)]
        row[: len(some)] = some
    users = [np.array(sorted(draw(st.sets(st.integers(0, num_users - 1)))), dtype=np.int64) for _ in range(2)]
    return split, scores, shared, own, users


@given(world=asked_worlds(), k=st.integers(1, NUM_ITEMS + 2), substitute=st.booleans())
@settings(max_examples=150, deadline=None)
def test_lists_are_those_of_plain_python(world, k, substitute):
    split, scores, shared, own, users = world
    new_users = np.arange(NUM_ITEMS)[::-1].astype(np.float64) if substitute else None
    sets = [Candidates("shared", shared), Candidates("own", own)]
    found = rank(split, sets, users, lambda block: scores[block], new_users, k)
    assert list(found) == ["shared", "own"]
    for one, asked in zip(sets, users, strict=True):
        ranked = found[one.name]
        assert ranked.dtype == np.int32
        assert len(ranked) == len(split.user_id)
        assert as_lists(ranked, asked) == plain_rank(split, scores, one.nodes, asked, k, new_users)
        others = np.setdiff1d(np.arange(len(ranked)), asked)
        assert (ranked[others] == -1).all()


@pytest.fixture
def split():
    return hand_split(
        ["p"] * 5, {(0, 0): 1.0, (0, 3): 2.0, (1, 4): 1.0}, [(0, 1), (1, 0), (2, 0)], [0, 1, -1]
    )


EVERYBODY = np.arange(3)
ALL = Candidates("all", np.ones(5, dtype=bool))
SCORES = np.array([[9, 1, 2, 8, 3], [1, 5, 4, 3, 9], [1, 2, 3, 4, 5]], dtype=np.float32)


def score(users):
    return SCORES[users]


def test_what_was_streamed_is_left_out_and_the_rest_is_by_score(split):
    found = rank(split, [ALL], [EVERYBODY], score)["all"]
    assert found.tolist() == [[4, 2, 1, -1, -1], [1, 2, 3, 0, -1], [4, 3, 2, 1, 0]]


def test_what_is_not_offered_where_the_user_is_is_left_out():
    country = ["SE", "DE", None, "FR"]
    offers = {0: ["SE"], 2: ["DE", "SE"], 3: []}
    split = hand_split(["p"] * 4, {}, [(0, 0)], [-1] * 4, country=country, markets=offers)
    found = rank(
        split, [Candidates("all", np.ones(4, dtype=bool))], [np.arange(4)], lambda u: SCORES[[0] * 4, :4]
    )
    assert found["all"].tolist() == [[0, 3, 2, 1], [3, 2, 1, -1], [0, 3, 2, 1], [3, 1, -1, -1]]


def test_new_users_get_the_scores_that_stand_in(split):
    popular = np.array([5.0, 4.0, 3.0, 9.0, 8.0])
    found = rank(split, [ALL], [EVERYBODY], score, popular)["all"]
    assert found.tolist() == [[4, 2, 1, -1, -1], [1, 2, 3, 0, -1], [3, 4, 0, 1, 2]]


def test_ties_are_ordered_by_node(split):
    found = rank(split, [ALL], [EVERYBODY], lambda users: np.zeros((len(users), 5)))["all"]
    assert found.tolist() == [[1, 2, 4, -1, -1], [0, 1, 2, 3, -1], [0, 1, 2, 3, 4]]


def test_everybody_has_candidates_of_their_own(split):
    own = Candidates("own", np.array([[1, 0, 4], [4, -1, -1], [2, 3, -1]]))
    found = rank(split, [own, ALL], [EVERYBODY, np.array([1])], score)
    # u0 had streamed 0, u1 had streamed the only one.
    assert found["own"].tolist() == [[4, 1, -1], [-1, -1, -1], [3, 2, -1]]
    assert found["all"].tolist() == [[-1] * 5, [1, 2, 3, 0, -1], [-1] * 5]


def test_lists_are_as_long_as_asked_and_no_longer_than_the_candidates(split):
    assert rank(split, [ALL], [EVERYBODY], score, k=2)["all"].tolist() == [[4, 2], [1, 2], [4, 3]]
    few = Candidates("few", np.array([False, True, True, False, False]))
    assert rank(split, [few], [EVERYBODY], score, k=LIST_LENGTH)["few"].tolist() == [[2, 1], [1, 2], [2, 1]]
    none = Candidates("none", np.zeros(5, dtype=bool))
    assert rank(split, [none], [EVERYBODY], score)["none"].shape == (3, 0)


def test_nobody_is_scored_who_is_not_asked_for(split):
    asked = []

    def scorer(users):
        asked.extend(users.tolist())
        return SCORES[users]

    few = Candidates("few", np.array([True, True, False, False, False]))
    found = rank(split, [ALL, few], [np.array([2]), np.array([0, 2])], scorer)
    assert asked == [0, 2]
    assert found["all"].tolist() == [[-1] * 5, [-1] * 5, [4, 3, 2, 1, 0]]
    assert found["few"].tolist() == [[1, -1], [-1, -1], [1, 0]]
    asked.clear()
    nobody = np.zeros(0, dtype=np.int64)
    assert rank(split, [ALL], [nobody], scorer)["all"].tolist() == [[-1] * 5] * 3
    assert asked == []


@pytest.mark.parametrize("scores_at_once", [1, 10, 14, 15])
def test_blocks_of_users_do_not_matter(split, monkeypatch, scores_at_once):
    whole = rank(split, [ALL], [EVERYBODY], score)["all"]
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", scores_at_once)
    blocks = []

    def scorer(users):
        blocks.append(len(users))
        return SCORES[users]

    np.testing.assert_array_equal(rank(split, [ALL], [EVERYBODY], scorer)["all"], whole)
    assert blocks == {1: [1, 1, 1], 10: [2, 1], 14: [2, 1], 15: [3]}[scores_at_once]


def test_a_short_list_is_the_beginning_of_a_long_one_where_scores_tie():
    size = 200
    split = hand_split(["p"] * size, {(0, 0): 1.0}, [(0, 1)], [-1])
    everything = Candidates("all", np.ones(size, dtype=bool))

    def scorer(users):
        return np.tile(np.arange(size) % 7 == 0, (len(users), 1)).astype(np.float32)

    found = [rank(split, [everything], [np.array([0])], scorer, k=k)["all"][0] for k in (10, 100)]
    assert found[0].tolist() == list(range(0, 70, 7))
    assert found[1][:10].tolist() == found[0].tolist()
