"""Rows in, rows out: what is stored, what is quarantined and why, and what an update leaves alone."""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_store.errors import SourceError, UsageError
from gfm_store.schema import EVENT_TYPES
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.ingest import SourceSummary, ingest

ITEMS = "item_id,item_type,title\ni1,podcast,One\ni2,music,Two\n"
EVENTS = "user_id,item_id,event_type,event_ts,seconds_played\n"


class World:
    """A folder of files and a warehouse."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "warehouse"

    def file(self, text: str, name: str = "rows.csv") -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def parquet(self, name: str = "rows.parquet", **columns: object) -> str:
        pq.write_table(pa.table(columns), self.folder / name)
        return str(self.folder / name)

    def ingest(self, **options: object) -> SourceSummary:
        """Ingest, and the summary of the last source."""
        return ingest(self.root, **options).sources[-1]

    def items(self, text: str = ITEMS, **options: object) -> SourceSummary:
        return self.ingest(items=[self.file(text, "items.csv")], **options)

    def events(self, text: str, **options: object) -> SourceSummary:
        return self.ingest(events=[self.file(EVENTS + text, "events.csv")], **options)

    def rows(self, sql: str) -> list[tuple]:
        with open_warehouse(self.root) as warehouse:
            return warehouse.execute(sql).fetchall()

    def rejected(self) -> list[tuple[int, str]]:
        return self.rows("SELECT source_line, reason FROM rejected_row ORDER BY source_line")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def counts(summary: SourceSummary) -> tuple[int, int, int, int, int]:
    """rows, new, updated, stored, rejected."""
    return (summary.n_rows, summary.n_new, summary.n_updated, summary.n_stored, summary.n_rejected)


def test_good_rows_are_stored_as_they_are_meant(world):
    world.items()
    summary = world.events(" u1 ,i1,stream,2024-01-02T03:04:05+02:00,12.5\n007,i2,skip,1704067200,\n")
    assert counts(summary) == (2, 2, 0, 0, 0)
    assert world.rows("SELECT * EXCLUDE ingest_id FROM interaction_event ORDER BY event_ts") == [
        ("007", "i2", "skip", datetime(2024, 1, 1), None),
        ("u1", "i1", "stream", datetime(2024, 1, 2, 1, 4, 5), 12.5),
    ]


FUTURE = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d")
BAD_EVENTS = [
    (",i1,stream,2024-01-01,", "missing user_id"),
    ("  ,i1,stream,2024-01-01,", "missing user_id"),
    ("u1,,stream,2024-01-01,", "missing item_id"),
    ("u1,i1,,2024-01-01,", "missing event_type"),
    ("u1,i1,rating:5,2024-01-01,", "unknown event type"),
    ("u1,i1,stream,,", "missing event_ts"),
    ("u1,i1,stream,yesterday,", "unparsable event_ts"),
    ("u1,i1,stream,2024-02-30,", "unparsable event_ts"),
    ("u1,i1,stream,infinity,", "unparsable event_ts"),
    ("u1,i1,stream,nan,", "unparsable event_ts"),
    (f"u1,i1,stream,{FUTURE},", "event_ts in the future"),
    ("u1,i1,stream,2024-01-01,long", "unparsable seconds_played"),
    ("u1,i1,stream,2024-01-01,inf", "unparsable seconds_played"),
    ("u1,i1,stream,2024-01-01,nan", "NaN seconds_played"),
    ("u1,i1,stream,2024-01-01,-1", "negative seconds_played"),
    ("u1,i9,stream,2024-01-01,", "unknown item"),
    ("u1,i1,stream,2024-01-01", "wrong number of columns"),
    ('"u1,i1,stream,2024-01-01,', "bad quotes"),
    ("u0,i1,stream,2024-01-01T00:00Z,5", "duplicate"),
]


def test_each_bad_event_is_quarantined_with_its_line_and_reason(world):
    world.items()
    lines = ["u0,i1,stream,2024-01-01,", *(line for line, _ in BAD_EVENTS), "u2,i2,follow,2024-01-01,"]
    summary = world.events("\n".join(lines))
    assert world.rejected() == [(line, reason) for line, (_, reason) in enumerate(BAD_EVENTS, start=3)]
    assert counts(summary) == (len(BAD_EVENTS) + 2, 2, 0, 0, len(BAD_EVENTS))
    assert {reason.reason: reason.n_rows for reason in summary.rejected} == Counter(
        reason for _, reason in BAD_EVENTS
    )


def test_a_rejected_row_is_kept_as_json(world):
    world.items()
    world.events('"u ""1""",nowhere,stream,2024-01-01,\nx\n')
    content = [
        json.loads(row[0]) for row in world.rows("SELECT content FROM rejected_row ORDER BY source_line")
    ]
    assert content == [
        {
            "user_id": 'u "1"',
            "item_id": "nowhere",
            "event_type": "stream",
            "event_ts": "2024-01-01",
            "seconds_played": "",
        },
        {"line": "x"},
    ]


