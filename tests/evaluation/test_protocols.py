"""How the data is divided: by one cut in time, or by each user's last item."""

from datetime import timedelta

import numpy as np
import pytest
from worlds import AS_OF, ago, catalogue, make_warehouse, stream, text_vectors

from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.evaluation.protocols import NUM_SAMPLED, leave_one_out, temporal
from gfm_store.warehouse.connection import open_warehouse, warehouse_file

ITEMS = catalogue("p0", "p1", "p2", "p3", "b0", "b1", "b2", "s0")
EVENTS = [
    stream("u", "p0", 9),
    stream("u", "b0", 8),
    stream("u", "p1", 7),
    ("u", "p1", "follow", ago(1)),
    stream("v", "p1", 6),
    stream("v", "b1", 5),
    stream("w", "p2", 4),  # one item alone: nothing is left out
    stream("x", "b0", 3),
    stream("x", "b1", 2),
    stream("x", "s0", 1),
    stream("y", "s0", 6),
]


def ids(split, nodes):
    names = split.item["item_id"].to_pylist()
    return [names[node] for node in nodes]


def targets(split):
    users = split.user_id.to_pylist()
    return [
        (users[user], item)
        for user, item in zip(split.target_user, ids(split, split.target_node), strict=True)
    ]


@pytest.fixture
def root(tmp_path):
    return make_warehouse(tmp_path, ITEMS, EVENTS)


def count_events(warehouse):
    return warehouse.scalar("SELECT count(*) FROM interaction_event")


def test_the_last_item_of_each_user_is_the_target_and_the_rest_is_known(root):
    with open_warehouse(root) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        split = division.split
        assert division.protocol == "loo-999"
        assert targets(split) == [("u", "p1"), ("v", "b1"), ("x", "s0")]
        # p3 and b2 never had an event; the users are numbered as they are without what is left out.
        assert split.item["item_id"].to_pylist() == ["b0", "b1", "b2", "p0", "p1", "p2", "p3", "s0"]
        assert split.known.all()
        assert split.warm.tolist() == [True, True, False, True, True, True, False, True]
        seen = [ids(split, split.seen(np.array([user]))[1]) for user in range(3)]
        assert seen == [["b0", "p0"], ["p1"], ["b0", "b1"]]
        days = split.profile(np.array([0])).toarray()[0] - split.profile(np.array([1])).toarray()[0]
        assert days[3] == pytest.approx(8 + 1e-6 / 86_400)  # p0: from just after the newest event, a day ago
        assert split.as_of == ago(1) + timedelta(microseconds=1)
        assert count_events(warehouse) == len(EVENTS) - 4


def test_among_what_is_sampled_are_the_target_and_unseen_items_of_its_type(root):
    with open_warehouse(root) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        (one,) = division.sets
        assert one.name == "sampled"
        assert one.nodes.shape == (3, 1 + NUM_SAMPLED)
        found = [ids(division.split, row[row >= 0]) for row in one.nodes]
        assert [row[0] for row in found] == ["p1", "b1", "s0"]
        # u had streamed p0; v nothing else of books; there is one song.
        assert [sorted(row[1:]) for row in found] == [["p2", "p3"], ["b0", "b2"], []]
        for row in one.nodes:
            there = (row >= 0).nonzero()[0]
            assert there.tolist() == list(range(len(there)))


def test_views_of_leave_one_out_are_all_targets_and_those_of_each_type(root):
    with open_warehouse(root) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        found = {view.name: targets_of(division.split, view) for view in division.views}
        assert {view.candidates for view in division.views} == {"sampled"}
    assert found == {
        "headline": ["p1", "b1", "s0"],
        "type:book": ["b1"],
        "type:podcast": ["p1"],
        "type:song": ["s0"],
    }


def targets_of(split, view):
    return ids(split, split.target_node[view.target])


def test_exactly_999_are_drawn_where_there_are_more(tmp_path):
    names = [f"p{i:04}" for i in range(1500)]
    events = [stream("u", name, 9 - i) for i, name in enumerate(names[::200])]
    events += [stream("v", names[7], 3), stream("v", names[1499], 2)]
    make_warehouse(tmp_path, catalogue(*names, "b0", "b1"), events)
    drawn = {}
    with open_warehouse(tmp_path) as warehouse:
        for attempt, seed in (("first", 0), ("again", 0), ("other", 1)):
            with leave_one_out(warehouse, text_vectors, seed) as division:
                drawn[attempt] = [ids(division.split, row) for row in division.sets[0].nodes]
                assert (division.sets[0].nodes >= 0).all()
    for row, target, seen in zip(
        drawn["first"], (names[1400], names[1499]), (names[0:1400:200], [names[7]]), strict=True
    ):
        assert row[0] == target
        assert len(set(row)) == 1000
        assert not set(row) & {*seen, "b0", "b1"}
    assert drawn["again"] == drawn["first"] != drawn["other"]
    # Drawn at random among 1,492: about as many of the first half of the names as of the second.
    assert 430 < sum(name < names[750] for name in drawn["first"][0]) < 570


