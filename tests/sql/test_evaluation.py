"""sql/evaluation: rows in, rows out."""

from datetime import timedelta
from random import Random

import pyarrow as pa
import pytest
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

from gfm_store.warehouse.catalogue import statement
from gfm_store.warehouse.connection import open_warehouse

MICROSECOND = timedelta(microseconds=1)
HORIZON_END = AS_OF + timedelta(days=14)


def table(root, *statements, as_of=AS_OF, horizon_end=HORIZON_END, **parameters):
    """The last statement as a table; those before it make the tables that it reads. Each takes what it asks for."""
    parameters |= {"as_of": as_of, "horizon_end": horizon_end}
    with open_warehouse(root) as warehouse:
        for name in statements[:-1]:
            warehouse.create(name, **{key: parameters[key] for key in statement(name).parameters})
        asked = {key: parameters[key] for key in statement(statements[-1]).parameters}
        return warehouse.select(statements[-1], **asked)


def rows(root, *statements, **parameters):
    """The same as tuples."""
    return [tuple(row.values()) for row in table(root, *statements, **parameters).to_pylist()]


def events_of(root, name, **parameters):
    """(user, item, type, days before AS_OF), sorted, of a statement that gives events."""
    found = table(
        root, *(["evaluation/last_item"] if name.endswith("before_last") else []), name, **parameters
    )
    assert found.schema.names == [
        "user_id", "item_id", "event_type", "event_ts", "seconds_played", "ingest_id"
    ]  # fmt: skip
    return sorted(
        (row["user_id"], row["item_id"], row["event_type"], (AS_OF - row["event_ts"]) / timedelta(days=1))
        for row in found.to_pylist()
    )


def items_of(root):
    """catalogue_item by item_id: (node, has_events, is_available, is_known)."""
    found = table(root, "graph/item_node", "evaluation/catalogue_item").to_pylist()
    assert [row["node"] for row in found] == list(range(len(found)))
    return {
        row["item_id"]: (row["node"], row["has_events"], row["is_available"], row["is_known"])
        for row in found
    }


def test_items_of_the_horizon_are_numbered_after_those_known_at_the_cut(tmp_path):
    items = catalogue("p5", "p1", "p9", "a0", "b0")
    events = [stream("u", "p5", 3), stream("u", "p1", 2), stream("u", "p9", 1)]
    events += [stream("u", "b0", -1), stream("u", "a0", -2)]
    make_warehouse(tmp_path, items, events)
    assert items_of(tmp_path) == {
        "p1": (0, True, True, True),
        "p5": (1, True, True, True),
        "p9": (2, True, True, True),
        "a0": (
            3,
            False,
            False,
            False,
        ),  # by its name it would be the first: later items come last all the same
        "b0": (4, False, False, False),
    }


def test_an_item_known_at_the_cut_has_the_same_number_in_both_tables(tmp_path):
    random = Random(3)
    names = [f"{random.choice('abps')}{i}" for i in range(40)]
    items = [row for name in names for row in catalogue(name, published_at=random.choice([None, ago(5)]))]
    make_warehouse(tmp_path, items, [stream("u", name, random.uniform(-20, 20)) for name in names[:35]])
    with open_warehouse(tmp_path) as warehouse:
        warehouse.create("graph/item_node", as_of=AS_OF)
        before = warehouse.arrow(
            "SELECT node, item_id, is_available FROM item_node ORDER BY node"
        ).to_pylist()
    found = items_of(tmp_path)
    assert 5 < len(before) < len(found) < 40
    for row in before:
        node, _, is_available, is_known = found[row["item_id"]]
        assert (node, is_available, is_known) == (row["node"], row["is_available"], True)


@pytest.mark.parametrize(
    ("published_at", "first_event", "withdrawn_at", "expected"),
    [
        # expected: None where the item is not listed, else (has_events, is_available, is_known)
        (None, None, None, (False, True, True)),  # never had an event
        (None, AS_OF - MICROSECOND, None, (True, True, True)),
        (None, AS_OF, None, (False, False, False)),  # its first event is inside the horizon
        (None, HORIZON_END - MICROSECOND, None, (False, False, False)),
        (None, HORIZON_END, None, None),
        (ago(3), None, None, (False, True, True)),
        (ago(3), HORIZON_END, None, (False, True, True)),
        (ago(3), ago(-3), ago(1), (False, False, True)),  # known, but withdrawn
        (
            ago(-3),
            None,
            None,
            None,
        ),  # published in the horizon without an event: nobody could be asked for it
        (ago(-3), ago(-4), None, (False, False, False)),
        (ago(-30), ago(-4), None, (False, False, False)),
    ],
)
def test_who_is_in_the_catalogue_of_an_evaluation(
    tmp_path, published_at, first_event, withdrawn_at, expected
):
    items = [
        *catalogue("p0"),
        *catalogue("p1", published_at=published_at, withdrawn_at=withdrawn_at),
    ]
    events = [stream("u", "p0", 9)] + ([("u", "p1", "preview", first_event)] if first_event else [])
    make_warehouse(tmp_path, items, events)
    found = items_of(tmp_path)
    assert found.pop("p0") == (0, True, True, True)
    assert found == ({"p1": (1, *expected)} if expected else {})