def test_bad_items(world):
    world.items()
    header = "item_id,item_type,published_at,withdrawn_at\n"
    summary = world.items(
        header + "i3,music,1998,\n,music,,\ni4, ,,\ni5,music,soon,\ni6,music,,never\ni3,music,1999,\n"
        "i1,music,,\ni7,music,,2020-01-01\n"
    )
    assert world.rejected() == [
        (3, "missing item_id"),
        (4, "missing item_type"),
        (5, "unparsable published_at"),
        (6, "unparsable withdrawn_at"),
        (7, "duplicate"),
        (8, "item_id has another item_type, which it keeps"),
    ]
    assert counts(summary) == (8, 2, 0, 0, 6)
    assert world.rows("SELECT item_type, title FROM item WHERE item_id = 'i1'") == [("podcast", "One")]


def test_the_first_good_row_of_an_item_counts(world):
    world.items("item_id,item_type,title\na,,no type\na,music,First\na,music,Second\n")
    assert world.rows("SELECT title FROM item") == [("First",)]
    assert world.rejected() == [(2, "missing item_type"), (4, "duplicate")]


def test_an_update_overwrites_the_columns_that_it_has(world):
    world.items(
        "item_id,item_type,title,language,genres\na,music,Old,en,x;y\nb,music,Same,en,\nc,music,C,,\n"
    )
    summary = world.items("title,item_type,item_id,language\nNew,music,a,\nSame,music,b,en\nD,music,d,\n")
    assert counts(summary) == (3, 1, 1, 1, 0)
    assert world.rows("SELECT item_id, title, language, genres FROM item ORDER BY item_id") == [
        ("a", "New", None, ["x", "y"]),
        ("b", "Same", "en", None),
        ("c", "C", None, None),
        ("d", "D", None, None),
    ]


def test_later_sources_of_one_call_update_earlier_ones(world):
    one = world.file("item_id,item_type,title\na,music,Old\n", "one.csv")
    two = world.file("item_id,item_type,title\na,music,New\n", "two.csv")
    summary = ingest(world.root, items=[one, two])
    assert [counts(source) for source in summary.sources] == [(1, 1, 0, 0, 0), (1, 0, 1, 0, 0)]
    assert world.rows("SELECT title FROM item") == [("New",)]
    assert world.rows("SELECT ingest_id, n_new, n_updated FROM ingest_run ORDER BY 1") == [
        (1, 1, 0),
        (2, 0, 1),
    ]


def test_events_refer_to_the_run_that_brought_them(world):
    world.items()
    world.events("u1,i1,stream,2024-01-01,\n")
    world.events("u1,i1,stream,2024-01-01,\nu1,i9,stream,2024-01-02,\nu1,i2,stream,2024-01-03,\n")
    assert world.rows("SELECT item_id, ingest_id FROM interaction_event ORDER BY 1") == [("i1", 2), ("i2", 3)]
    assert world.rows("SELECT ingest_id FROM rejected_row") == [(3,)]
    assert world.rows(
        "SELECT n_rows, n_new, n_updated, n_stored, n_rejected FROM ingest_run WHERE ingest_id = 3"
    ) == [(3, 1, 0, 1, 1)]


