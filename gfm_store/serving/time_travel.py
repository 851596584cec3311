"""Answers as they were: events by the order of their ingest, profiles and withdrawals as the version knew them.

What happened before a version's moment counts as far as the version had seen it. What happened afterwards counts
as far as it was known when the next kept version was built, which took over then.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.config import Config, warehouse_option
from gfm_store.errors import NotPublishedError
from gfm_store.serving.published import PublishedVersion
from gfm_store.serving.session import Session
from gfm_store.vectors.publication import dynamic_folder, kept_versions, open_table
from gfm_store.vectors.static_version import read_table
from gfm_store.vectors.version import DynamicRecord
from gfm_store.warehouse.connection import Warehouse, open_warehouse

NO_END = 2**62


@dataclass(frozen=True)
class Past:
    """What was known at a moment, by a version."""

    record: DynamicRecord
    moment: datetime
    later_ingest_id: int
    """The last ingest whose events after the version's moment were known."""


def past_of(record: DynamicRecord) -> Past:
    """How everything stood when a version was built: the newest event of then is its moment."""
    return Past(record, record.origin.newest_event, record.origin.last_ingest_id)


def past_at(root: Path, folder: Path, served: DynamicRecord, as_of: datetime, pinned: bool) -> Past:
    """How everything stood at a moment.

    Args:
        folder: the publication to look in.
        served: the version that is preferred, where it has seen nothing at or after `as_of`.
        pinned: no other version will do.

    Raises:
        NotPublishedError: no kept version is from before `as_of`.
    """
    records = [DynamicRecord.read(dynamic_folder(root, name)) for name in kept_versions(folder)]
    early = (
        [served] if served.as_of <= as_of else [one for one in records if one.as_of <= as_of and not pinned]
    )
    if not early:
        names = [served] if pinned else records
        raise NotPublishedError(
            f"No kept version is from {as_of:%Y-%m-%d %H:%M} or before (kept: "
            f"{', '.join(f'{record.version} of {record.as_of:%Y-%m-%d %H:%M}' for record in names)}). "
            f"Build one with `python -m jobs.refresh_static {warehouse_option(root)} --as-of {as_of:%Y-%m-%dT%H:%M}` "
            "and refresh_dynamic."
        )
    record = max(early, key=lambda one: one.as_of)
    later = min((one for one in records if one.as_of > as_of), key=lambda one: one.as_of, default=None)
    seen = NO_END if later is None else max(later.origin.last_ingest_id, record.origin.last_ingest_id)
    return Past(record, as_of, seen)


class PastSession:
    """A session in which the warehouse's tables hold what was known, on a connection of its own."""

    def __init__(self, bound: PublishedVersion, past: Past, config: Config) -> None:
        """
        Args:
            bound: of the version of `past`.

        Raises:
            NotPublishedError: the version is not kept any more.
        """
        self.past = past
        with ExitStack() as stack:
            warehouse = stack.enter_context(
                open_warehouse(bound.tables.root, threads=config.threads, memory_limit=config.memory_limit)
            )
            _stand_in(warehouse, bound, past, stack)
            self.session = Session(warehouse, bound, config, now=past.moment)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Give the warehouse free."""
        self._stack.close()


def _stand_in(warehouse: Warehouse, bound: PublishedVersion, past: Past, stack: ExitStack) -> None:
    origin = past.record.origin
    newest = warehouse.scalar("SELECT max(ingest_id) FROM interaction_event") or 0
    if newest > origin.last_ingest_id:
        known = warehouse.stand_in(
            "interaction_event",
            "history/event_then",
            as_of=past.record.as_of,
            last_ingest_id=origin.last_ingest_id,
            later_ingest_id=past.later_ingest_id,
        )
        stack.enter_context(known)
    item = _withdrawals(warehouse, bound.tables.folder, past)
    profile = read_table(dynamic_folder(bound.tables.root, past.record.version), "user_profile")
    warehouse.connection.register("user_profile", profile)
    warehouse.connection.register("item", item)


def _withdrawals(warehouse: Warehouse, folder: Path, past: Past) -> pa.Table:
    """item_id, withdrawn_at: as the version knew it, or as happened since, before the next version took over.

    Raises:
        NotPublishedError: the version is not kept any more.
    """
    as_of, version = past.record.as_of, past.record.version
    then = open_table(folder, "item_embedding", version).to_table(columns=["item_id", "withdrawn_at"])
    if past.later_ingest_id == past.record.origin.last_ingest_id:
        return then
    now = warehouse.arrow("SELECT item_id, withdrawn_at FROM item WHERE withdrawn_at > $as_of", as_of=as_of)
    since = now["withdrawn_at"].take(pc.index_in(then["item_id"], now["item_id"].combine_chunks()))
    first = pc.min_element_wise(then["withdrawn_at"], since)
    return then.set_column(1, "withdrawn_at", first)
