"""How single values are read: moments, lists, numbers, from text and from typed columns."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import rewrite_warehouse
from gfm_store.warehouse.ingest.columns import Column, kind_of
from gfm_store.warehouse.ingest.mapping import ColumnMapping, likeliest


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    with rewrite_warehouse(tmp_path_factory.mktemp("values") / "warehouse") as opened:
        yield opened


def values_of(warehouse, array: pa.Array, reading: str, **options: object) -> list[object]:
    """The values of `array`, read as canonical ones."""
    warehouse.connection.register("given", pa.table({"value": array}))
    sql = getattr(Column("value", "value", kind_of(array.type)), reading)(**options)
    return [value for (value,) in warehouse.execute(f"SELECT {sql} FROM given").fetchall()]


def value_of(warehouse, array: pa.Array, reading: str, **options: object) -> object:
    """The one value of `array`, read as a canonical one."""
    (value,) = values_of(warehouse, array, reading, **options)
    return value


MOMENT = datetime(2013, 2, 28, 14, 38, 27)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-02-28T14:38:27", MOMENT),
        ("2013-02-28 14:38:27Z", MOMENT),
        (" 2013-02-28T16:38:27+02:00 ", MOMENT),
        ("2013-02-28T20:08:27+0530", MOMENT),
        ("2013-02-28T14:38:27.123456789", MOMENT.replace(microsecond=123456)),
        ("2013-02-28T14:38", MOMENT.replace(second=0)),
        ("2013-02-28T15:38+01:00", MOMENT.replace(second=0)),
        ("2013-02-28", datetime(2013, 2, 28)),
        ("20130228", datetime(2013, 2, 28)),
        ("2013-02", datetime(2013, 2, 1)),
        ("2013", datetime(2013, 1, 1)),
        ("1362062307", MOMENT),
        ("1362062307.5", MOMENT.replace(microsecond=500_000)),
        ("1.362062307e9", MOMENT),
        ("1362062307123", MOMENT.replace(microsecond=123_000)),
        ("1362062307123456", MOMENT.replace(microsecond=123_456)),
        ("1362062307000000000", MOMENT),
        ("0", datetime(1970, 1, 1)),
        ("-86400", datetime(1969, 12, 31)),
        ("", None),
        ("28.02.2013", None),
        ("2013-02-29", None),
        ("2013-13", None),
        ("-infinity", None),
        ("inf", None),
        ("1e30", None),
        ("now", None),
        ("2013-02-28\t16:38:27+02:00", MOMENT),
        ("253402300799", datetime(9999, 12, 31, 23, 59, 59)),
        ("253402300799000", datetime(9999, 12, 31, 23, 59, 59)),
        ("290000-01-01", None),
        ("0001-01-01 (BC)", None),
        ("-99999999999", None),
        ("2013-02-28T14:38:27 America/New_York", MOMENT.replace(hour=19)),
    ],
)
def test_moments_of_text(text, expected, warehouse):
    assert value_of(warehouse, pa.array([text]), "moment", whole_years=False) == expected


def test_a_named_zone_is_that_of_its_own_row(warehouse):
    texts = {
        "2013-02-28T14:38:27 America/New_York": MOMENT.replace(hour=19),
        "2013-02-28T14:38:27": MOMENT,
        "2013-02-28": datetime(2013, 2, 28),
        "2013-02-28 16:38:27+02:00": MOMENT,
        "2013-02-28T14:38:27Z": MOMENT,
    }
    assert values_of(warehouse, pa.array(list(texts)), "moment", whole_years=False) == list(texts.values())


@pytest.mark.parametrize(
    ("array", "as_year", "as_epoch"),
    [
        (pa.array([1998]), datetime(1998, 1, 1), datetime(1970, 1, 1, 0, 33, 18)),
        (pa.array([1998.0]), datetime(1998, 1, 1), datetime(1970, 1, 1, 0, 33, 18)),
        (pa.array([19980312], pa.int32()), datetime(1998, 3, 12), datetime(1998, 3, 12)),
        (pa.array([1362062307], pa.uint32()), MOMENT, MOMENT),
        (pa.array([1362062307.0]), MOMENT, MOMENT),
        (pa.array([1362062307000]), MOMENT, MOMENT),
        (pa.array([MOMENT]), MOMENT, MOMENT),
        (pa.array([MOMENT.replace(tzinfo=UTC)], pa.timestamp("ms", "Asia/Tokyo")), MOMENT, MOMENT),
        (pa.array([date(1998, 3, 12)]), datetime(1998, 3, 12), datetime(1998, 3, 12)),
        (pa.array([float("nan")]), None, None),
        (pa.array([None], pa.int64()), None, None),
    ],
)
def test_moments_of_typed_columns(array, as_year, as_epoch, warehouse):
    assert value_of(warehouse, array, "moment", whole_years=True) == as_year
    assert value_of(warehouse, array, "moment", whole_years=False) == as_epoch


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Crime; Drama", ["Crime", "Drama"]),
        ("Crime|Drama|", ["Crime", "Drama"]),
        ("Arts, Crafts; Film", ["Arts, Crafts", "Film"]),
        ("Sword, Sorcery", ["Sword, Sorcery"]),
        ("['Crime', 'Arts, Crafts']", ["Crime", "Arts, Crafts"]),
        ('["a\\"b", "c;d", " ", null]', ['a"b', "c;d"]),
        ("[Live]ly", ["[Live]ly"]),
        ("[]", None),
        (" ; ", None),
        ("", None),
        (None, None),
        ([" a ", "", None, "b"], ["a", "b"]),
        ([], None),
    ],
)
def test_lists(value, expected, warehouse):
    array = pa.array([value], pa.list_(pa.string()) if isinstance(value, list) else pa.string())
    assert value_of(warehouse, array, "texts") == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["\t 007\u00a0\n"]), "007"),
        (pa.array(["12.0"]), "12.0"),
        (pa.array([12.0]), "12"),
        (pa.array([1.5]), "1.5"),
        (pa.array([float("nan")]), None),
        (pa.array([2**62]), str(2**62)),
        (pa.array([" "]), None),
        (pa.array([True]), "true"),
    ],
)
def test_text(array, expected, warehouse):
    assert value_of(warehouse, array, "text") == expected


def test_a_column_is_proposed_where_it_is_likely_and_once():
    assert likeliest(["event_type", "event_ts", "user_id"], ["kind", "played_at", "usr_id", "x"]) == {
        "event_type": "kind",
        "event_ts": "played_at",
        "user_id": "usr_id",
    }
    assert likeliest(["user_id", "item_id"], ["kind", "seconds"]) == {}


@pytest.mark.parametrize("rules", [{"title": ""}, {"title": "="}, {"a.b.title": "x"}, {"": "x"}])
def test_a_rule_that_means_nothing_is_refused(rules):
    with pytest.raises(UsageError):
        ColumnMapping(rules)