def test_events_on_items_that_come_later_are_taken_when_given_again(world):
    world.items("item_id,item_type\ni1,podcast\n")
    world.events("u1,i2,stream,2024-01-01,\n")
    assert world.rejected() == [(2, "unknown item")]
    world.items()
    assert counts(world.events("u1,i2,stream,2024-01-01,\n")) == (1, 1, 0, 0, 0)
    assert world.rejected() == []


def test_rejected_rows_of_a_source_do_not_pile_up(world):
    world.items()
    for _ in range(2):
        world.events("u1,i1,stream,2024-01-01,\nu1,i9,stream,2024-01-01,\n")
    world.events("u1,i1,stream,2024-01-01,\nu1,i1,nonsense,2024-01-01,\n")
    assert world.rejected() == [(3, "unknown event type")]


def test_user_profiles_take_further_columns(world):
    world.ingest(users=[world.file("user_id,country,plan\nu1,DE,free\nu2,,\nu1,FR,x\n,AT,y\n")])
    world.ingest(users=[world.file("user_id,Plan,age_band,segment\nu1,paid,25-34,s\n")])
    assert world.rows("SELECT user_id, country, age_band, plan, segment FROM user_profile ORDER BY 1") == [
        ("u1", "DE", "25-34", "paid", "s"),
        ("u2", None, None, None, None),
    ]
    world.ingest(users=[world.file("user_id\nu1\nu1\n\nu3\n")])
    assert world.rejected() == [(3, "duplicate")]


def test_names_and_values_are_never_sql(world):
    attack = '"; DROP TABLE item; --'
    value = "'); DROP TABLE item; --"
    world.items(f"item_id,item_type,title\n{value},music,{value}\n")
    quoted = attack.replace('"', '""')
    world.ingest(users=[world.file(f'user_id,"{quoted}"\n{value},{value}\n')])
    world.ingest(
        events=[world.file(f'"{quoted}",item_id,event_type\n2024-01-01,{value},{value}\n,{value},{value}\n')],
        mapping={"event_ts": attack, "user_id": f"={value}"},
        event_types={value: "stream"},
    )
    assert world.rows("SELECT item_id, title FROM item") == [(value, value)]
    assert world.rows(f'SELECT "{quoted}" FROM user_profile') == [(value,)]
    assert world.rows("SELECT user_id, item_id FROM interaction_event") == [(value, value)]
    assert world.rows("SELECT json_extract_string(content, ['$.\"item_id\"']) FROM rejected_row") == [
        ([value],)
    ]


def test_parquet_types(world):
    world.ingest(
        items=[
            world.parquet(
                item_id=[1.0, 2.0],
                item_type=["music"] * 2,
                genres=[[" a", "", None], []],
                published_at=pa.array([1998, None], pa.int16()),
            )
        ]
    )
    assert world.rows("SELECT item_id, genres, published_at FROM item ORDER BY 1") == [
        ("1", ["a"], datetime(1998, 1, 1)),
        ("2", None, None),
    ]
    moment = datetime(2024, 1, 1, 12, tzinfo=UTC)
    summary = world.ingest(
        events=[
            world.parquet(
                user_id=pa.array([5, 6, None], pa.int64()),
                item_id=[1, 2, 2],
                event_type=pa.array(["stream"] * 3).dictionary_encode(),
                event_ts=pa.array([moment] * 3, pa.timestamp("ns", "Europe/Berlin")),
                seconds_played=[1.5, math.nan, None],
            )
        ]
    )
    assert world.rows("SELECT user_id, item_id, event_ts FROM interaction_event") == [
        ("5", "1", datetime(2024, 1, 1, 12))
    ]
    assert world.rejected() == [(2, "NaN seconds_played"), (3, "missing user_id")]
    assert json.loads(summary.rejected[0].example)["seconds_played"] == "nan"


