"""Taking sources into the warehouse: every row is stored, was stored before, or is quarantined with a reason.

    summary = ingest(Path("warehouse"), items=["items.csv"], events=["events.parquet"],
                     mapping={"event_ts": "ts"}, event_types={"rating:*": "stream"})

One call is one atomic step: the warehouse is as it was until the end, and as it was when nothing was new.

- Events are one by user, item, event type and moment. What is stored stays; a second ingest changes nothing.
- Items and users are one by id. A later source updates them: a column that it has overwrites what is stored
  (empty is unknown), a column that it lacks leaves it.
- Items come before users before events, so that events find the items of the same call.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.errors import SourceError, UsageError
from gfm_store.warehouse.connection import Warehouse, rewrite_warehouse, warehouse_file
from gfm_store.warehouse.forgetting import FORGOTTEN, readmit_users
from gfm_store.warehouse.ingest.columns import Column, Relation, Source
from gfm_store.warehouse.ingest.mapping import (
    ColumnMapping,
    EventTypeRule,
    check_required,
    constant,
    event_type_rules,
)
from gfm_store.warehouse.ingest.merge import merge_events, merge_keyed, user_columns
from gfm_store.warehouse.ingest.sources import first_line, open_source

CLOCK_TOLERANCE = timedelta(days=1)
"""Events may be this far in the future of this machine's clock."""

TABLES = {"items": "item", "users": "user_profile", "events": "interaction_event"}
"""The table that each kind of source fills, in the order of ingest."""


@dataclass(frozen=True)
class RejectedReason:
    """How many rows of one source were rejected for one reason, and the first of them."""

    reason: str
    n_rows: int
    example_line: int
    example: str
    """The row as JSON."""


@dataclass(frozen=True)
class SourceSummary:
    """What became of one source: n_rows = n_new + n_updated + n_stored + n_rejected."""

    table: str
    source: str
    n_rows: int
    n_new: int
    n_updated: int
    n_stored: int
    n_rejected: int
    rejected: tuple[RejectedReason, ...] = ()


@dataclass(frozen=True)
class IngestSummary:
    """What one call did, and what the warehouse holds now."""

    sources: tuple[SourceSummary, ...]
    changed: bool
    """False when everything was stored before: then the file was not touched."""
    n_items: int
    n_events: int
    n_users: int
    """Users with events."""


@dataclass(frozen=True)
class _Part:
    """One source, opened, with its columns mapped."""

    kind: str
    source: Source
    columns: Mapping[str, Column]


def ingest(
    root: Path,
    *,
    items: Sequence[str] = (),
    events: Sequence[str] = (),
    users: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
    event_types: Mapping[str, str] | None = None,
    readmit: Sequence[str] = (),
    config: Config | None = None,
) -> IngestSummary:
    """Take sources (see `warehouse.ingest.sources` for what SRC may be) into the warehouse under `root`.

    `mapping` holds canonical column -> their column, or `=constant`; `event_types` their event name (which
    may hold `*`) -> ours. `readmit` names users who were forgotten and may come back.

    Raises:
        UsageError: no source, or a mapping that names no column or event type of ours.
        SourceError: a source cannot be read or mapped; nothing has changed then.
        WarehouseError: the warehouse cannot be written, or another ingest is at work.
    """
    given = {"items": items, "users": users, "events": events}
    if not any(given.values()):
        raise UsageError("Nothing to ingest: name at least one of --items, --events and --users.")
    rules = event_type_rules(event_types or {})
    columns, config = ColumnMapping(mapping or {}), config or Config()
    with ExitStack() as opened:
        sources = []
        for kind in TABLES:
            for text in given[kind]:
                source = open_source(text)
                opened.callback(source.close)
                sources.append((kind, source))
        parts = [_Part(kind, source, columns.resolve(kind, source)) for kind, source in sources]
        columns.check_used(sources)
        parts = [_complete(part, rules) for part in parts]
        return _ingest(root, parts, rules, readmit, config)


