"""Fills an empty warehouse with the made world. Same settings, same rows, on however many threads.

summary = make_sample(Path("warehouse"), SampleSettings())
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from gfm_store import progress
from gfm_store.errors import UsageError
from gfm_store.schema import INTERACTION_EVENT, ITEM, TIMESTAMP
from gfm_store.warehouse.connection import Warehouse, open_warehouse, rewrite_warehouse, warehouse_file
from gfm_store.warehouse.sample.draw import AGE_BANDS, FAR_DAY, draw_world
from gfm_store.warehouse.sample.events import DAY, EVENT_NAMES, EventMaker, Events
from gfm_store.warehouse.sample.text import HiddenItem, describe_items
from gfm_store.warehouse.sample.truth import save_truth, truth_folder
from gfm_store.warehouse.sample.vocabulary import LANGUAGES
from gfm_store.warehouse.sample.world import COUNTRIES, ITEM_TYPES, MARKETS, Ints, SampleSettings, World

PUBLISHED_KNOWN = 0.8
COUNTRY_UNKNOWN, AGE_UNKNOWN = 0.03, 0.08
ROWS_AT_ONCE = 200_000
"""Events are appended in batches of about so many rows."""


@dataclass(frozen=True)
class TypeSummary:
    """What was made of one item type."""

    item_type: str
    n_items: int
    n_events: int
    n_streams: int
    n_users: int
    """Users with any event on an item of the type."""


@dataclass(frozen=True)
class SampleSummary:
    """What was made."""

    settings: SampleSettings
    types: tuple[TypeSummary, ...]
    n_items: int
    n_events: int
    n_users: int
    """Users with a profile; some have no event yet."""
    first_event: datetime | None
    last_event: datetime | None
    truth: Path


def make_sample(
    root: Path, settings: SampleSettings, *, threads: int | None = None, memory_limit: str | None = None
) -> SampleSummary:
    """Fill the empty warehouse of `root` with a made world, all of it or nothing.

    `threads` and `memory_limit` are DuckDB's, and change no row.

    Raises:
        UsageError: the warehouse holds items, events or users already.
        WarehouseError: it cannot be read or written.
    """
    if warehouse_file(root).is_file():
        with open_warehouse(root) as warehouse:
            _refuse_filled(warehouse)
    truth, new_truth = truth_folder(root), root / ".truth.new"
    try:
        with rewrite_warehouse(root, threads=threads, memory_limit=memory_limit) as warehouse:
            _refuse_filled(warehouse)
            world = draw_world(settings)
            item_ids, user_ids = _item_ids(world), _ids("user", np.arange(1, settings.users + 1))
            source = _source(settings)
            _append(warehouse, "item", _item_table(world, settings, item_ids))
            _append(warehouse, "user_profile", _user_table(world, settings, user_ids))
            _append_events(warehouse, world, settings, item_ids, user_ids)
            _record(warehouse, source)
            save_truth(new_truth, world, settings, item_ids, user_ids, source)
            summary = _summary(warehouse, settings, truth)
            # Killed between this and the rename of the warehouse: a truth without a warehouse, which
            # `true_scores` refuses and the next run replaces.
            if truth.exists():
                shutil.rmtree(truth)
            new_truth.rename(truth)
    finally:
        shutil.rmtree(new_truth, ignore_errors=True)
    return summary


def _refuse_filled(warehouse: Warehouse) -> None:
    filled = warehouse.scalar(
        "SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM interaction_event) "
        "+ (SELECT count(*) FROM user_profile)"
    )
    if filled:
        raise UsageError(
            f"{warehouse.root} is not empty, and the sample world is only put into an empty warehouse. "
            "Name another folder with --warehouse."
        )


def _source(settings: SampleSettings) -> str:
    """Names the world in `ingest_run`; the truth carries the same name."""
    digest = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    return f"made sample world {digest}, seed {settings.seed}"


def _ids(prefix: str, number: Ints) -> pa.Array:
    width = len(str(int(number.max())))
    return pa.array(np.char.add(f"{prefix}-", np.char.zfill(number.astype(str), width)).tolist(), pa.string())


def _item_ids(world: World) -> pa.Array:
    """Items of a type stand together, so that each type counts from 1."""
    counts = np.bincount(world.items.kind, minlength=len(ITEM_TYPES))
    return pa.concat_arrays(
        [_ids(name, np.arange(1, count + 1)) for name, count in zip(ITEM_TYPES, counts, strict=True) if count]
    )


def _moments(settings: SampleSettings, microseconds: Ints) -> pa.Array:
    """Microseconds since the start of the period as timestamps."""
    start = np.datetime64(settings.start, "us")
    return pa.array(start + microseconds.astype("timedelta64[us]"), TIMESTAMP)


def _item_table(world: World, settings: SampleSettings, item_ids: pa.Array) -> pa.Table:
    items = world.items
    rng = np.random.default_rng([settings.seed, 5])
    text = describe_items(
        rng, HiddenItem(items.kind, items.language, items.scene[:, 0], items.scene[:, 1], items.mood)
    )
    published = items.first_day * DAY - (rng.random(len(items.kind)) * DAY).astype(np.int64)
    known = rng.random(len(items.kind)) < PUBLISHED_KNOWN
    leaves = items.last_day < FAR_DAY
    gone = np.where(leaves, items.last_day, 0) * DAY + (rng.random(len(leaves)) * DAY / 4).astype(np.int64)
    columns = {
        "item_id": item_ids,
        "item_type": pa.array(ITEM_TYPES).take(pa.array(items.kind)),
        **{name: text[name] for name in text.column_names},
        "language": pa.array(LANGUAGES).take(pa.array(items.language)),
        "published_at": _where(known, _moments(settings, published)),
        "withdrawn_at": _where(leaves, _moments(settings, gone)),
        "markets": pa.array(MARKETS).take(pa.array(items.market, mask=items.market < 0)),
    }
    return pa.table([columns[name] for name in ITEM.names], names=ITEM.names)


def _where(known: np.ndarray, values: pa.Array) -> pa.Array:
    return values.take(pa.array(np.arange(len(known)), mask=~known))


def _user_table(world: World, settings: SampleSettings, user_ids: pa.Array) -> pa.Table:
    rng = np.random.default_rng([settings.seed, 6])
    n = len(user_ids)
    country = pa.array(world.users.country, mask=rng.random(n) < COUNTRY_UNKNOWN)
    age = pa.array(world.users.age, mask=rng.random(n) < AGE_UNKNOWN)
    return pa.table(
        {
            "user_id": user_ids,
            "country": pa.array(COUNTRIES).take(country),
            "age_band": pa.array(AGE_BANDS).take(age),
        }
    )


def _append(warehouse: Warehouse, table: str, rows: pa.Table) -> None:
    warehouse.connection.register("made_rows", rows)
    warehouse.execute(f"INSERT INTO {table} BY NAME SELECT * FROM made_rows")
    warehouse.connection.unregister("made_rows")


def _append_events(
    warehouse: Warehouse, world: World, settings: SampleSettings, item_ids: pa.Array, user_ids: pa.Array
) -> None:
    maker = EventMaker(world, settings)
    names = pa.array(EVENT_NAMES)

    def tables() -> Iterator[pa.Table]:
        for day in maker.days():
            yield _event_table(day, settings, item_ids, user_ids, names)
            task.advance()

    with progress.task("make events", total=settings.days, unit="days") as task:
        for batch in _batches(tables()):
            _append(warehouse, "interaction_event", batch)


def _event_table(
    events: Events, settings: SampleSettings, item_ids: pa.Array, user_ids: pa.Array, names: pa.Array
) -> pa.Table:
    columns = {
        "user_id": user_ids.take(pa.array(events.user)),
        "item_id": item_ids.take(pa.array(events.item)),
        "event_type": names.take(pa.array(events.kind)),
        "event_ts": _moments(settings, events.moment),
        "seconds_played": pa.array(events.seconds, mask=np.isnan(events.seconds)),
    }
    table = pa.table([columns[name] for name in INTERACTION_EVENT.names], names=INTERACTION_EVENT.names)
    return table.append_column("ingest_id", pa.array(np.ones(len(events), np.int64)))


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of at least ROWS_AT_ONCE rows, the last one aside."""
    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        if sum(len(one) for one in kept) >= ROWS_AT_ONCE:
            yield pa.concat_tables(kept)
            kept = []
    if kept:
        yield pa.concat_tables(kept)


