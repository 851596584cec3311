"""Views and candidates: who is measured, by which targets, against which items."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import add_events, catalogue, hand_split, make_warehouse, split_at, stream

from gfm_store.evaluation.views import candidate_sets, first_targets, popularity_fifth, views

#        0          1          2          3       4       5       6          7       8       9
TYPES = ["podcast", "podcast", "podcast", "book", "book", "book", "podcast", "book", "podcast", "film"]


@pytest.fixture
def split():
    """Node 6 and 7 are cold, 8 and 9 come later, 2 is withdrawn. u0 and u1 are warm, u2 a previewer, u3 new."""
    return hand_split(
        TYPES,
        {(0, 0): 3.0, (0, 3): 5.0, (1, 1): 2.0, (3, 2): 1.0, (3, 4): 1.0, (3, 5): 1.0},
        [
            *((0, node) for node in (8, 1, 6, 2, 4, 7, 5)),
            *((1, node) for node in (3, 0, 9, 4)),
            *((2, node) for node in (6, 0)),
            *((3, node) for node in (4, 3, 5, 0, 1)),
        ],
        [0, 1, 2, -1],
        unavailable=[2],
        cold=[6, 7],
        later=[8, 9],
    )


def of(split, name):
    """Targets of a view as {user: [nodes]}."""
    view = next(one for one in views(split) if one.name == name)
    found = {}
    for user, node in zip(split.target_user[view.target], split.target_node[view.target], strict=True):
        found.setdefault(int(user), []).append(int(node))
    assert view.users(split).tolist() == sorted(found)
    return found


def nodes(split, name):
    return next(one for one in candidate_sets(split) if one.name == name).nodes.nonzero()[0].tolist()


def test_every_view_is_there_once_the_headline_first_and_its_candidates_too(split):
    found = views(split)
    assert [one.name for one in found] == [
        "headline", "first", "all", "warm users", "new users",
        "type:book", "new to book", "type:podcast", "new to podcast",
        *(f"popularity {i}/5" for i in range(1, 6)),
        "cold", "cold among all", "cold, catalogue known", "cold among all, catalogue known",
    ]  # fmt: skip
    sets = [one.name for one in candidate_sets(split)]
    assert sets == [
        "available", "type:book", "type:podcast", "cold", "cold, catalogue known", "all, catalogue known"
    ]  # fmt: skip
    assert {one.candidates for one in found} == set(sets)


def test_candidates(split):
    assert nodes(split, "available") == [0, 1, 3, 4, 5, 6, 7]
    assert nodes(split, "type:book") == [3, 4, 5, 7]
    assert nodes(split, "type:podcast") == [0, 1, 6]
    assert nodes(split, "cold") == [6, 7]
    assert nodes(split, "cold, catalogue known") == [6, 7, 8, 9]
    assert nodes(split, "all, catalogue known") == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_headline_first_and_all_count_warm_available_targets(split):
    assert of(split, "all") == {0: [1, 4, 5], 1: [3, 0, 4], 2: [0], 3: [4, 3, 5, 0, 1]}
    assert of(split, "headline") == of(split, "all")  # nobody has more than five
    assert of(split, "first") == {0: [1], 1: [3], 2: [0], 3: [4]}


def test_the_headline_is_the_first_five_of_those_that_count():
    split = hand_split(
        ["p"] * 9,
        {(0, i): 1.0 for i in range(8)},
        [(0, 8), *((0, i) for i in (7, 3, 0, 1, 2, 6, 4)), (1, 5)],
        [-1, 0],
        cold=[8],
    )
    assert of(split, "headline") == {0: [7, 3, 0, 1, 2], 1: [5]}
    assert of(split, "all") == {0: [7, 3, 0, 1, 2, 6, 4], 1: [5]}
    assert of(split, "first") == {0: [7], 1: [5]}


def test_users_are_warm_by_any_event_and_new_by_none(split):
    assert of(split, "warm users") == {0: [1, 4, 5], 1: [3, 0, 4], 2: [0]}
    assert of(split, "new users") == {3: [4, 3, 5, 0, 1]}


def test_each_type_is_ranked_by_itself(split):
    assert of(split, "type:podcast") == {0: [1], 1: [0], 2: [0], 3: [0, 1]}
    assert of(split, "type:book") == {0: [4, 5], 1: [3, 4], 3: [4, 3, 5]}


def test_new_to_a_type_is_who_has_events_and_no_stream_of_it(split):
    # u0 streamed both types, u1 podcasts alone, u2 only previewed, u3 is new altogether.
    assert of(split, "new to book") == {1: [3, 4]}
    assert of(split, "new to podcast") == {2: [0]}


def test_the_first_five_of_a_type_are_counted_within_the_type():
    types = ["p"] * 7 + ["b"] * 7
    mixed = [0, 7, 1, 2, 8, 3, 4, 9, 5, 6, 10, 11, 12]
    split = hand_split(types, {(0, i): 1.0 for i in range(14)}, [(0, node) for node in mixed], [-1])
    assert of(split, "headline") == {0: [0, 7, 1, 2, 8]}
    assert of(split, "type:p") == {0: [0, 1, 2, 3, 4]}
    assert of(split, "type:b") == {0: [7, 8, 9, 10, 11]}


def test_cold_items_are_counted_apart(split):
    assert of(split, "cold") == of(split, "cold among all") == {0: [6, 7], 2: [6]}
    later = {0: [8, 6, 7], 1: [9], 2: [6]}
    assert of(split, "cold, catalogue known") == of(split, "cold among all, catalogue known") == later
    chosen = {one.name: one.candidates for one in views(split) if one.name.startswith("cold")}
    assert chosen == {
        "cold": "cold",
        "cold among all": "available",
        "cold, catalogue known": "cold, catalogue known",
        "cold among all, catalogue known": "all, catalogue known",
    }


def test_what_is_known_in_hindsight_is_labelled_so(split):
    for view in views(split):
        hindsight = "catalogue known" in view.name
        assert ("The catalogue is taken as known" in view.about) == hindsight
        assert ("upper bound" in view.about) == hindsight
        assert ("catalogue known" in view.title) == hindsight


@pytest.mark.parametrize(
    ("counts", "fifths"),
    [
        # 20 streams: a fifth is 4. An item is where the streams before it end.
        ([8, 4, 2, 2, 1, 1, 1, 1], [0, 2, 3, 3, 4, 4, 4, 4]),
        ([1, 1, 1, 1, 2, 2, 4, 8], [4, 4, 4, 4, 3, 3, 2, 0]),
        ([2, 2, 2, 2, 2], [0, 1, 2, 3, 4]),
        ([4, 0, 1], [0, -1, 4]),
        ([3, 3], [0, 2]),
        ([7], [0]),
    ],
)
def test_popularity_fifths_by_hand(counts, fifths):
    streams = {(user, node): 1.0 for node, count in enumerate(counts) for user in range(count)}
    cold = [node for node, count in enumerate(counts) if not count]
    split = hand_split(["p"] * len(counts), streams, [(0, 0)], [-1], cold=cold)
    assert popularity_fifth(split).tolist() == fifths
    target = {i: of(split, f"popularity {i + 1}/5") for i in range(5)}
    assert target == {i: {0: [0]} if i == fifths[0] else {} for i in range(5)}


def test_an_item_with_weak_events_alone_is_warm_and_among_the_least_streamed():
    split = hand_split(["p"] * 3, {(0, 0): 1.0, (1, 0): 1.0}, [(0, 1)], [-1], cold=[2])
    assert popularity_fifth(split).tolist() == [0, 4, -1]


def test_without_any_stream_before_the_cut_there_are_still_fifths():
    split = hand_split(["p", "p"], {}, [(0, 1)], [-1], users_before=1)
    assert popularity_fifth(split).tolist() == [0, 0]
    assert of(split, "headline") == {0: [1]}


def test_popularity_views_part_the_headline(split):
    parts = [next(v for v in views(split) if v.name == f"popularity {i}/5").target for i in range(1, 6)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), views(split)[0].target.astype(int))


@given(user_of=st.lists(st.integers(0, 3), max_size=20).map(sorted), data=st.data(), count=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_first_targets_against_plain_python(user_of, data, count):
    among = data.draw(st.lists(st.booleans(), min_size=len(user_of), max_size=len(user_of)))
    split = hand_split(["p"], {(0, 0): 1.0}, [(user, 0) for user in user_of], [-1] * 4)
    taken = dict.fromkeys(range(4), 0)
    expected = []
    for user, counts in zip(user_of, among, strict=True):
        expected.append(counts and taken[user] < count)
        taken[user] += counts
    assert first_targets(split, np.array(among, dtype=bool), count).tolist() == expected


def test_one_type_has_no_views_by_type(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2"), [stream("x", "p1", 2), stream("u", "p1", -1)])
    split = split_at(tmp_path)
    assert not [one.name for one in views(split) if "type:" in one.name or "new to" in one.name]
    assert [one.name for one in candidate_sets(split)] == [
        "available", "cold", "cold, catalogue known", "all, catalogue known"
    ]  # fmt: skip
    assert of(split, "headline") == {0: [0]}


def test_a_type_that_comes_only_after_the_cut_is_seen_where_the_catalogue_is_known(tmp_path):
    events = [stream("x", "p1", 2), stream("x", "b1", 3), stream("u", "p1", -1)]
    make_warehouse(tmp_path, catalogue("p1", "b1", "s1"), events)
    add_events(tmp_path, [stream("u", "s1", -2), stream("x", "s1", -2)])
    split = split_at(tmp_path)
    assert split.item_types == ["book", "podcast"]
    assert [one.name for one in views(split) if one.name.startswith("type:")] == ["type:book", "type:podcast"]
    assert of(split, "all") == {0: [1]}
    assert of(split, "cold") == {}
    assert of(split, "cold, catalogue known") == {0: [2], 1: [2]}
    assert nodes(split, "cold, catalogue known") == [2]
    assert nodes(split, "all, catalogue known") == [0, 1, 2]
