"""Texts and moments as people hold them."""

from datetime import UTC, date, datetime, time, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gfm_store.arguments import as_moment, one_text, texts
from gfm_store.errors import UsageError

TWO = ["a", "ö"]


@pytest.mark.parametrize(
    "values",
    [
        TWO,
        tuple(TWO),
        np.array(TWO),
        pd.Series(TWO),
        pd.Index(TWO),
        pa.array(TWO),
        pa.chunked_array([["a"], ["ö"]]),
    ]
    + [
        pa.array(TWO, kind)
        for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    ],
    ids=lambda values: type(values).__name__,
)
def test_texts_are_taken_from_whatever_holds_them(values):
    assert texts(values, "users") == TWO


def test_one_text_is_one():
    assert texts("abc", "users") == ["abc"]
    assert one_text("abc", "user") == "abc"
    for wrong in (["abc"], [], None, 5):
        with pytest.raises(UsageError, match="user must be one text"):
            one_text(wrong, "user")


@pytest.mark.parametrize("values", [5, None, [None], ["a", 5], b"a", pa.array([1]), pa.array(["a", None])])
def test_what_is_no_text_is_told(values):
    with pytest.raises(UsageError, match="users must be text"):
        texts(values, "users")


def test_half_a_character_is_told():
    with pytest.raises(UsageError, match="no character"):
        texts(["a", "\ud800"], "users")


def test_a_zone_is_converted_and_none_means_utc():
    six = datetime(2026, 1, 31, 6)
    there = timezone(timedelta(hours=5))
    for given in (six, "2026-01-31T06:00", six.replace(tzinfo=UTC), datetime(2026, 1, 31, 11, tzinfo=there)):
        assert as_moment(given, "as_of") == six
    assert as_moment("2026-01-31T11:00+05:00", "as_of") == six
    assert as_moment(pd.Timestamp(six), "as_of") == six


@pytest.mark.parametrize("wrong", ["soon", "", 2026, None, time(6), date(2026, 1, 31)])
def test_what_is_no_moment_is_told(wrong):
    with pytest.raises(UsageError, match=r"as_of: .* is not a moment"):
        as_moment(wrong, "as_of")


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59", "0001-01-01T00:00+05:00", "1899-12-31", pd.NaT])
def test_moments_at_the_ends_of_the_calendar_are_told(far):
    with pytest.raises(UsageError, match="not in the years 1900 to 2199"):
        as_moment(far, "as_of")