def _complete(part: _Part, rules: Sequence[EventTypeRule]) -> _Part:
    """Refuse what lacks a required column; without event types `*=stream` is the type of every row."""
    columns = dict(part.columns)
    if part.kind == "events" and "event_type" not in columns:
        for rule in rules:
            if rule.pattern == "%":
                columns["event_type"] = constant("event_type", rule.event_type)
    check_required(part.kind, part.source, columns)
    if part.kind == "users":
        columns |= user_columns(part.source, columns)
    used = {column.name for column in columns.values()}
    unused = [column.name for column in part.source.columns if column.name not in used]
    if unused and part.kind != "users":
        progress.say(f"{part.source.label}: columns not used: {', '.join(unused)}")
    return _Part(part.kind, part.source, columns)


def _ingest(
    root: Path,
    parts: Sequence[_Part],
    rules: Sequence[EventTypeRule],
    readmit: Sequence[str],
    config: Config,
) -> IngestSummary:
    is_new = not warehouse_file(root).is_file()
    with rewrite_warehouse(root, threads=config.threads, memory_limit=config.memory_limit) as warehouse:
        _event_type_rules(warehouse, rules)
        n_readmitted = readmit_users(warehouse, readmit)
        outcomes = []
        for part in parts:
            progress.say(f"{part.kind} from {part.source.label}")
            outcomes.append(_ingest_part(warehouse, part))
        changed = is_new or n_readmitted > 0 or any(touched for _, touched in outcomes)
        warehouse.discard = not changed
        return IngestSummary(
            sources=tuple(summary for summary, _ in outcomes),
            changed=changed,
            n_items=warehouse.scalar("SELECT count(*) FROM item"),
            n_events=warehouse.scalar("SELECT count(*) FROM interaction_event"),
            n_users=warehouse.scalar("SELECT count(DISTINCT user_id) FROM interaction_event"),
        )


def _event_type_rules(warehouse: Warehouse, rules: Sequence[EventTypeRule]) -> None:
    warehouse.connection.register("given_rules", pa.Table.from_pylist([asdict(rule) for rule in rules]))
    warehouse.execute("CREATE TEMP TABLE event_type_rule AS SELECT * FROM given_rules")
    warehouse.connection.unregister("given_rules")


def _ingest_part(warehouse: Warehouse, part: _Part) -> tuple[SourceSummary, bool]:
    """Ingest one source; whether the warehouse differs from before, its record of runs aside."""
    warehouse.execute(
        "CREATE OR REPLACE TEMP TABLE malformed_row (source_line BIGINT, reason VARCHAR, content VARCHAR)"
    )
    ingest_id = warehouse.scalar("SELECT coalesce(max(ingest_id), 0) + 1 FROM ingest_run")
    try:
        relation = part.source.load(warehouse)
        _check_ids(warehouse, part, relation)
        if part.kind == "events":
            counts = merge_events(warehouse, relation, part.columns, ingest_id, _latest())
        else:
            counts = merge_keyed(warehouse, TABLES[part.kind], relation, part.columns)
        _gather_rejected(warehouse, part.source, relation)
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        raise SourceError(
            f"{part.source.label} cannot be read: {first_line(error)}. Nothing was taken in."
        ) from None
    rejected_differ = _replace_rejected(warehouse, TABLES[part.kind], part.source.name, ingest_id)
    reasons = warehouse.select("ingest/rejected_reason").to_pylist()
    n_rejected = sum(reason["n_rows"] for reason in reasons)
    summary = SourceSummary(
        table=TABLES[part.kind],
        source=part.source.name,
        n_rows=counts.n_new + counts.n_updated + counts.n_stored + n_rejected,
        n_new=counts.n_new,
        n_updated=counts.n_updated,
        n_stored=counts.n_stored,
        n_rejected=n_rejected,
        rejected=tuple(RejectedReason(**reason) for reason in reasons),
    )
    _record(warehouse, summary, ingest_id)
    for table in ("source_row", "event_verdict", "refused_row", "new_rejected_row"):
        warehouse.execute(f"DROP TABLE IF EXISTS {table}")
    return summary, bool(counts.n_new or counts.n_updated or counts.added_columns or rejected_differ)


