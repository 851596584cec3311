"""A source's columns, and the SQL that turns their values into canonical ones.

Text stays text until here, so that nothing is guessed: ids keep their leading zeros, and a value that does
not parse is NULL beside a given text, which the statements of `sql/ingest/` then refuse with a reason.

- Text is trimmed; empty text is unknown (NULL).
- Moments are UTC: ISO with or without a zone, dates (also `19980430` and `1998-04`), four digits of text as
  a year, and epochs in seconds, milli-, micro- or nanoseconds by their magnitude.
- Lists are real lists, `["a", "b"]`, `a; b` or `a|b`; a comma alone does not split, since names hold commas.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from gfm_store.warehouse.connection import Warehouse

Kind = Literal["text", "words", "whole", "fraction", "moment", "list", "other"]
"""What a column holds; "words" is text with blanks between list elements (RecBole's token_seq)."""

_BLANKS = r"E' \t\r\n' || chr(160) || chr(65279)"
_SECONDS_BELOW, _MILLIS_BELOW, _MICROS_BELOW, _NANOS_BELOW = "1e11", "1e14", "1e17", "9e18"
"""An epoch of at least so much is in the next finer unit; 1e11 seconds is the year 5138."""
_NEVER = "253402300799"
"""The last second of the year 9999, by which many mean never."""
_FIRST_MOMENT, _LAST_MOMENT = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


@dataclass(frozen=True)
class Column:
    """One column of a source: its foreign name, and the SQL expression that reads it."""

    name: str
    expression: str
    kind: Kind = "text"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values of the `$names` in `expression`."""

    def text(self) -> str:
        """VARCHAR: trimmed, NULL when empty; a whole number has no `.0`."""
        c = self.expression
        if self.kind == "fraction":
            return (
                f"CASE WHEN isnan(CAST({c} AS DOUBLE)) THEN NULL "
                f"WHEN abs({c}) < 9e18 AND {c} = trunc({c}) THEN CAST(CAST({c} AS BIGINT) AS VARCHAR) "
                f"ELSE CAST({c} AS VARCHAR) END"
            )
        if self.kind == "list":
            return f"CAST(to_json({c}) AS VARCHAR)"
        return f"nullif(trim(CAST({c} AS VARCHAR), {_BLANKS}), '')"

    def number(self) -> str:
        """DOUBLE; NULL when it is no number. NaN and infinity stay."""
        if self.kind in ("whole", "fraction"):
            return f"CAST({self.expression} AS DOUBLE)"
        return f"TRY_CAST({self.text()} AS DOUBLE)"

    def moment(self, *, whole_years: bool) -> str:
        """TIMESTAMP in UTC of the years 1 to 9999, which Python knows; NULL when it is none.

        Args:
            whole_years: a number of four digits is a year too.
        """
        moment = self._any_moment(whole_years)
        return f"CASE WHEN {moment} BETWEEN {_FIRST_MOMENT} AND {_LAST_MOMENT} THEN {moment} END"

    def _any_moment(self, whole_years: bool) -> str:
        if self.kind == "moment":
            # TRY_CAST, since nanoseconds and zones come in here as well.
            return f"TRY_CAST({self.expression} AS TIMESTAMP)"
        if self.kind in ("whole", "fraction"):
            number = f"CAST({self.expression} AS DOUBLE)"
            year = (
                f"WHEN {number} BETWEEN 1000 AND 2999 AND {number} = trunc({number}) "
                f"THEN make_timestamp(CAST({number} AS BIGINT), 1, 1, 0, 0, 0.0) "
            )
            day = _day_of_text(f"CAST(CAST({number} AS BIGINT) AS VARCHAR)")
            return (
                f"CASE {year if whole_years else ''}WHEN {number} BETWEEN 19000101 AND 20991231 "
                f"THEN coalesce({day}, {_epoch(number)}) ELSE {_epoch(number)} END"
            )
        return _moment_of_text(self.text())

    def texts(self) -> str:
        """VARCHAR[]: trimmed, without empty elements; NULL when nothing is left."""
        if self.kind == "list":
            elements = f"CAST({self.expression} AS VARCHAR[])"
        elif self.kind == "words":
            elements = f"string_split({self.text()}, ' ')"
        else:
            text = self.text()
            elements = (
                f"CASE WHEN {text} LIKE '[%]' THEN coalesce("
                f"CASE WHEN json_valid({text}) THEN TRY(from_json({text}, '[\"VARCHAR\"]')) END, "
                f"TRY_CAST({text} AS VARCHAR[]), [{text}]) "
                f"ELSE string_split_regex({text}, '[;|]') END"
            )
        trimmed = f"list_transform({elements}, lambda element: nullif(trim(element, {_BLANKS}), ''))"
        return f"nullif(list_filter({trimmed}, lambda element: element IS NOT NULL), CAST([] AS VARCHAR[]))"

    def json(self) -> str:
        """The value for a JSON object of the row. Text, but for whole numbers and lists: JSON has no NaN."""
        if self.kind in ("whole", "list"):
            return self.expression
        return f"CAST({self.expression} AS VARCHAR)"


def _epoch(number: str) -> str:
    def micros(factor: str) -> str:
        return f"make_timestamp(CAST(round({number} {factor}) AS BIGINT))"

    return (
        f"CASE WHEN abs({number}) < {_SECONDS_BELOW} OR trunc({number}) = {_NEVER} THEN {micros('* 1e6')} "
        f"WHEN abs({number}) < {_MILLIS_BELOW} OR floor({number} / 1e3) = {_NEVER} THEN {micros('* 1e3')} "
        f"WHEN abs({number}) < {_MICROS_BELOW} THEN {micros('')} "
        f"WHEN abs({number}) < {_NANOS_BELOW} THEN {micros('/ 1e3')} END"
    )


def _day_of_text(text: str) -> str:
    """Of eight digits, where they are a day. As an epoch they would be one of 1970."""
    return f"CAST(try_strptime({text}, '%Y%m%d') AS TIMESTAMP)"


def _moment_of_text(text: str) -> str:
    number = f"TRY_CAST({text} AS DOUBLE)"
    # A text without a zone is UTC. It is kept from the cast that knows zones, which gives it the zone of an earlier
    # row where that had a name (DuckDB 1.5). DuckDB wants seconds before a zone.
    has_zone = rf"regexp_matches({text}, '[A-SU-Za-su-z]|[Tt\s][0-9].*[+-]')"
    with_seconds = rf"regexp_replace({text}, '^(.*[T ][0-9]{{2}}:[0-9]{{2}})([Zz+-].*)$', '\1:00\2')"
    zoned = f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ), TRY_CAST({with_seconds} AS TIMESTAMPTZ))"
    return (
        f"CASE WHEN regexp_full_match({text}, '[0-9]{{4}}') THEN TRY_CAST({text} || '-01-01' AS TIMESTAMP) "
        f"WHEN regexp_full_match({text}, '[0-9]{{4}}-[0-9]{{2}}') "
        f"THEN TRY_CAST({text} || '-01' AS TIMESTAMP) "
        f"WHEN regexp_full_match({text}, '(19|20)[0-9]{{6}}') "
        f"THEN coalesce({_day_of_text(text)}, {_epoch(number)}) "
        f"WHEN {number} IS NOT NULL THEN {_epoch(number)} "
        f"WHEN {has_zone} THEN CASE WHEN isfinite({zoned}) THEN CAST({zoned} AS TIMESTAMP) END "
        f"ELSE TRY_CAST({text} AS TIMESTAMP) END"
    )


def kind_of(type_: pa.DataType) -> Kind:
    """The kind of an Arrow column."""
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_) or pa.types.is_duration(type_):
        return "fraction"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "moment"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "list"
    return "other"


@dataclass(frozen=True)
class Relation:
    """What stands after FROM: rows with a `source_line` and all columns of the source."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """Something to ingest, opened far enough to know its columns."""

    name: str
    """As it is recorded in the warehouse: an absolute path, or an URL without its password."""
    label: str
    """As it is shown."""
    columns: tuple[Column, ...]
    aliases: Mapping[str, str] = {}
    """Canonical name of well-known foreign columns (RecBole's `timestamp`)."""

    @abstractmethod
    def load(self, warehouse: Warehouse) -> Relation:
        """Make the rows readable by the connection.

        Rows that are none (wrong field count, bad quotes, not UTF-8) go to the temporary table
        `malformed_row` instead. `source_line` is the line in a text file, header included, else the row's
        number from 1.

        Raises:
            SourceError: the source cannot be read to its end.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Give files and connections free."""