@pytest.mark.parametrize(
    ("type_", "too_great"), [(pa.float32(), 2.0**24), (pa.float64(), 2.0**53), (pa.float64(), 1e300)]
)
def test_ids_in_floats_that_cannot_tell_them_apart_are_refused(type_, too_great, world):
    item_id = pa.array([1.0, 2.0**23, too_great], type_)
    given = world.parquet(item_id=item_id, item_type=["podcast"] * 3)
    with pytest.raises(SourceError, match=r"item_id holds ids as floating-point .* \(first in row 3: "):
        world.ingest(items=[given])
    assert not (world.root / "gfm.duckdb").exists()
    fine = world.parquet(item_id=item_id.slice(0, 2), item_type=["podcast"] * 2)
    assert counts(world.ingest(items=[fine])) == (2, 2, 0, 0, 0)
    assert world.rows("SELECT item_id FROM item ORDER BY item_id") == [("1",), ("8388608",)]


def test_decimal_ids_keep_all_digits(world):
    item_id = pa.array([2**53 + 1, None], pa.decimal128(20, 0))
    assert counts(world.ingest(items=[world.parquet(item_id=item_id, item_type=["a", "a"])])) == (
        2,
        1,
        0,
        0,
        1,
    )
    assert world.rows("SELECT item_id FROM item") == [(str(2**53 + 1),)]


def test_recbole_files(world):
    items = world.file(
        "item_id:token\tmovie_title:token_seq\tgenre:token_seq\n1\tToy Story\tComedy Crime\n", "m.item"
    )
    events = world.file("user_id:token\titem_id:token\ttimestamp:float\n9\t1\t881250949\n", "m.inter")
    ingest(
        world.root,
        items=[items],
        events=[events],
        mapping={"item_type": "=movie"},
        event_types={"*": "stream"},
    )
    assert world.rows("SELECT item_id, item_type, title, genres FROM item") == [
        ("1", "movie", "Toy Story", ["Comedy", "Crime"])
    ]
    assert world.rows("SELECT user_id, item_id, event_type, event_ts FROM interaction_event") == [
        ("9", "1", "stream", datetime(1997, 12, 4, 15, 55, 49))
    ]


def test_event_names_exact_before_ours_before_patterns(world):
    world.items()
    rows = ["rating:5", "rating:1", "skip", "preview", "100%", "x_y", "xzy"]
    world.events(
        "".join(f"u,i1,{name},2024-01-0{day},\n" for day, name in enumerate(rows, start=1)),
        event_types={
            "rating:*": "stream",
            "rating:1": "skip",
            "preview": "follow",
            "s*p": "stream",
            "x_y": "follow",
            "100%": "intent_to_pay",
        },
    )
    assert world.rows("SELECT day(event_ts), event_type FROM interaction_event ORDER BY 1") == [
        (1, "stream"),
        (2, "skip"),
        (3, "skip"),
        (4, "follow"),
        (5, "intent_to_pay"),
        (6, "follow"),
    ]
    assert world.rejected() == [(8, "unknown event type")]


def test_a_scoped_map_goes_before_a_general_one(world):
    world.ingest(
        items=[world.file("asin,item_type,name\ni1,music,N\n", "i.csv")],
        events=[world.file("product,who,event_type,event_ts\ni1,u,stream,2024-01-01\n", "e.csv")],
        mapping={"items.item_id": "asin", "item_id": "product", "user_id": "who", "title": "name"},
    )
    assert world.rows("SELECT item_id, title FROM item") == [("i1", "N")]
    assert world.rows("SELECT user_id, item_id FROM interaction_event") == [("u", "i1")]


def test_a_source_without_rows_is_no_failure(world):
    assert counts(world.items("item_id,item_type\n")) == (0, 0, 0, 0, 0)