def test_items_that_are_not_offered_are_not_sampled(tmp_path):
    items = catalogue("p0", "p1", "p2") + catalogue("p3", withdrawn_at=ago(8))
    events = [stream("u", "p0", 3), stream("u", "p1", 2), stream("v", "p1", 9), stream("v", "p3", 9)]
    make_warehouse(tmp_path, items, events)
    with open_warehouse(tmp_path) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        row = division.sets[0].nodes[0]
        assert ids(division.split, row[row >= 0]) == ["p1", "p2"]


def test_everything_is_as_before_afterwards(root):
    before = warehouse_file(root).read_bytes()
    with open_warehouse(root) as warehouse:
        with leave_one_out(warehouse, text_vectors, 0):
            assert count_events(warehouse) == len(EVENTS) - 4
        assert count_events(warehouse) == len(EVENTS)
        with pytest.raises(RuntimeError, match="half-way"), leave_one_out(warehouse, text_vectors, 0):
            raise RuntimeError("half-way")
        assert count_events(warehouse) == len(EVENTS)
    assert warehouse_file(root).read_bytes() == before


def test_what_is_left_out_inside_is_the_last_but_one(root):
    with open_warehouse(root) as warehouse, leave_one_out(warehouse, text_vectors, 0):
        with leave_one_out(warehouse, text_vectors, 1) as inner:
            assert targets(inner.split) == [("u", "b0"), ("x", "b1")]
        assert count_events(warehouse) == len(EVENTS) - 4


def test_nothing_to_leave_out_is_said(tmp_path):
    make_warehouse(tmp_path, catalogue("p0", "p1"), [stream("u", "p0", 3), stream("v", "p1", 2)])
    with (
        open_warehouse(tmp_path) as warehouse,
        pytest.raises(UsageError, match="Nobody streamed two items"),
        leave_one_out(warehouse, text_vectors, 0),
    ):
        pass


def test_a_left_out_item_that_nobody_else_knows_is_said(tmp_path):
    items = catalogue("p0", "p2") + catalogue("p1", published_at=ago(-9))
    make_warehouse(tmp_path, items, [stream("u", "p0", 3), stream("u", "p1", 2), stream("v", "p2", 1)])
    with open_warehouse(tmp_path) as warehouse:
        with (
            pytest.raises(UsageError, match="No left-out item is known without its user"),
            leave_one_out(warehouse, text_vectors, 0),
        ):
            pass
        assert count_events(warehouse) == 3


def test_without_a_cut_the_last_days_are_the_horizon(root):
    with open_warehouse(root) as warehouse:
        division = temporal(warehouse, None, 3, text_vectors)
        assert division.protocol == "temporal"
        assert division.split.as_of == ago(4) + timedelta(microseconds=1)
        assert targets(division.split) == [("x", "b0"), ("x", "b1"), ("x", "s0")]
        assert division.sets[0].name == "available"
        assert division.views[0].name == "headline"
        assert targets(temporal(warehouse, ago(5.5), 1, text_vectors).split) == [("v", "b1")]


@pytest.mark.parametrize("days", [0, -3])
def test_a_horizon_that_is_no_time_is_refused(root, days):
    with open_warehouse(root) as warehouse, pytest.raises(UsageError, match=f"--horizon-days is {days}"):
        temporal(warehouse, None, days, text_vectors)


def test_a_horizon_beyond_the_data_and_a_cut_outside_of_it_are_said(root):
    with open_warehouse(root) as warehouse:
        with pytest.raises(
            UsageError, match=r"of 8 days, from 2024-05-23 .* Choose a shorter --horizon-days"
        ):
            temporal(warehouse, None, 300, text_vectors)
        with pytest.raises(EmptyWarehouseError, match="no event before"):
            temporal(warehouse, ago(300), 14, text_vectors)
        with pytest.raises(UsageError, match="Nobody newly streams"):
            temporal(warehouse, AS_OF, 14, text_vectors)
        past_the_end = temporal(warehouse, ago(2.5), 300, text_vectors)
        assert targets(past_the_end.split) == [("x", "b1"), ("x", "s0")]
