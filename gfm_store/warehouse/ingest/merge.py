"""One source's rows into one table of the warehouse.

Each merge leaves the temporary table `refused_row` (source_line, reason) of the rows that it did not take.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gfm_store import progress
from gfm_store.errors import SourceError
from gfm_store.schema import ITEM, USER_PROFILE
from gfm_store.warehouse.connection import Warehouse, quote
from gfm_store.warehouse.ingest.columns import Column, Relation, Source

_MOMENTS = ("published_at", "withdrawn_at")
_LISTS = ("genres", "markets")
_RESERVED = ("source_line", "user_index")
"""What the catalogue's statements call columns of their own."""


@dataclass(frozen=True)
class MergeCounts:
    """What became of the rows that were taken."""

    n_new: int
    n_updated: int
    n_stored: int
    added_columns: int = 0


def merge_events(
    warehouse: Warehouse,
    relation: Relation,
    columns: Mapping[str, Column],
    ingest_id: int,
    latest: datetime,
) -> MergeCounts:
    """Add the events that are not stored yet; events after `latest` (UTC) are refused."""
    ts = columns["event_ts"]
    seconds = columns.get("seconds_played")
    _project(
        warehouse,
        "given_event",
        relation,
        columns,
        {
            **{name: columns[name].text() for name in ("user_id", "item_id", "event_type")},
            "event_ts": ts.moment(whole_years=False),
            "has_event_ts": f"{ts.text()} IS NOT NULL",
            "seconds_played": seconds.number() if seconds else "CAST(NULL AS DOUBLE)",
            "has_seconds_played": f"{seconds.text()} IS NOT NULL" if seconds else "FALSE",
        },
    )
    _refused_users(warehouse, "given_event")
    warehouse.create("ingest/event_kind")
    warehouse.create("ingest/event_verdict", latest=latest)
    warehouse.execute("DROP TABLE given_event")
    warehouse.execute(
        "INSERT INTO interaction_event "
        "SELECT user_id, item_id, event_type, event_ts, seconds_played, $ingest_id "
        "FROM event_verdict WHERE outcome = 'new'",
        {"ingest_id": ingest_id},
    )
    _refuse(warehouse, "event_verdict")
    return _counts(warehouse, "event_verdict")


def merge_keyed(
    warehouse: Warehouse, table: str, relation: Relation, columns: Mapping[str, Column]
) -> MergeCounts:
    """Add or update items or users. `columns` are those that the source has; others stay as they are."""
    short, key = ("item", "item_id") if table == "item" else ("user", "user_id")
    added = _add_columns(warehouse, table, columns)
    _project(warehouse, f"given_{short}", relation, columns, _keyed_values(table, columns))
    if short == "user":
        _refused_users(warehouse, "given_user")
    warehouse.create(f"ingest/{short}_verdict")
    present = [quote(name) for name in columns if name != key]
    differs = " OR ".join(f"s.{name} IS DISTINCT FROM g.{name}" for name in present) or "FALSE"
    warehouse.execute(
        "CREATE OR REPLACE TEMP TABLE keyed_outcome AS "
        f"SELECT v.source_line, v.{key}, CASE WHEN s.{key} IS NULL THEN 'new' "
        f"WHEN {differs} THEN 'updated' ELSE 'stored' END AS outcome "
        f"FROM {short}_verdict AS v INNER JOIN given_{short} AS g ON v.source_line = g.source_line "
        f"LEFT JOIN {table} AS s ON v.{key} = s.{key} WHERE v.reason IS NULL"
    )
    names = ", ".join([key, *present])
    taken = (
        f"SELECT {', '.join(f'g.{name}' for name in [key, *present])} FROM given_{short} AS g "
        "INNER JOIN keyed_outcome AS o ON g.source_line = o.source_line WHERE o.outcome = "
    )
    if present:
        warehouse.execute(
            f"UPDATE {table} SET {', '.join(f'{c} = t.{c}' for c in present)} "
            f"FROM ({taken}'updated') AS t WHERE {table}.{key} = t.{key}"
        )
    warehouse.execute(f"INSERT INTO {table} ({names}) {taken}'new'")
    _refuse(warehouse, f"{short}_verdict")
    counts = _counts(warehouse, "keyed_outcome")
    return MergeCounts(counts.n_new, counts.n_updated, counts.n_stored, added)