def _check_ids(warehouse: Warehouse, part: _Part, relation: Relation) -> None:
    """Raise SourceError where floating-point numbers stand for ids and may be those of a neighbour."""
    for name in ("user_id", "item_id"):
        column = part.columns.get(name)
        if column is None or column.kind != "fraction":
            continue
        value = column.expression
        found = warehouse.execute(
            f"SELECT source_line, CAST({value} AS VARCHAR) FROM {relation.sql} "
            f"WHERE isfinite(CAST({value} AS DOUBLE)) AND abs({value}) >= "
            f"CASE typeof({value}) WHEN 'FLOAT' THEN 16777216 WHEN 'DOUBLE' THEN 9007199254740992 END "
            "ORDER BY source_line LIMIT 1",
            relation.parameters,
        ).fetchone()
        if found:
            raise SourceError(
                f"{part.source.label}: {column.name} holds ids as floating-point numbers that are too great to be told "
                f"from their neighbours (first in row {found[0]:,}: {found[1]}). Write them as text or whole numbers."
            )


def _latest() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) + CLOCK_TOLERANCE


def _gather_rejected(warehouse: Warehouse, source: Source, relation: Relation) -> None:
    """`new_rejected_row`: what the reader and the verdict refused, each row as JSON; of forgotten users no content."""
    warehouse.create("ingest/refused_record")
    warehouse.execute(
        "CREATE OR REPLACE TEMP TABLE new_rejected_row AS SELECT source_line, reason, "
        "CASE WHEN source_line IN (SELECT source_line FROM refused_record) THEN '{}' ELSE content END AS content "
        "FROM malformed_row"
    )
    if not warehouse.scalar("SELECT count(*) FROM refused_row"):
        return
    names = {f"name_{index}": column.name for index, column in enumerate(source.columns)}
    members = ", ".join(
        f"CAST($name_{index} AS VARCHAR), {column.json()}" for index, column in enumerate(source.columns)
    )
    warehouse.execute(
        "INSERT INTO new_rejected_row SELECT refused_row.source_line, refused_row.reason, "
        f"CASE WHEN refused_row.reason = $forgotten THEN '{{}}' ELSE CAST(json_object({members}) AS VARCHAR) END "
        f"FROM {relation.sql} AS source "
        "INNER JOIN refused_row ON source.source_line = refused_row.source_line",
        {**relation.parameters, **names, "forgotten": FORGOTTEN},
    )


def _replace_rejected(warehouse: Warehouse, table: str, source: str, ingest_id: int) -> bool:
    """The source's earlier rejected rows make place for these; whether they are others."""
    of_source = {"table_name": table, "source": source}
    earlier = (
        "SELECT source_line, reason, content FROM rejected_row "
        "WHERE table_name = $table_name AND source = $source"
    )
    n_different = warehouse.scalar(
        f"SELECT count(*) FROM ((SELECT * FROM new_rejected_row EXCEPT ALL {earlier}) "
        f"UNION ALL ({earlier} EXCEPT ALL SELECT * FROM new_rejected_row))",
        **of_source,
    )
    warehouse.execute(
        "DELETE FROM rejected_row WHERE table_name = $table_name AND source = $source", of_source
    )
    warehouse.execute(
        "INSERT INTO rejected_row SELECT $ingest_id, $table_name, $source, source_line, reason, content "
        "FROM new_rejected_row",
        {**of_source, "ingest_id": ingest_id},
    )
    return bool(n_different)


def _record(warehouse: Warehouse, summary: SourceSummary, ingest_id: int) -> None:
    warehouse.execute(
        "INSERT INTO ingest_run VALUES ($ingest_id, $table, $source, $n_rows, $n_new, $n_updated, $n_stored, "
        "$n_rejected, $finished_at)",
        {
            "ingest_id": ingest_id,
            "finished_at": datetime.now(UTC).replace(tzinfo=None),
            **{name: value for name, value in asdict(summary).items() if name != "rejected"},
        },
    )
