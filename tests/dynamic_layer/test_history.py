"""Histories, popularity and vocabularies against plain Python."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, ago

from gfm_store.dynamic_layer.history import DAY, NUM_SIGNALS, Histories, Popularity, Vocabulary, microseconds
from gfm_store.warehouse.history import HistoryTables

NODE_TYPE = torch.tensor([0, 1, 0, 2, 1])


def history_tables(events, num_users, history_days=90):
    """From (user, node, signal, moment); sorted as the SQL does."""
    events = sorted(events, key=lambda event: (event[0], event[3], event[1], event[2]))
    n_before = [sum(e[0] == o[0] and o[3] < e[3] for o in events) for e in events]
    names = ["user_index", "node", "signal", "event_ts", "n_before"]
    kinds = [pa.int32(), pa.int32(), pa.int8(), pa.timestamp("us"), pa.int32()]
    rows = [(*event, n) for event, n in zip(events, n_before, strict=True)]
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    users = pa.array(range(num_users), pa.int32())
    return HistoryTables(
        as_of=AS_OF,
        user_node=pa.table({"user_index": users, "user_id": [f"u{i}" for i in range(num_users)]}),
        user_event=pa.table(columns, names=names),
        user_feature=pa.table({"user_index": users}),
        history_days=history_days,
    )


def listed(batch):
    """Per row, the (node, type, signal) of the places that hold an event."""
    return [
        [
            (int(n), int(s) // NUM_SIGNALS, int(s) % NUM_SIGNALS)
            for n, s in zip(nodes, slots, strict=True)
            if s >= 0
        ]
        for nodes, slots in zip(batch.node, batch.slot, strict=True)
    ]


events_of_users = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 4),
        st.integers(0, 2),
        st.integers(1, 30).map(lambda day: ago(day / 2)),
    ),
    max_size=25,
)


@given(
    events=events_of_users,
    num_events=st.integers(1, 6),
    history_days=st.integers(1, 15),
    day=st.integers(0, 14),
)
@settings(max_examples=60, deadline=None)
def test_a_history_is_the_newest_events_before_a_moment(events, num_events, history_days, day):
    histories = Histories.from_tables(history_tables(events, 4, history_days))
    moment = ago(day)
    user = torch.tensor([2, 0, 1, 3])
    early = [sorted(e for e in events if e[0] == u and e[3] < moment) for u in user.tolist()]
    batch = histories.before(
        user,
        torch.tensor([len(mine) for mine in early]),
        torch.full((4,), microseconds(moment)),
        num_events,
        NODE_TYPE,
    )
    assert batch.node.shape == batch.slot.shape == (4, num_events)
    for mine, found in zip(early, listed(batch), strict=True):
        newest = sorted(mine, key=lambda e: (e[3], e[1], e[2]))[::-1][:num_events]
        expected = [e for e in newest if e[3] >= moment - timedelta(days=history_days)]
        assert found == [(node, int(NODE_TYPE[node]), signal) for _, node, signal, _ in expected]
    for mine, ages, slots in zip(early, batch.age, batch.slot, strict=True):
        newest = sorted(mine, key=lambda e: (e[3], e[1], e[2]))[::-1][:num_events]
        days = [(moment - e[3]) / timedelta(days=1) for e in newest]
        assert ages[slots >= 0].tolist() == pytest.approx([d for d in days if d <= history_days])
        assert not ages[slots < 0].any()
    moments = torch.full((4,), microseconds(moment))
    assert histories.num_before(user, moments).tolist() == [len(mine) for mine in early]
    assert batch.node[batch.slot < 0].tolist() == [0] * int((batch.slot < 0).sum())


def test_the_newest_history_stands_just_before_the_moment():
    events = [(0, 1, 0, ago(3)), (0, 2, 1, ago(1)), (2, 3, 2, ago(95)), (2, 4, 0, ago(90))]
    histories = Histories.from_tables(history_tables(events, 3))
    assert histories.num_users == 3
    batch = histories.newest(torch.tensor([0, 1, 2]), AS_OF, 4, NODE_TYPE)
    assert listed(batch) == [[(2, 0, 1), (1, 1, 0)], [], [(4, 1, 0)]]


def test_nobody_has_a_history():
    histories = Histories.from_tables(history_tables([], 2))
    batch = histories.newest(torch.tensor([1, 0]), AS_OF, 3, NODE_TYPE)
    assert batch.slot.tolist() == [[-1] * 3] * 2
    assert batch.node.tolist() == [[0] * 3] * 2


def item_day(counts):
    """From {(node, days_ago): streams}."""
    rows = sorted((node, day, n) for (node, day), n in counts.items())
    return pa.table(
        {
            "node": pa.array([row[0] for row in rows], pa.int32()),
            "days_ago": pa.array([row[1] for row in rows], pa.int32()),
            "n_streams": pa.array([row[2] for row in rows], pa.int64()),
        }
    )


days_of_items = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 12)), st.integers(1, 9), max_size=20
)


@given(counts=days_of_items, windows=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple))
@settings(max_examples=60, deadline=None)
def test_popularity_counts_the_days_before_a_day(counts, windows):
    popularity = Popularity.from_table(item_day(counts), windows)
    node, day = torch.arange(4), torch.arange(-1, 15)
    expected = [
        [
            [
                sum(n for (i, d), n in counts.items() if i == item and now < d <= now + window)
                for window in windows
            ]
            for item in range(4)
        ]
        for now in day.tolist()
    ]
    found = popularity.features(node, day)
    np.testing.assert_allclose(found.numpy(), np.log1p(np.array(expected)), rtol=1e-6)
    one = popularity.count(node, torch.tensor(2), torch.tensor(windows[0]))
    assert one.tolist() == [row[0] for row in expected[3]]
    assert popularity.first_day(5).tolist() == [
        max((d for i, d in counts if i == item), default=-1) for item in range(5)
    ]


def test_popularity_without_windows_has_no_columns():
    assert Popularity.from_table(item_day({(0, 1): 2}), ()).features(
        torch.arange(3), torch.tensor([0])
    ).shape == (
        1,
        3,
        0,
    )


def test_a_pair_sees_neither_its_own_day_nor_later_ones():
    popularity = Popularity.from_table(item_day({(0, 0): 1, (0, 1): 10, (0, 2): 100, (0, 3): 1000}), (1, 90))
    moments = [ago(seconds=1), ago(1), ago(1, seconds=1), ago(2)]
    day = torch.tensor([(microseconds(AS_OF) - 1 - microseconds(moment)) // DAY for moment in moments])
    assert day.tolist() == [0, 0, 1, 1]
    counts = torch.expm1(popularity.features(torch.tensor([0]), day))[:, 0].round().int()
    assert counts.tolist() == [[10, 1110], [10, 1110], [100, 1100], [100, 1100]]


TABLE = pa.table(
    {
        "language": ["sv", "en", None, "en", "de", "sv", "en"],
        "genres": [["a", "b"], None, [], ["b"], ["c", None, "b"], ["x"], ["a"]],
    },
    schema=pa.schema([("language", pa.string()), ("genres", pa.list_(pa.string()))]),
)


def test_a_vocabulary_keeps_the_most_frequent_values():
    assert Vocabulary.from_table(TABLE, ["language", "genres"], 2).values == {
        "language": ["en", "sv"],
        "genres": ["b", "a"],
    }
    whole = Vocabulary.from_table(TABLE, ["language", "genres"], 9)
    assert whole.values["genres"] == ["b", "a", "c", "x"]  # ties by name
    assert whole.sizes() == {"language": 4, "genres": 5}


def test_unknown_and_missing_values_have_code_zero():
    vocabulary = Vocabulary.from_table(TABLE, ["language", "genres"], 2)
    assert vocabulary.codes(TABLE, "language").tolist() == [2, 1, 0, 1, 0, 2, 1]
    assert vocabulary.codes(pa.table({"other": ["en", "sv"]}), "language").tolist() == [0, 0]
    assert vocabulary.codes(TABLE.slice(0, 0), "language").tolist() == []


def test_bags_are_flat_codes_and_where_rows_begin():
    codes, offsets = Vocabulary.from_table(TABLE, ["genres"], 2).bags(TABLE, "genres")
    assert codes.tolist() == [2, 1, 1, 0, 0, 1, 0, 2]
    assert offsets.tolist() == [0, 2, 2, 2, 3, 6, 7]


@given(
    lists=st.lists(
        st.none() | st.lists(st.none() | st.sampled_from("abcd"), max_size=3), min_size=1, max_size=6
    ),
    size=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_bags_agree_with_plain_python(lists, size):
    table = pa.table({"genres": pa.array(lists, pa.list_(pa.string()))})
    vocabulary = Vocabulary.from_table(table, ["genres"], size)
    counts = Counter(value for one in lists for value in one or [] if value is not None)
    assert vocabulary.values["genres"] == sorted(counts, key=lambda value: (-counts[value], value))[:size]
    code = {value: i + 1 for i, value in enumerate(vocabulary.values["genres"])}
    codes, offsets = vocabulary.bags(table, "genres")
    ends = [*offsets.tolist()[1:], codes.numel()]
    found = [codes[begin:end].tolist() for begin, end in zip(offsets.tolist(), ends, strict=True)]
    assert found == [[code.get(value, 0) for value in one or []] for one in lists]


def test_a_row_has_each_of_its_frequent_values():
    vocabulary = Vocabulary.from_table(TABLE, ["language", "genres"], 9)
    assert vocabulary.multi_hot(TABLE, 2).int().tolist() == [
        # en, sv; b, a
        [0, 1, 1, 1],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 1],
    ]
    assert vocabulary.multi_hot(TABLE.select(["genres"]), 1).int().sum(0).tolist() == [0, 3]
    assert vocabulary.multi_hot(TABLE.slice(0, 0), 9).shape == (0, 7)
    assert Vocabulary({}).multi_hot(TABLE, 9).shape == (7, 0)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_table_in_pieces_has_the_same_codes(rows):
    pieces = pa.concat_tables([TABLE.slice(0, rows), TABLE.slice(rows)])
    vocabulary = Vocabulary.from_table(pieces, ["language", "genres"], 9)
    assert vocabulary == Vocabulary.from_table(TABLE, ["language", "genres"], 9)
    assert vocabulary.codes(pieces, "language").tolist() == vocabulary.codes(TABLE, "language").tolist()
    for found, expected in zip(
        vocabulary.bags(pieces, "genres"), vocabulary.bags(TABLE, "genres"), strict=True
    ):
        assert found.tolist() == expected.tolist()