def test_an_item_brings_what_is_told_of_it(tmp_path):
    told = {
        "title": "Rome",
        "language": "en",
        "genres": ["history"],
        "published_at": ago(-2),
        "markets": ["SE"],
    }
    make_warehouse(
        tmp_path,
        catalogue("p0") + catalogue("b1", **told),
        [stream("u", "p0", 1), stream("u", "b1", -3)],
    )
    found = table(tmp_path, "graph/item_node", "evaluation/catalogue_item")
    assert found.schema.names == [
        "node", "item_id", "item_type", "title", "language", "genres", "published_at",
        "markets", "has_events", "is_available", "is_known",
    ]  # fmt: skip
    assert found.schema.field("node").type == pa.int32()
    assert found.to_pylist()[1] == {
        "node": 1,
        "item_id": "b1",
        "item_type": "book",
        **told,
        "has_events": False,
        "is_available": False,
        "is_known": False,
    }


def targets(root, horizon_days=14):
    return rows(
        root,
        "graph/item_node",
        "evaluation/catalogue_item",
        "evaluation/hold_out_target",
        horizon_end=AS_OF + timedelta(days=horizon_days),
    )


def test_targets_are_newly_streamed_in_the_horizon(tmp_path):
    events = [stream("x", item, 50) for item in ("p1", "p2", "p3", "p4", "p5")]
    events += [
        stream("u", "p1", 60),
        stream("u", "p1", -1),  # streamed before the cut: not new
        ("u", "p2", "preview", ago(3)),  # a preview is no stream
        stream("u", "p2", -2),
        stream("u", "p2", -3),
        stream("u", "p3", 0),  # at the cut: in
        ("u", "p5", "stream", AS_OF - MICROSECOND),  # just before the cut: seen
        stream("u", "p5", -1),
        stream("u", "p4", -14),  # at the horizon's end: out
        ("v", "p4", "stream", ago(-14) - MICROSECOND),
        ("v", "p1", "follow", ago(-1)),
    ]
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3", "p4", "p5"), events)
    assert targets(tmp_path) == [
        ("u", 2, AS_OF),
        ("u", 1, ago(-2)),
        ("v", 3, ago(-14) - MICROSECOND),
    ]


def test_targets_of_a_user_stand_in_the_order_of_time_then_of_item(tmp_path):
    events = [stream("x", item, 5) for item in ("p1", "p2", "p3")]
    events += [stream("w", "p1", -1), stream("u", "p3", -2), stream("u", "p1", -2), stream("u", "p2", -1)]
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3"), events)
    assert [row[:2] for row in targets(tmp_path)] == [("u", 1), ("u", 0), ("u", 2), ("w", 0)]


def test_cold_and_later_items_are_targets_too(tmp_path):
    items = catalogue("p1", "p2", "p3") + catalogue("p4", published_at=ago(9))
    events = [stream("x", "p1", 5), stream("x", "p3", 5)]
    events += [stream("u", item, -day) for day, item in enumerate(["p2", "p1", "p4", "p3"], start=1)]
    make_warehouse(tmp_path, items, events)
    # Known at the cut are p1, p3, p4, in this order; p2 comes after them.
    assert [row[1] for row in targets(tmp_path)] == [3, 0, 2, 1]
    assert [row[1] for row in targets(tmp_path, horizon_days=2)] == [3]


EVENTS = [
    ("u", "p1", "stream", ago(9)),
    ("u", "p1", "stream", ago(1)),
    ("v", "p1", "stream", ago(5)),
    ("w", "p1", "stream", ago(3)),
    ("v", "p1", "follow", ago(4)),
    ("w", "p1", "skip", ago(2)),
    ("u", "p2", "stream", ago(8)),
    ("u", "p1", "stream", ago(0)),  # not before the moment
    ("u", "b1", "stream", ago(7)),
    ("v", "b1", "preview", ago(6)),
    ("w", "b1", "stream", ago(-1)),
]


def as_days(events):
    return sorted((user, item, kind, (AS_OF - ts) / timedelta(days=1)) for user, item, kind, ts in events)


OTHERS = [event for event in EVENTS if event[1] == "b1"]


