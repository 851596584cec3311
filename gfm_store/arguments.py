"""What people give as texts and moments, whatever they hold them in, checked."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import pyarrow as pa

from gfm_store.errors import UsageError

Texts: TypeAlias = str | Sequence[str] | pa.Array | pa.ChunkedArray
Moment = datetime | str
YEARS = range(1900, 2200)
"""Moments outside are a mistake, and windows of days before and after them leave the calendar."""
CALENDAR = range(2, 9999)
"""Moments that are compared alone may lie so far, whatever their zone."""


def texts(values: Texts, what: str) -> list[str]:
    """One or several texts as a list; Arrow's, NumPy's and pandas' are taken as well.

    Raises:
        UsageError: something else.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = values.to_pylist()
    try:
        listed = [values] if isinstance(values, str) else list(values)
    except TypeError:
        listed = [values]
    if wrong := [value for value in listed if not isinstance(value, str)]:
        raise UsageError(f"{what} must be text, or a list of texts; got {wrong[0]!r}.")
    try:
        "".join(listed).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} holds {error.object[error.start]!r}, which is no character.") from None
    return listed


def one_text(value: str, what: str) -> str:
    """
    Raises:
        UsageError: it is no text.
    """
    if not isinstance(value, str):
        raise UsageError(f"{what} must be one text; got {value!r}.")
    return texts(value, what)[0]


def as_moment(ts: Moment, what: str, years: range = YEARS) -> datetime:
    """UTC without a zone; a zone is converted, none means UTC.

    Raises:
        UsageError: it is no moment of `years`.
    """
    try:
        moment = datetime.fromisoformat(ts) if isinstance(ts, str) else ts
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise UsageError(f"{what}: {ts!r} is not a moment; write 2026-01-31 or 2026-01-31T06:00.")
    if moment.year not in years:
        raise UsageError(f"{what}: {ts!r} is not in the years {years[0]} to {years[-1]}.")
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