def user_columns(source: Source, columns: Mapping[str, Column]) -> dict[str, Column]:
    """The further columns of a users source, by the name that they get; the first of equal names counts.

    Raises:
        SourceError: one has a name that a profile cannot have.
    """
    taken = {column.name for column in columns.values()}
    found: dict[str, Column] = {}
    folded = set(USER_PROFILE.names)  # DuckDB takes names for equal that differ in case only
    for column in source.columns:
        if column.name and column.name not in taken and column.name.lower() not in folded:
            if column.name.lower() in _RESERVED:
                raise SourceError(
                    f"{source.label}: the column {column.name!r} cannot stand in a profile: the name is taken. "
                    "Rename it or leave it out."
                )
            folded.add(column.name.lower())
            found[column.name] = column
    return found


def _keyed_values(table: str, columns: Mapping[str, Column]) -> dict[str, str]:
    """SQL of each canonical column (NULL where the source lacks it), and of each further one."""
    values = {}
    for name in [*(ITEM if table == "item" else USER_PROFILE).names, *columns]:
        column = columns.get(name)
        if name in _MOMENTS:
            values[name] = column.moment(whole_years=True) if column else "CAST(NULL AS TIMESTAMP)"
            values[f"has_{name}"] = f"{column.text()} IS NOT NULL" if column else "FALSE"
        elif name in _LISTS:
            values[name] = column.texts() if column else "CAST(NULL AS VARCHAR[])"
        else:
            values[name] = column.text() if column else "CAST(NULL AS VARCHAR)"
    return values


def _project(
    warehouse: Warehouse,
    name: str,
    relation: Relation,
    columns: Mapping[str, Column],
    values: Mapping[str, str],
) -> None:
    """Make the temporary table `name` of canonical values, one row per row of the source."""
    selected = ", ".join(f"{expression} AS {quote(column)}" for column, expression in values.items())
    parameters = dict(relation.parameters)
    for column in columns.values():
        parameters |= column.parameters
    with progress.task("read values"):
        warehouse.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT source_line, {selected} FROM {relation.sql}",
            parameters,
        )


def _add_columns(warehouse: Warehouse, table: str, columns: Mapping[str, Column]) -> int:
    known = {
        row[0].lower()
        for row in warehouse.execute(
            "SELECT column_name FROM duckdb_columns() "
            "WHERE database_name = 'warehouse' AND table_name = $table",
            {"table": table},
        ).fetchall()
    }
    new = [name for name in columns if name.lower() not in known]
    for name in new:
        warehouse.execute(f"ALTER TABLE {table} ADD COLUMN {quote(name)} VARCHAR")
    return len(new)


def _refused_users(warehouse: Warehouse, given: str) -> None:
    """`refused_user`: who of the given rows was forgotten and may not come back unasked."""
    warehouse.execute(f"CREATE OR REPLACE TEMP VIEW given_user_id AS SELECT DISTINCT user_id FROM {given}")
    warehouse.create("ingest/refused_user")
    warehouse.execute("DROP VIEW given_user_id")


def _refuse(warehouse: Warehouse, verdict: str) -> None:
    warehouse.execute(
        f"CREATE OR REPLACE TEMP TABLE refused_row AS SELECT source_line, reason FROM {verdict} "
        "WHERE reason IS NOT NULL"
    )


def _counts(warehouse: Warehouse, outcomes: str) -> MergeCounts:
    counted = dict(
        warehouse.execute(
            f"SELECT outcome, count(*) FROM {outcomes} WHERE outcome <> 'rejected' GROUP BY outcome"
        ).fetchall()
    )
    return MergeCounts(counted.get("new", 0), counted.get("updated", 0), counted.get("stored", 0))
