"""sql/history: rows in, rows out; and how far back `read_training` reads where data is thin."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from worlds import AS_OF, Recorder, add_events, ago, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import TwoTowerConfig
from gfm_store.warehouse.catalogue import statement
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.history import (
    given_history,
    number_items,
    read_asked,
    read_histories,
    read_recent_streams,
    read_training,
    read_withdrawn,
)

MICROSECOND = timedelta(microseconds=1)


def rows(root, *statements, as_of=AS_OF, **parameters):
    """Rows of the last statement; those before it make the tables that it reads. Each takes what it asks for."""
    parameters["as_of"] = as_of
    with open_warehouse(root) as warehouse:
        for name in ("graph/item_node", "history/user_node", *statements[:-1]):
            warehouse.create(name, **{key: parameters[key] for key in statement(name).parameters})
        asked = {key: parameters[key] for key in statement(statements[-1]).parameters}
        return [tuple(row.values()) for row in warehouse.select(statements[-1], **asked).to_pylist()]


def test_users_with_an_event_before_the_moment_are_numbered_by_id(tmp_path):
    events = [("w", "p1", "skip", ago(1)), stream("u", "p1", 2), stream("v", "p1", 0), stream("u", "p1", 3)]
    make_warehouse(tmp_path, catalogue("p1"), events, [{"user_id": "nobody"}])
    assert rows(tmp_path, "history/user_node") == [(0, "u"), (1, "w")]


def test_events_carry_their_signal(tmp_path):
    kinds = {"stream": 0, "follow": 1, "preview": 1, "intent_to_pay": 1, "skip": 2}
    events = [("u", "p1", kind, ago(10 - i)) for i, kind in enumerate(kinds)]
    make_warehouse(tmp_path, catalogue("p1"), events)
    found = rows(tmp_path, "history/user_event", history_start=ago(90))
    assert [signal for _, _, signal, _, _ in found] == list(kinds.values())


def test_events_before_count_strictly_earlier_ones_of_the_window(tmp_path):
    days = {"p1": 95, "p2": 90, "p3": 40, "p4": 40, "p5": 3}
    events = [stream("u", item, day) for item, day in days.items()] + [stream("v", "p1", 50)]
    make_warehouse(tmp_path, catalogue(*days), [*events, stream("u", "p1", 0)])
    found = rows(tmp_path, "history/user_event", history_start=ago(90))
    assert [(user, node, n_before) for user, node, _, _, n_before in found] == [
        (0, 1, 0),  # p1 lies before the window; the window's start is in it
        (0, 2, 1),
        (0, 3, 1),  # at the same moment as p3
        (0, 4, 3),
        (1, 0, 0),
    ]


def pairs(root, train_start):
    return rows(
        root,
        "history/user_event",
        "history/training_pair",
        history_start=train_start - timedelta(days=90),
        train_start=train_start,
    )


def test_training_pairs_are_first_streams_inside_the_window(tmp_path):
    events = [
        stream("u", "p1", 40),  # first stream before the window: no pair, nor is its repetition
        stream("u", "p1", 5),
        ("u", "p2", "preview", ago(9)),
        stream("u", "p2", 8),
        stream("u", "p2", 7),
        ("u", "p3", "follow", ago(6)),  # never streamed
        stream("v", "p4", 30),  # at the window's start
        ("v", "p5", "stream", ago(30) - MICROSECOND),
        stream("v", "p3", 0),  # at the moment: the future
    ]
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3", "p4", "p5"), events)
    assert pairs(tmp_path, ago(30)) == [(1, 3, ago(30), 1), (0, 1, ago(8), 2)]


def test_a_first_stream_is_one_of_a_user_and_an_item_before_the_moment(tmp_path):
    events = [stream("u", "p1", 9), stream("u", "p1", 2), stream("v", "p1", 3), stream("v", "p2", 0)]
    events += [("u", "p2", "follow", ago(5)), ("w", "p1", "stream", AS_OF - MICROSECOND)]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events)
    assert sorted(rows(tmp_path, "history/first_stream")) == [(ago(9),), (ago(3),), (AS_OF - MICROSECOND,)]


def test_a_stream_and_a_preview_at_one_moment_make_one_pair(tmp_path):
    events = [("u", "p1", kind, ago(3)) for kind in ("preview", "stream", "skip")]
    make_warehouse(tmp_path, catalogue("p1"), events)
    assert pairs(tmp_path, ago(30)) == [(0, 0, ago(3), 0)]


def test_day_zero_is_the_last_24_hours(tmp_path):
    moments = [ago(seconds=1), AS_OF - MICROSECOND, ago(0.5), ago(1) + MICROSECOND, ago(2.5), ago(2.6)]
    events = [("u", "p1", "stream", moment) for moment in [*moments, AS_OF]]
    make_warehouse(tmp_path, catalogue("p1", "p2"), [*events, ("u", "p2", "skip", ago(1))])
    assert rows(tmp_path, "history/item_day") == [(0, 0, 4), (0, 2, 2)]


@pytest.mark.parametrize("as_of", [AS_OF, AS_OF + MICROSECOND, AS_OF + timedelta(seconds=0.5)])
@pytest.mark.parametrize("offset", [timedelta(0), MICROSECOND, -MICROSECOND, timedelta(seconds=0.4)])
def test_days_are_whole_spans_that_end_just_before_the_moment(tmp_path, as_of, offset):
    """The same days as in training, where a pair sees the popularity of the days before its own."""
    moment = as_of - timedelta(days=2) + offset
    make_warehouse(tmp_path, catalogue("p1"), [("u", "p1", "stream", moment)])
    expected = (as_of - moment - MICROSECOND) // timedelta(days=1)
    assert rows(tmp_path, "history/item_day", as_of=as_of) == [(0, expected, 1)]


def test_streams_alone_make_user_items(tmp_path):
    events = [stream("u", "p1", 400), stream("u", "p1", 3), stream("v", "p2", 2), stream("v", "p1", 0)]
    events += [("u", "p2", "follow", ago(1)), ("u", "p2", "skip", ago(1))]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events)
    assert rows(tmp_path, "history/user_item") == [(0, 0, ago(3)), (1, 1, ago(2))]


def test_every_profile_column_is_a_feature(tmp_path):
    users = [{"user_id": "v", "country": "SE", "plan": "free"}, {"user_id": "gone", "country": "NO"}]
    make_warehouse(tmp_path, catalogue("p1"), [stream("u", "p1", 1), stream("v", "p1", 1)], users)
    with open_warehouse(tmp_path) as warehouse:
        warehouse.create("history/user_node", as_of=AS_OF)
        assert warehouse.select("history/user_feature").to_pylist() == [
            {"user_index": 0, "country": None, "age_band": None, "plan": None},
            {"user_index": 1, "country": "SE", "age_band": None, "plan": "free"},
        ]


def test_withdrawn_items_are_those_withdrawn_by_the_moment(tmp_path):
    items = catalogue("p1") + catalogue("p2", withdrawn_at=AS_OF) + catalogue("p3", withdrawn_at=ago(-1))
    make_warehouse(tmp_path, items, [stream("u", "p1", 1)])
    assert rows(tmp_path, "history/withdrawn_item") == [(1,)]


def test_a_request_reads_its_users_in_one_pass(tmp_path):
    items = catalogue("p1") + catalogue("p2", withdrawn_at=ago(1))
    events = [
        stream("u", "p1", 1),
        stream("v", "p2", 200),
        ("v", "p1", "skip", ago(1)),
        stream("v", "p1", -1),
    ]
    make_warehouse(tmp_path, items, events, [{"user_id": "v", "country": "SE"}])
    with open_warehouse(tmp_path) as warehouse:
        number_items(warehouse, pa.array(["p1", "p2"]))
        asked = read_asked(warehouse, pa.array(["v", "stranger", "v"]), AS_OF, 90)
        assert (asked.seen_user.tolist(), asked.seen_node.tolist()) == ([0, 2], [1, 1])
        assert [tuple(row.values()) for row in asked.history.user_event.to_pylist()] == [
            (0, 0, 2, ago(1)),
            (2, 0, 2, ago(1)),
        ]
        assert asked.history.user_feature["country"].to_pylist() == ["SE", None, "SE"]
        assert read_withdrawn(warehouse, AS_OF).tolist() == [1]


def test_one_user_is_read_as_among_several(tmp_path):
    events = [
        stream("v", "p1", 200),
        ("v", "p2", "skip", ago(1)),
        stream("u", "p1", 3),
        ("v", "p1", "follow", ago(1)),
    ]
    make_warehouse(
        tmp_path, catalogue("p1", "p2"), events, [{"user_id": "v", "country": "SE", "plan": "free"}]
    )
    with open_warehouse(tmp_path) as warehouse:
        number_items(warehouse, pa.array(["p1", "p2"]))
        for user in ("v", "stranger", "x' OR 1=1"):
            one = read_asked(warehouse, pa.array([user]), AS_OF, 90)
            several = read_asked(warehouse, pa.array([user, "u"]), AS_OF, 90)
            events = several.history.user_event
            assert one.history.user_event.equals(events.filter(pa.compute.equal(events["user_index"], 0)))
            assert one.history.user_feature.equals(several.history.user_feature.slice(0, 1))
            assert one.seen_node.tolist() == several.seen_node[several.seen_user == 0].tolist()


def test_given_events_are_read_as_those_of_the_warehouse(tmp_path):
    events = [
        stream("u", "p1", 2),
        ("u", "p2", "skip", ago(3)),
        stream("u", "p2", 100),
        stream("u", "p1", -1),
    ]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events)
    with open_warehouse(tmp_path) as warehouse:
        number_items(warehouse, pa.array(["p1", "p2"]))
        moments = pa.array([ts for *_, ts in events], pa.timestamp("us"))
        nodes, signals = np.array([0, 1, 1, 0]), np.array([0, 2, 0, 0])
        given = given_history(warehouse, nodes, signals, moments, AS_OF, 90)
        read = read_asked(warehouse, pa.array(["u"]), AS_OF, 90)
    assert given.history.user_event.to_pylist() == read.history.user_event.to_pylist()
    assert given.seen_node.tolist() == read.seen_node.tolist() == [1, 0]
    assert given.history.user_feature.to_pylist() == read.history.user_feature.to_pylist()


def test_recent_streams_by_country_reach_further_back_where_there_are_none(tmp_path):
    events = [stream("u", "p1", 3), stream("u", "p1", 4), stream("v", "p1", 5), stream("v", "p2", 40)]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events, [{"user_id": "u", "country": "SE"}])
    with open_warehouse(tmp_path) as warehouse:
        number_items(warehouse, pa.array(["p1", "p2"]))
        lately = read_recent_streams(warehouse, AS_OF, 14)
        assert {tuple(row.values()) for row in lately.to_pylist()} == {(0, "SE", 2), (0, None, 1)}
        before = read_recent_streams(warehouse, ago(30), 7)
        assert [tuple(row.values()) for row in before.to_pylist()] == [(1, None, 1)]


def test_histories_of_given_users_follow_the_given_order(tmp_path):
    events = [stream("u", "p1", 5), stream("u", "p2", 95), stream("v", "p2", 2), ("v", "p1", "skip", ago(1))]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events, [{"user_id": "v", "country": "SE"}])
    with open_warehouse(tmp_path) as warehouse:
        tables = read_histories(
            warehouse, pa.array(["v", "stranger", "u"]), pa.array(["p2", "p1"]), AS_OF, 90
        )
    assert [tuple(row.values()) for row in tables.user_event.to_pylist()] == [
        (0, 0, 0, ago(2), 0),
        (0, 1, 2, ago(1), 1),
        (2, 1, 0, ago(5), 0),
    ]
    assert tables.user_node["user_id"].to_pylist() == ["v", "stranger", "u"]
    assert tables.user_feature["country"].to_pylist() == ["SE", None, None]


def test_histories_can_be_read_again_from_the_same_warehouse(tmp_path):
    make_warehouse(tmp_path, catalogue("p1"), [stream("u", "p1", 5), stream("v", "p1", 4)])
    with open_warehouse(tmp_path) as warehouse:
        for user in ("u", "v"):
            tables = read_histories(warehouse, pa.array([user]), pa.array(["p1"]), AS_OF, 90)
            assert tables.user_node["user_id"].to_pylist() == [user]
        assert warehouse.create("history/user_node", as_of=AS_OF) == 2


def snapshot(root, as_of=AS_OF):
    return rows(root, "graph/snapshot", as_of=as_of)


ITEMS = catalogue("p1", "p2")
EVENTS = [stream("u", "p1", 5), stream("v", "p1", 4)]
USERS = [{"user_id": "u", "country": "SE"}]


def test_a_snapshot_does_not_depend_on_row_order_or_the_future(tmp_path):
    first = snapshot(make_warehouse(tmp_path / "a", ITEMS, EVENTS, USERS))
    assert snapshot(make_warehouse(tmp_path / "b", ITEMS[::-1], EVENTS[::-1], USERS)) == first
    add_events(tmp_path / "a", [stream("u", "p1", 0), stream("w", "p1", -3)])
    assert snapshot(tmp_path / "a") == first
    assert snapshot(tmp_path / "a", AS_OF + MICROSECOND) != first


@pytest.mark.parametrize(
    ("items", "events", "users"),
    [
        (ITEMS, [*EVENTS, stream("u", "p2", 1)], USERS),
        (ITEMS, [EVENTS[0], stream("v", "p1", 3)], USERS),
        (ITEMS, [EVENTS[0], ("v", "p1", "skip", ago(4))], USERS),
        (ITEMS, [EVENTS[0], stream("w", "p1", 4)], USERS),
        (ITEMS, [EVENTS[0], stream("v", "p2", 4)], USERS),
        (catalogue("p1", "p2", "p3"), EVENTS, USERS),
        (catalogue("p1") + catalogue("p2", title="New"), EVENTS, USERS),
        (catalogue("p1") + catalogue("p2", withdrawn_at=ago(1)), EVENTS, USERS),
        (ITEMS, EVENTS, [{"user_id": "u", "country": "NO"}]),
        (ITEMS, EVENTS, []),
    ],
    ids=[
        "event",
        "moment",
        "kind",
        "user",
        "item",
        "new-item",
        "title",
        "withdrawal",
        "profile",
        "no-profile",
    ],
)
def test_a_snapshot_follows_everything_that_a_version_is_built_from(tmp_path, items, events, users):
    first = snapshot(make_warehouse(tmp_path / "a", ITEMS, EVENTS, USERS))
    assert snapshot(make_warehouse(tmp_path / "b", items, events, users)) != first


CONFIG = TwoTowerConfig(train_days=10, history_days=10, min_pairs=2)


def training(root, config=CONFIG):
    """The tables, and what was said."""
    recorder = Recorder()
    with open_warehouse(root) as warehouse, progress.reporting(recorder):
        warehouse.create("graph/item_node", as_of=AS_OF)
        return read_training(warehouse, AS_OF, config), recorder.said


def test_enough_pairs_with_histories_need_no_widening(tmp_path):
    items = [f"p{i}" for i in range(8)]
    events = [stream("u", item, 16 - i) for i, item in enumerate(items)] + [stream("u", "p9", 40)]
    make_warehouse(tmp_path, catalogue(*items, "p9"), events)
    tables, said = training(tmp_path)
    # p6 ... p7 fall into the last ten days; the history of the pairs reaches ten days further back.
    assert tables.training_pair.to_pydict() == {
        "user_index": [0, 0],
        "node": [6, 7],
        "event_ts": [ago(10), ago(9)],
        "n_before": [6, 7],
    }
    assert tables.history.history_days == 10
    assert tables.history.user_event.num_rows == 8
    assert tables.item_day["days_ago"].to_pylist() == [15, 14, 13, 12, 11, 10, 9, 8, 39]
    assert said == []


def test_too_few_pairs_widen_the_training_window(tmp_path):
    items = [f"p{i}" for i in range(9)]
    make_warehouse(
        tmp_path, catalogue(*items), [stream("u", item, 30 - 3 * i) for i, item in enumerate(items)]
    )
    tables, said = training(tmp_path, CONFIG.model_copy(update={"min_pairs": 8}))
    # 10 days hold 3 pairs, 20 hold 6, then all of history: 31 days with 9 pairs.
    assert tables.training_pair.num_rows == 9
    assert len(said) == 1
    assert "learns from 31 days (asked: 10) with histories of 31 days (asked: 10): 9 pairs" in said[0]


def test_short_histories_are_read_further_back(tmp_path):
    items = [f"p{i}" for i in range(7)]
    events = [stream("u", item, 50 - i) for i, item in enumerate(items)]
    events += [stream("u", "p7", 2), stream("u", "p8", 1)]
    make_warehouse(tmp_path, catalogue(*items, "p7", "p8"), events)
    tables, said = training(tmp_path)
    assert tables.training_pair["n_before"].to_pylist() == [7, 8]
    assert tables.history.history_days == 40
    assert "from 10 days (asked: 10) with histories of 40 days (asked: 10): 2 pairs" in said[0]


def test_no_event_at_or_after_the_moment_changes_training(tmp_path):
    items = catalogue("p1", "p2", "p3", published_at=ago(300))
    make_warehouse(tmp_path, items, [stream("u", "p1", 9), stream("u", "p2", 3), stream("v", "p2", 2)])
    before, _ = training(tmp_path)
    add_events(tmp_path, [stream(user, item, -d) for user in "uvw" for item in ("p1", "p3") for d in (0, 2)])
    after, _ = training(tmp_path)
    assert before.training_pair.num_rows == 3
    for name in ("training_pair", "item_day"):
        assert getattr(after, name).equals(getattr(before, name)), name
    for name in ("user_node", "user_event", "user_feature"):
        assert getattr(after.history, name).equals(getattr(before.history, name)), name


@pytest.mark.parametrize(
    ("strays", "beginning", "passed_over"),
    [
        ([], 40, 0),
        ([20_000], 40, 1),  # an unset clock
        ([20_000, 19_999.5, 3_000], 40, 3),
        ([81], 40, 1),  # 41 days before the rest, which is 40 days long
        ([79], 79, 0),
        ([20_000] * 4, 20_000, 0),  # more than one in a hundred
    ],
)
def test_what_is_known_begins_where_events_do_but_for_a_few_far_off(tmp_path, strays, beginning, passed_over):
    rest = [stream(f"u{i}", "p1", 40 - i * 39 / 320) for i in range(320)]
    far = [(f"v{i}", "p1", "skip", ago(days)) for i, days in enumerate(strays)]
    make_warehouse(tmp_path, catalogue("p1"), [*rest, *far, stream("u0", "p1", -300)])
    assert rows(tmp_path, "history/beginning") == [(ago(beginning), passed_over)]


@pytest.mark.parametrize(
    ("strays", "ending", "passed_over"),
    [
        ([], 2, 0),
        ([-4_000], 2, 1),
        ([-4_000, -4_001, -90], 2, 3),
        ([-37], 2, 1),
        ([-35], -35, 0),
        ([-900] * 4, -900, 0),
    ],
)
def test_what_is_known_ends_where_events_do_but_for_a_few_far_off(tmp_path, strays, ending, passed_over):
    rest = [stream(f"u{i}", "p1", 2 + i * 38 / 320) for i in range(321)]
    far = [(f"v{i}", "p1", "skip", ago(days)) for i, days in enumerate(strays)]
    make_warehouse(tmp_path, catalogue("p1"), [*rest, *far])
    assert rows(tmp_path, "history/ending") == [(ago(ending), passed_over)]


def test_windows_reach_no_further_back_than_what_is_known(tmp_path):
    items = catalogue("far", *[f"p{i}" for i in range(200)])
    rest = [stream(f"u{i % 9}", f"p{i}", 70 - i / 3) for i in range(200)]
    config = TwoTowerConfig(train_days=10, history_days=10, min_pairs=10_000)
    told = f"Events far before all others: 1. Windows reach back to {ago(70):%Y-%m-%d} at most."
    for far in ([], [stream("u1", "far", 20_000)]):
        tables, said = training(make_warehouse(tmp_path / f"{len(far)}", items, rest + far), config)
        assert (tables.beginning, tables.training_pair.num_rows) == (ago(70), 200)
        assert (told in said) == bool(far)
