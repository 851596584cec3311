"""sql/graph and sql/audit: rows in, rows out, and what `read_graph` does where data is thin."""

import hashlib
from collections import defaultdict
from datetime import timedelta
from itertools import combinations, permutations
from math import sqrt
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import AS_OF, Recorder, add_events, ago, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import GraphConfig
from gfm_store.errors import EmptyWarehouseError, UsageError, WarehouseError
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import (
    NOBODY,
    audit,
    read_edges,
    read_graph,
    read_interactions,
    read_item_nodes,
)

MICROSECOND = timedelta(microseconds=1)


def nodes(root, as_of=AS_OF):
    with open_warehouse(root) as warehouse:
        warehouse.create("graph/item_node", as_of=as_of)
        return warehouse.arrow("SELECT * FROM item_node ORDER BY node")


def test_items_and_types_are_numbered_by_name(tmp_path):
    make_warehouse(tmp_path, catalogue("s1", "b2", "p1", "b1"), [])
    table = nodes(tmp_path).select(["node", "item_id", "item_type", "type_index"])
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, "b1", "book", 0),
        (1, "b2", "book", 0),
        (2, "p1", "podcast", 1),
        (3, "s1", "song", 2),
    ]
    assert table.schema.types == [pa.int32(), pa.string(), pa.string(), pa.int32()]


BEFORE, AT, AFTER = AS_OF - MICROSECOND, AS_OF, ago(-1)


@pytest.mark.parametrize(
    ("published_at", "event_ts", "withdrawn_at", "expected"),
    [
        # expected: None where the item is not known, else (has_events, is_available)
        (None, None, None, (False, True)),  # never had an event: always available
        (None, BEFORE, None, (True, True)),
        (None, AT, None, None),  # its first event tells that it came later
        (None, AFTER, None, None),
        (BEFORE, None, None, (False, True)),
        (BEFORE, AFTER, None, (False, True)),
        (AT, None, None, None),
        (AFTER, None, None, None),
        (AFTER, BEFORE, None, (True, False)),  # known by its events, offered only once it is out
        (None, BEFORE, BEFORE, (True, False)),
        (None, BEFORE, AT, (True, False)),
        (None, BEFORE, AFTER, (True, True)),  # withdrawn only later
        (None, None, BEFORE, (False, False)),
    ],
)
def test_which_items_are_known_and_available(tmp_path, published_at, event_ts, withdrawn_at, expected):
    item = catalogue("p1", published_at=published_at, withdrawn_at=withdrawn_at)
    make_warehouse(tmp_path, item, [("u", "p1", "preview", event_ts)] if event_ts else [])
    rows = nodes(tmp_path).to_pylist()
    assert [(row["has_events"], row["is_available"]) for row in rows] == ([expected] if expected else [])


def interactions(root, as_of=AS_OF, window_start=None, edge_signals=("stream",), newest=50):
    """(user_index, item_id) of graph_interaction."""
    with open_warehouse(root) as warehouse:
        warehouse.create("graph/item_node", as_of=as_of)
        warehouse.create(
            "graph/graph_interaction",
            as_of=as_of,
            window_start=window_start or ago(90),
            edge_signals=list(edge_signals),
            newest_items_per_user=newest,
            folds=4,
        )
        return warehouse.execute(
            "SELECT user_index, item_id FROM graph_interaction JOIN item_node USING (node) ORDER BY ALL"
        ).fetchall()


def test_the_window_includes_its_start_and_excludes_its_end(tmp_path):
    moments = {"p1": ago(90) - MICROSECOND, "p2": ago(90), "p3": AS_OF - MICROSECOND, "p4": AS_OF}
    make_warehouse(
        tmp_path,
        catalogue(*moments, published_at=ago(500)),
        [("u", item, "stream", moment) for item, moment in moments.items()],
    )
    assert interactions(tmp_path) == [(0, "p2"), (0, "p3")]


def test_only_a_users_newest_items_count_by_their_last_event(tmp_path):
    make_warehouse(
        tmp_path,
        catalogue("p1", "p2", "p3"),
        [
            *[stream("u", item, day) for item, day in (("p1", 30), ("p2", 20), ("p3", 10), ("p1", 5))],
            stream("v", "p2", 80),
        ],
    )
    assert interactions(tmp_path, newest=2) == [(0, "p1"), (0, "p3"), (1, "p2")]