def _record(warehouse: Warehouse, source: str) -> None:
    """One row of `ingest_run` per table; the events carry the first row's id."""
    finished_at = datetime.now(UTC).replace(tzinfo=None)
    for ingest_id, table in enumerate(("interaction_event", "item", "user_profile"), start=1):
        n_rows = warehouse.scalar(f"SELECT count(*) FROM {table}")
        run = {"ingest_id": ingest_id, "table": table, "source": source, "n_rows": n_rows}
        warehouse.execute(
            "INSERT INTO ingest_run VALUES ($ingest_id, $table, $source, $n_rows, $n_rows, 0, 0, 0, $at)",
            {**run, "at": finished_at},
        )


def _summary(warehouse: Warehouse, settings: SampleSettings, truth: Path) -> SampleSummary:
    rows = warehouse.select("sample/sample_summary").to_pylist()
    first = [row.pop("first_event") for row in rows]
    last = [row.pop("last_event") for row in rows]
    types = tuple(TypeSummary(**row) for row in rows)
    return SampleSummary(
        settings=settings,
        types=types,
        n_items=sum(one.n_items for one in types),
        n_events=sum(one.n_events for one in types),
        n_users=settings.users,
        first_event=min((moment for moment in first if moment), default=None),
        last_event=max((moment for moment in last if moment), default=None),
        truth=truth,
    )