REFUSED = {
    "nothing given": ({}, "at least one of"),
    "missing columns": (
        {"events": "who,item_id,kind,ts\nu,i1,play,1\n"},
        "--map user_id=THEIR_COLUMN --map event_type=kind (or, when all rows are of one kind, "
        "--event-type '*=stream', say) --map event_ts=ts",
    ),
    "what is there": ({"events": "user,item_id,kind,ts\n"}, "It has: user, item_id, kind, ts."),
    "likeliest": ({"items": "asin,Item Type\n"}, "--map item_id=asin --map item_type='Item Type'"),
    "no such column": (
        {"items": ITEMS, "mapping": {"title": "titel"}},
        "has no column 'titel'. It has: item_id, item_type, title. Did you mean --map title=title?",
    ),
    "no such canonical": ({"items": ITEMS, "mapping": {"titel": "title"}}, "Did you mean title?"),
    "no such scope": ({"items": ITEMS, "mapping": {"item.title": "t"}}, "before the dot stands items"),
    "no use": ({"items": ITEMS, "mapping": {"events.event_ts": "ts"}}, "no source of this call"),
    "twice": ({"items": "item_id,item_type,item_id\n"}, "2 columns named 'item_id'"),
    "taken": ({"users": "user_id,User_Index\nu,1\n"}, "column 'User_Index' cannot stand in a profile"),
    "ours": ({"users": "user_id,source_line\nu,1\n"}, "column 'source_line' cannot stand in a profile"),
    "event type": ({"items": ITEMS, "event_types": {"play": "listen"}}, "known are stream, follow"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_cannot_work_says_how_to_mend_it_and_leaves_nothing(name, world):
    given, message = REFUSED[name]
    options = {
        key: [world.file(value, f"{key}.csv")] if isinstance(value, str) else value
        for key, value in given.items()
    }
    with pytest.raises((SourceError, UsageError)) as refused:
        ingest(world.root, **options)
    assert message in str(refused.value)
    assert not world.root.exists()


cell = st.sampled_from(["", " ", "a", "b", "c", "é,", 'q"', "2\n3"])
event = st.tuples(
    cell,
    st.sampled_from(["i1", "i2", "i9", ""]),
    st.sampled_from(["stream", "skip", "play", "nonsense", ""]),
    st.sampled_from(
        ["2024-01-01", "1704067200", "1704067200000", "2024-01-01T01:00:00+01:00", "2024-01-02", "?", ""]
    ),
    st.sampled_from(["", "1", "-1", "nan", "x"]),
)


def stored_and_rejected(rows: list[tuple[str, ...]]) -> tuple[set[tuple[str, ...]], int]:
    """The oracle: the identities stored, and how many rows are not."""
    moments = {"2024-01-02": 2, "?": None, "": None}
    stored = set()
    for user, item, kind, ts, seconds in rows:
        day = moments.get(ts, 1)
        kind = {"play": "stream"}.get(kind, kind)
        if user.strip() and item in ("i1", "i2") and kind in EVENT_TYPES and day and seconds in ("", "1"):
            stored.add((user.strip(), item, kind, day))
    return stored, len(rows) - len(stored)


@settings(max_examples=12, deadline=None)
@given(st.lists(event, max_size=15))
def test_every_row_is_stored_or_rejected_exactly_once(tmp_path_factory, rows):
    world = World(tmp_path_factory.mktemp("world"))
    text, lines, line = "", [], 2
    for row in rows:
        record = ",".join('"' + value.replace('"', '""') + '"' for value in row) + "\n"
        text, lines, line = text + record, [*lines, line], line + record.count("\n")
    world.items()
    summary = world.events(text, event_types={"pl*": "stream"})
    stored, n_rejected = stored_and_rejected(rows)
    found = world.rows("SELECT user_id, item_id, event_type, day(event_ts) FROM interaction_event")
    assert sorted(found) == sorted(stored)
    assert counts(summary) == (len(rows), len(stored), 0, 0, n_rejected)
    rejected_lines = [line for line, _ in world.rejected()]
    assert len(set(rejected_lines)) == n_rejected and set(rejected_lines) <= set(lines)