def test_only_edge_signals_make_interactions(tmp_path):
    events = [("u", "p1", "stream", ago(1)), ("u", "p2", "follow", ago(1)), ("u", "p3", "skip", ago(1))]
    make_warehouse(tmp_path, catalogue("p1", "p2", "p3"), events)
    assert interactions(tmp_path) == [(0, "p1")]
    assert interactions(tmp_path, edge_signals=("stream", "follow")) == [(0, "p1"), (0, "p2")]


def co_interaction_oracle(touched, type_of, min_users, strongest):
    """{(src, dst): (n_users, weight)} of the edges that either end keeps."""
    users = defaultdict(set)
    for user, node in touched:
        users[node].add(user)
    shared = {(a, b): len(users[a] & users[b]) for a, b in permutations(users, 2)}
    edge = {
        (a, b): (n, n / sqrt(float(len(users[a])) * float(len(users[b]))))
        for (a, b), n in shared.items()
        if n >= min_users
    }
    by_end = defaultdict(list)
    for (a, b), (n, weight) in edge.items():
        by_end[a, type_of(b)].append((-weight, -n, b))
    kept = {(a, b) for (a, _), ends in by_end.items() for _, _, b in sorted(ends)[:strongest]}
    return {(a, b): value for (a, b), value in edge.items() if (a, b) in kept or (b, a) in kept}


@pytest.fixture(scope="module")
def empty_warehouse(tmp_path_factory):
    root = make_warehouse(tmp_path_factory.mktemp("empty"), [], [])
    with open_warehouse(root, threads=1) as warehouse:
        yield warehouse


def put(warehouse, name, rows, **columns):
    """A temporary table of integers."""
    table = pa.table(
        {column: pa.array([row[i] for row in rows], kind) for i, (column, kind) in enumerate(columns.items())}
    )
    warehouse.connection.register("given", table)
    warehouse.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given")
    warehouse.connection.unregister("given")


TOUCHED = {"user_index": pa.int32(), "fold": pa.int8(), "node": pa.int32(), "type_index": pa.int32()}


