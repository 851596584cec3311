"""What is served, how old it is, how the last run of each job ended, and what is due."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gfm_store.errors import EmptyWarehouseError, NotPublishedError
from gfm_store.lifecycle.journal import JobRun, last_runs
from gfm_store.lifecycle.versions import KeptVersion, read_versions
from gfm_store.vectors.publication import is_published, published_since
from gfm_store.vectors.static_version import current_static
from gfm_store.vectors.version import StaticRecord
from gfm_store.warehouse.connection import newest_event, open_warehouse
from gfm_store.warehouse.forgetting import forgotten_since


@dataclass(frozen=True)
class Status:
    """All that whoever was paged wants to know first."""

    versions: list[KeptVersion]
    """In the order of their first publication; empty where nothing is published."""
    published_since: datetime | None
    static: StaticRecord | None
    """The one that the next dynamic refresh builds on; None where there is none that can be read."""
    newest_event: datetime | None
    """None where there are no events."""
    unseen_events: int
    """Events that came in after the served version was built, or that happened after its `as_of`."""
    forgotten_users: dict[str, int]
    """Users forgotten since the served version (dynamic) and the current static one (static) were built."""
    runs: list[JobRun]

    @property
    def served(self) -> KeptVersion | None:
        """The version that readers see."""
        return next((one for one in self.versions if one.is_served), None)

    @property
    def due(self) -> list[str]:
        """What should be run, and why; empty when all is well."""
        if self.newest_event is None:
            return ["jobs.ingest: there are no events"]
        if self.served is None:
            return ["jobs.refresh_dynamic: nothing is published"]
        due = []
        if self.unseen_events:
            due.append(f"jobs.refresh_dynamic: {self.unseen_events:,} events not seen")
        if self.static is None:
            due.append("jobs.refresh_static: there is no static version that can be read")
        elif (
            self.served.record.staleness.reasons and self.static.version == self.served.record.static_version
        ):
            due.append(f"jobs.refresh_static: {', '.join(self.served.record.staleness.reasons)}")
        due += [
            f"jobs.refresh_{layer}: its weights have seen {count:,} users who were forgotten since"
            for layer, count in self.forgotten_users.items()
            if count
        ]
        return due


def read_status(root: Path) -> Status:
    """Look at everything, change nothing.

    Raises:
        WarehouseLockedError, SchemaVersionError: as `open_warehouse`.
        NotPublishedError: a kept version is not whole.
    """
    versions = read_versions(root) if is_published(root) else []
    served = next((one.record for one in versions if one.is_served), None)
    static = _static(root)
    newest, unseen, forgotten = None, 0, {}
    try:
        with open_warehouse(root) as warehouse:
            newest = newest_event(warehouse)
            if served is not None:
                unseen = warehouse.scalar(
                    "SELECT count(*) FROM interaction_event WHERE ingest_id > $last OR event_ts >= $as_of",
                    last=served.origin.last_ingest_id,
                    as_of=served.as_of,
                )
            for layer, record in (("static", static), ("dynamic", served)):
                if record is not None:
                    forgotten[layer] = forgotten_since(warehouse, record.built_at)
    except EmptyWarehouseError:
        if not root.is_dir():
            raise
    return Status(
        versions=versions,
        published_since=published_since(root) if versions else None,
        static=static,
        newest_event=newest,
        unseen_events=unseen,
        forgotten_users=forgotten,
        runs=last_runs(root),
    )


def _static(root: Path) -> StaticRecord | None:
    try:
        return current_static(root)
    except NotPublishedError:
        return None