@pytest.mark.parametrize(
    ("per_item", "kept"),
    [
        (0, []),
        (1, [("u", "p1", 1), ("u", "p2", 8)]),
        (2, [("u", "p1", 1), ("w", "p1", 3), ("u", "p2", 8)]),
        (20, [("u", "p1", 1), ("w", "p1", 3), ("v", "p1", 5), ("u", "p1", 9), ("u", "p2", 8)]),
    ],
)
def test_the_newest_few_streams_of_each_item_of_a_type_are_kept(tmp_path, per_item, kept):
    make_warehouse(tmp_path, catalogue("p1", "p2", "b1"), EVENTS)
    found = events_of(tmp_path, "evaluation/event_but_few", item_type="podcast", per_item=per_item)
    assert found == sorted([(u, i, "stream", float(day)) for u, i, day in kept] + as_days(OTHERS))


def test_the_moment_of_the_few_streams_is_excluded_by_the_microsecond(tmp_path):
    events = [("u", "p1", "stream", AS_OF), ("v", "p1", "stream", AS_OF - MICROSECOND), stream("w", "p1", 1)]
    make_warehouse(tmp_path, catalogue("p1"), events)
    found = table(tmp_path, "evaluation/event_but_few", item_type="podcast", per_item=1).to_pylist()
    assert [(row["user_id"], row["event_ts"]) for row in found] == [("v", AS_OF - MICROSECOND)]


def test_events_and_items_of_one_type(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2", "b1", title="x"), EVENTS)
    assert events_of(tmp_path, "evaluation/event_of_type", item_type="book") == as_days(OTHERS)
    assert events_of(tmp_path, "evaluation/event_of_type", item_type="film") == []
    found = table(tmp_path, "evaluation/item_of_type", item_type="podcast")
    assert sorted(found["item_id"].to_pylist()) == ["p1", "p2"]
    with open_warehouse(tmp_path) as warehouse:
        assert found.schema == warehouse.arrow("SELECT * FROM item").schema


def test_strong_events_are_streams_and_skips(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2", "b1"), [*EVENTS, ("u", "p2", "intent_to_pay", ago(1))])
    strong = [event for event in EVENTS if event[2] in ("stream", "skip")]
    assert len(strong) == 9
    assert events_of(tmp_path, "evaluation/strong_event") == as_days(strong)


LAST = [
    stream("u", "p1", 9),
    stream("u", "p2", 5),
    stream("u", "p1", 1),  # not its first stream: p2 was met last
    ("u", "b1", "follow", ago(0.5)),
    stream("v", "p1", 4),  # one item alone
    stream("v", "p1", 3),
    stream("w", "p1", 2),
    stream("w", "b1", 2),  # at the same moment: by item_id
    stream("x", "p1", 7),
    stream("x", "p3", 6),
]


def test_what_was_met_last_is_left_out(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3", "b1"), LAST)
    assert sorted(rows(tmp_path, "evaluation/last_item")) == [
        ("u", "p2", ago(5)),
        ("w", "p1", ago(2)),
        ("x", "p3", ago(6)),
    ]


def test_all_events_of_the_left_out_pairs_go_and_no_others(tmp_path):
    more = [("u", "p2", "preview", ago(8)), stream("u", "p2", 0), ("x", "p3", "skip", ago(1))]
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3", "b1"), LAST + more)
    gone = {("u", "p2"), ("w", "p1"), ("x", "p3")}
    kept = [event for event in LAST if event[:2] not in gone]
    assert len(kept) == 7
    assert events_of(tmp_path, "evaluation/event_before_last") == as_days(kept)


def test_left_out_items_are_targets_where_they_are_known_without_their_user(tmp_path):
    items = catalogue("p1", "p2", "b1") + catalogue("p3", published_at=ago(20))
    events = [*LAST, stream("v", "p2", 4.5)]  # v's last item is p1; p2 is known by v
    make_warehouse(tmp_path, items, events)
    with open_warehouse(tmp_path) as warehouse:
        warehouse.create("evaluation/last_item")
        with warehouse.stand_in("interaction_event", "evaluation/event_before_last"):
            warehouse.create("graph/item_node", as_of=AS_OF)
            node = warehouse.arrow("SELECT item_id, node FROM item_node").to_pylist()
            found = warehouse.select("evaluation/left_out_target").to_pylist()
    node_of = {row["item_id"]: row["node"] for row in node}
    assert node_of == {"b1": 0, "p1": 1, "p2": 2, "p3": 3}
    assert [tuple(row.values()) for row in found] == [
        ("u", 2, ago(5)),
        ("v", 1, ago(4)),
        ("w", 1, ago(2)),
        ("x", 3, ago(6)),
    ]


def test_a_left_out_item_that_nobody_knows_is_no_target(tmp_path):
    events = [stream("u", "p1", 9), stream("u", "p2", 5), stream("v", "p1", 3)]
    make_warehouse(tmp_path, catalogue("p1") + catalogue("p2", published_at=ago(-1)), events)
    with open_warehouse(tmp_path) as warehouse:
        warehouse.create("evaluation/last_item")
        with warehouse.stand_in("interaction_event", "evaluation/event_before_last"):
            warehouse.create("graph/item_node", as_of=AS_OF)
            assert warehouse.select("evaluation/left_out_target").num_rows == 0