@given(
    seed=st.integers(0, 10**6),
    density=st.floats(0.2, 0.8),
    num_types=st.integers(1, 3),
    min_users=st.integers(1, 3),
    strongest=st.integers(1, 3),
    left_out=st.integers(NOBODY, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_co_interactions_agree_with_plain_python(
    empty_warehouse, seed, density, num_types, min_users, strongest, left_out
):
    random = Random(seed)
    touched = {(user, node) for user in range(14) for node in range(9) if random.random() < density}
    rows = [(user, user % 4, node, node % num_types) for user, node in touched]
    put(empty_warehouse, "graph_interaction", rows, **TOUCHED)
    empty_warehouse.create(
        "graph/co_interaction",
        min_users=min_users,
        strongest_neighbours=strongest,
        left_out_fold=left_out,
    )
    touched = {(user, node) for user, node in touched if user % 4 != left_out}
    found = empty_warehouse.execute("SELECT * FROM co_interaction").fetchall()
    assert {(src, dst): (n, weight) for src, dst, _, _, n, weight in found} == co_interaction_oracle(
        touched, lambda node: node % num_types, min_users, strongest
    )
    assert len(found) == len({(src, dst) for src, dst, *_ in found})
    assert [(a, b) for src, dst, a, b, *_ in found if (a, b) != (src % num_types, dst % num_types)] == []


def test_an_edge_stays_when_either_end_keeps_it(empty_warehouse):
    # Node 0 is everybody's strongest neighbour; keeping one each, it would itself keep only node 1.
    rows = [(u, 0, 0, 0) for u in range(6)] + [(u, 0, 1 + u // 2, 0) for u in range(6)]
    put(empty_warehouse, "graph_interaction", rows, **TOUCHED)
    empty_warehouse.create("graph/co_interaction", min_users=2, strongest_neighbours=1, left_out_fold=NOBODY)
    found = empty_warehouse.execute(
        "SELECT src, dst, n_users, round(weight, 6) FROM co_interaction"
    ).fetchall()
    both_ways = [(0, b) for b in (1, 2, 3)] + [(b, 0) for b in (1, 2, 3)]
    assert sorted(found) == [(a, b, 2, round(2 / sqrt(12), 6)) for a, b in both_ways]


def fans(items, users, days):
    """Everybody streams everything on that day."""
    return [stream(user, item, days) for user in users for item in items]


CONFIG = GraphConfig(window_days=30, min_users=2, min_coverage=0.5)


def read(root, config=CONFIG, as_of=AS_OF, held_out_days=0):
    """The graph, and what was said."""
    recorder = Recorder()
    with open_warehouse(root) as warehouse, progress.reporting(recorder):
        return read_graph(warehouse, as_of, config, held_out_days), recorder.said


def test_published_edges_carry_ids_and_types(tmp_path):
    make_warehouse(
        tmp_path, catalogue("p1", "b1", "s1"), [*fans(["p1", "b1"], "uv", 3), stream("w", "p1", 2)]
    )
    graph, said = read(tmp_path)
    weight = 2 / sqrt(3 * 2)
    assert [tuple(row.values()) for row in graph.co_interaction_edge.to_pylist()] == [
        ("b1", "book", "p1", "podcast", 2, pytest.approx(weight)),
        ("p1", "podcast", "b1", "book", 2, pytest.approx(weight)),
    ]
    assert graph.co_interaction.select(["src", "dst", "src_type", "dst_type"]).to_pylist() == [
        {"src": 0, "dst": 1, "src_type": 0, "dst_type": 1},
        {"src": 1, "dst": 0, "src_type": 1, "dst_type": 0},
    ]
    assert graph.item_types == ["book", "podcast", "song"]
    assert said == []


def test_text_is_title_description_and_genres(tmp_path):
    full = {"title": "Rome", "description": "An empire.", "genres": ["history", "war"]}
    rows = (
        catalogue("p1", **full) + catalogue("p2", title="Rome") + catalogue("p3") + catalogue("p4", genres=[])
    )
    make_warehouse(tmp_path, rows, [stream("u", "p1", 1)])
    graph, _ = read(tmp_path)
    assert graph.item_text["text"].to_pylist() == ["Rome. An empire. history, war", "Rome", "", ""]
    hashes = graph.item_text["text_hash"].to_pylist()
    assert hashes[2] == hashes[3]
    assert len(set(hashes)) == 3


def test_thin_data_widens_the_window_and_says_so(tmp_path):
    # u and v share p1 and p2 long ago; inside the window nobody shares anything.
    events = [*fans(["p1", "p2"], "uv", 100), stream("u", "p1", 3), stream("v", "p2", 3)]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events)
    graph, said = read(tmp_path)
    assert (graph.window_days, graph.min_users) == (101, 2)  # doubled to 60, then 120, but history is shorter
    assert graph.co_interaction.num_rows == 2
    assert len(said) == 1
    told = (
        "101 days (asked: 30) with min_users 2 (asked: 2): 100% of the items there have an edge (wanted: 50%)"
    )
    assert told in said[0]


def test_min_users_is_lowered_only_after_the_window(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2", "b1"), fans(["p1", "p2", "b1"], "u", 50))
    graph, said = read(tmp_path, CONFIG.model_copy(update={"min_users": 3}))
    assert (graph.window_days, graph.min_users) == (51, 1)
    assert graph.co_interaction.num_rows == 6
    assert len(said) == 1


def test_no_wanted_coverage_leaves_the_window_alone(tmp_path):
    make_warehouse(tmp_path, catalogue("p1", "p2"), [*fans(["p1", "p2"], "uv", 100), stream("u", "p1", 3)])
    graph, said = read(tmp_path, CONFIG.model_copy(update={"min_coverage": 0.0}))
    assert (graph.window_days, graph.co_interaction.num_rows, said) == (30, 0, [])


def test_nothing_before_the_moment_is_an_error_that_tells_the_first(tmp_path):
    make_warehouse(tmp_path, catalogue("p1"), [stream("u", "p1", 0)])
    with pytest.raises(
        EmptyWarehouseError, match=r"no event before 2024-06-01.*first is at 2024-06-01 00:00"
    ):
        read(tmp_path)
    with open_warehouse(tmp_path) as warehouse:
        assert read_item_nodes(warehouse, AS_OF + MICROSECOND).num_rows == 1


def test_too_many_item_types_are_an_error_that_tells_how_to_have_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr("gfm_store.warehouse.graph.MAX_ITEM_TYPES", 3)
    items = [item for kind in "edcba" for item in catalogue(f"item of {kind}", item_type=kind)]
    few, many = (make_warehouse(tmp_path / f"{n}", items[:n], [stream("u", "item of e", 1)]) for n in (3, 5))
    assert read(few)[0].item_types == ["c", "d", "e"]
    with pytest.raises(UsageError, match=r"holds 5 item types \('a', 'b', 'c', ...\).* 3 at most: .*genres"):
        read(many)


def test_no_event_at_or_after_the_moment_changes_the_graph(tmp_path):
    items = catalogue("p1", "p2", "b1") + catalogue("p3", published_at=ago(9))
    make_warehouse(tmp_path, items, fans(["p1", "b1"], "uv", 3) + fans(["p2"], "uvw", 40))
    before, _ = read(tmp_path)
    later = [
        (user, item, "stream", ago(-d))
        for user in "uvwx"
        for item in ("p1", "p2", "p3", "b1")
        for d in (0, 5)
    ]
    add_events(tmp_path, later)
    after, _ = read(tmp_path)
    assert before.co_interaction.num_rows == 2
    for name in ("item_node", "item_text", "co_interaction", "co_interaction_edge"):
        assert getattr(after, name).equals(getattr(before, name)), name
    assert after.folds == before.folds
    assert (after.window_days, after.min_users) == (before.window_days, before.min_users)


EDGE_KINDS = {
    "src": pa.int32(),
    "dst": pa.int32(),
    "src_type": pa.int32(),
    "dst_type": pa.int32(),
    "n_users": pa.int64(),
    "weight": pa.float64(),
}
GOOD = [(0, 1, 0, 0, 2, 0.5), (1, 0, 0, 0, 2, 0.5)]


@pytest.mark.parametrize(
    ("name", "rows", "n_offending"),
    [
        ("one_way_edge", GOOD, 0),
        ("one_way_edge", GOOD[:1], 1),
        ("one_way_edge", [GOOD[0], (1, 0, 0, 0, 3, 0.5)], 2),  # counts differ
        ("one_way_edge", [GOOD[0], (1, 0, 0, 0, 2, 0.4)], 2),  # weights differ
        ("one_way_edge", [(1, 1, 0, 0, 2, 0.5)], 1),  # to itself
        ("weak_edge", GOOD, 0),
        ("weak_edge", [(0, 1, 0, 0, 1, 0.5)], 1),
        ("weak_edge", [(0, 1, 0, 0, 2, 0.0)], 1),
        ("weak_edge", [(0, 1, 0, 0, 2, 1.0)], 0),
        ("weak_edge", [(0, 1, 0, 0, 2, 1.01)], 1),
    ],
)
def test_audits_of_edges_find_offences(empty_warehouse, name, rows, n_offending):
    put(empty_warehouse, "co_interaction", rows, **EDGE_KINDS)
    parameters = {"min_users": 2} if name == "weak_edge" else {}
    assert empty_warehouse.select(f"audit/{name}", **parameters).num_rows == n_offending


@pytest.mark.parametrize(
    ("name", "items", "offending"),
    [
        ("event_without_item", catalogue("p1"), []),
        ("event_without_item", catalogue("p2"), [{"user_id": "u", "item_id": "p1", "event_ts": ago(1)}]),
        ("duplicate_item", catalogue("p1"), []),
        ("duplicate_item", catalogue("p1", "p1", "p2"), [{"item_id": "p1", "n_rows": 2}]),
    ],
)
def test_audits_of_the_warehouse_find_offences(tmp_path, name, items, offending):
    make_warehouse(tmp_path, items, [stream("u", "p1", 1)])
    with open_warehouse(tmp_path) as warehouse:
        assert warehouse.select(f"audit/{name}").to_pylist() == offending
        if offending:
            with pytest.raises(WarehouseError, match=rf"audit {name} found 1 offending rows.*p1"):
                audit(warehouse, name)


def test_a_graph_of_a_broken_warehouse_is_refused(tmp_path):
    make_warehouse(tmp_path, catalogue("p1"), [stream("u", "p1", 1), stream("u", "gone", 1)])
    with pytest.raises(WarehouseError, match="event_without_item"):
        read(tmp_path)


def test_edges_with_min_users_agree_with_the_definition_end_to_end(tmp_path):
    likes = {"u": "p1 p2 b1", "v": "p1 p2", "w": "p2 b1", "x": "p1"}
    events = [stream(user, item, 5) for user, items in likes.items() for item in items.split()]
    make_warehouse(tmp_path, catalogue("p1", "p2", "b1"), events)
    graph, _ = read(tmp_path)
    expected = {}
    for a, b in combinations(["b1", "p1", "p2"], 2):
        n = sum(a in items.split() and b in items.split() for items in likes.values())
        if n >= 2:
            expected[a, b] = expected[b, a] = n
    rows = graph.co_interaction_edge.to_pylist()
    assert {(row["src_item_id"], row["dst_item_id"]): row["n_users"] for row in rows} == expected
    assert expected == {("p1", "p2"): 2, ("p2", "p1"): 2, ("b1", "p2"): 2, ("p2", "b1"): 2}


# Folds of users: what is learned from a user is read without the user's fold.


def expected_fold(user, folds):
    """By the first hex digit of the hash of the id."""
    return (int(hashlib.md5(user.encode()).hexdigest()[0], 16) + 1) % folds


USERS = [f"user{i:02}" for i in range(40)]


def likings(seed=0):
    """Users with random sets of ten items of three types over two months."""
    random = Random(seed)
    items = ("p1", "p2", "p3", "p4", "b1", "b2", "b3", "s1", "s2", "s3")
    return [
        stream(user, item, random.uniform(1, 60)) for user in USERS for item in random.sample(items, 4)
    ], catalogue(*items, published_at=ago(500))


FOLDED = GraphConfig(window_days=30, min_coverage=0.0, user_set_days=50, strongest_neighbours=3)


@pytest.mark.parametrize("folds", [2, 4, 8])
def test_users_are_dealt_into_folds_by_their_id(tmp_path, folds):
    """The same in every table and at every moment, whoever else is there."""
    events, items = likings()
    make_warehouse(tmp_path, items, events)
    found = {}
    with open_warehouse(tmp_path) as warehouse:
        for moment in (AS_OF, ago(20), ago(45)):
            read_item_nodes(warehouse, moment)
            config = FOLDED.model_copy(update={"folds": folds})
            sets = read_interactions(warehouse, moment, config, 30, 2).user_set
            there = sorted({u for u, _, _, ts in events if moment - timedelta(days=50) <= ts < moment})
            for user, fold in zip(sets["user_index"].to_pylist(), sets["fold"].to_pylist(), strict=True):
                found.setdefault(there[user], set()).add(fold)
            read_edges(warehouse, moment, config, 30, 2)
            there = sorted({u for u, _, _, ts in events if moment - timedelta(days=30) <= ts < moment})
            for user, fold in warehouse.execute(
                "SELECT DISTINCT user_index, fold FROM graph_interaction"
            ).fetchall():
                found.setdefault(there[user], set()).add(fold)
    assert found == {user: {expected_fold(user, folds)} for user in USERS}
    assert {fold for folds in found.values() for fold in folds} == set(range(folds))


def test_a_left_out_fold_is_as_if_its_users_were_not_there(tmp_path):
    events, items = likings()
    whole, _ = read(make_warehouse(tmp_path / "whole", items, events), FOLDED)
    assert len(whole.folds.co_interaction) == FOLDED.folds
    for fold, edges in enumerate(whole.folds.co_interaction):
        others = [event for event in events if expected_fold(event[0], FOLDED.folds) != fold]
        alone, _ = read(make_warehouse(tmp_path / f"without{fold}", items, others), FOLDED)
        assert alone.item_node.select(["node", "item_id"]) == whole.item_node.select(["node", "item_id"])
        assert edges.num_rows > 0
        assert edges.equals(alone.co_interaction)
        assert not edges.equals(whole.co_interaction)
        # Their sets are those of everybody, less the fold's; numbers of users close up.
        kept = whole.folds.user_set.filter(pc.not_equal(whole.folds.user_set["fold"], fold))
        for name in ("fold", "node"):
            assert kept[name].equals(alone.folds.user_set[name])
        closed = {user: i for i, user in enumerate(sorted(set(kept["user_index"].to_pylist())))}
        assert [closed[u] for u in kept["user_index"].to_pylist()] == alone.folds.user_set[
            "user_index"
        ].to_pylist()


@pytest.mark.parametrize("days", [1, 9, 33])
def test_early_folds_are_those_of_a_world_cut_there(tmp_path, days):
    events, items = likings()
    whole, _ = read(make_warehouse(tmp_path / "whole", items, events), FOLDED, held_out_days=days)
    before = [event for event in events if event[3] < ago(days)]
    cut, _ = read(make_warehouse(tmp_path / "cut", items, before), FOLDED, ago(days))
    assert len(whole.early_folds.co_interaction) == FOLDED.folds
    for edges, expected in zip(whole.early_folds.co_interaction, cut.folds.co_interaction, strict=True):
        assert edges.num_rows > 0
        assert edges.equals(expected)
    assert whole.early_folds.user_set.equals(cut.folds.user_set)
    # What is known now is as without early folds.
    alone, _ = read(tmp_path / "whole", FOLDED)
    assert alone.early_folds is None
    assert whole.folds == alone.folds
    assert whole.co_interaction.equals(alone.co_interaction)
    assert whole.folds != whole.early_folds


def test_nothing_touched_before_the_last_days_makes_no_early_folds(tmp_path):
    events = [("u", "p1", "follow", ago(20)), stream("u", "p1", 7), stream("v", "p2", 2)]
    make_warehouse(tmp_path, catalogue("p1", "p2"), events)
    found = [read(tmp_path, FOLDED, held_out_days=days)[0].early_folds for days in (6, 7, 30)]
    assert found[0].user_set.to_pylist() == [
        {"user_index": 0, "fold": expected_fold("u", FOLDED.folds), "node": 0}
    ]
    assert found[1:] == [None, None]


def test_sets_hold_what_a_user_touched_newest_first_and_further_back_than_edges(tmp_path):
    moments = {"p1": ago(60) - MICROSECOND, "p2": ago(60), "b1": ago(40), "b2": ago(5), "s1": AS_OF}
    events = [("u", item, "stream", moment) for item, moment in moments.items()]
    events += [("v", "p1", "stream", ago(3)), ("v", "b1", "follow", ago(2)), ("v", "p1", "stream", ago(1))]
    events += [("w", "b1", "stream", ago(100))]
    make_warehouse(tmp_path, catalogue(*moments, published_at=ago(500)), events)

    def sets(**settings):
        config = GraphConfig(window_days=30, user_set_days=60, min_coverage=0.0)
        graph, _ = read(tmp_path, config.model_copy(update=settings))
        ids = graph.item_node["item_id"].to_pylist()
        rows = graph.folds.user_set.to_pylist()
        assert [(row["user_index"], row["node"]) for row in rows] == sorted(
            (row["user_index"], row["node"]) for row in rows
        )
        return [(row["user_index"], ids[row["node"]]) for row in rows]

    assert sets() == [(0, "b1"), (0, "b2"), (0, "p2"), (1, "p1")]
    assert sets(user_set_items=2) == [(0, "b1"), (0, "b2"), (1, "p1")]
    assert sets(edge_signals=("stream", "follow"))[3:] == [(1, "b1"), (1, "p1")]
    assert sets(user_set_days=1) == [(0, "p1")]  # a day ago, to the microsecond


@pytest.mark.parametrize("days", [0, 9, 33])
def test_what_was_known_before_a_moment_is_what_a_world_cut_there_knows(tmp_path, days):
    events, items = likings()
    make_warehouse(tmp_path / "whole", items, events)
    make_warehouse(tmp_path / "cut", items, [event for event in events if event[3] < ago(days)])
    found = []
    for name in ("whole", "cut"):
        with open_warehouse(tmp_path / name) as warehouse:
            read_item_nodes(warehouse, AS_OF)
            found.append(read_interactions(warehouse, ago(days), FOLDED, 30, 2))
    assert found[0].co_interaction.num_rows > 0
    assert found[0].co_interaction.equals(found[1].co_interaction)
    assert found[0].user_set.equals(found[1].user_set)


def test_what_is_known_now_is_what_the_graph_says(tmp_path):
    events, items = likings()
    graph, _ = read(make_warehouse(tmp_path, items, events), FOLDED)
    with open_warehouse(tmp_path) as warehouse:
        read_item_nodes(warehouse, AS_OF)
        known = read_interactions(warehouse, AS_OF, FOLDED, graph.window_days, graph.min_users)
    assert known.co_interaction.equals(graph.co_interaction)
    assert known.user_set.equals(graph.folds.user_set)
