"""Taking one user out of the warehouse's tables, and keeping them out: a salted hash is all that remembers.

Only the user whose id is exactly the given one is meant; ids that contain it are others.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from gfm_store.warehouse.connection import Warehouse

FORGOTTEN = "forgotten user"
"""Why ingest rejects the rows of somebody who was forgotten."""
_FIELD_ENDS = re.compile(r'[,;|"\t]')


@dataclass(frozen=True)
class RemovedRows:
    """What the warehouse held of a user, and holds no more."""

    user_hash: str
    n_events: int
    n_profiles: int
    n_rejected: int
    """Rows of the quarantine."""
    first_event: datetime | None
    """None where there was no event."""
    first_ingest: int | None
    """The ingest that brought the first of the events."""
    forgotten_before: datetime | None
    """When first, if ever."""

    @property
    def is_empty(self) -> bool:
        """There was nothing."""
        return not (self.n_events or self.n_profiles or self.n_rejected)


def remove_user(warehouse: Warehouse, user_id: str, moment: datetime) -> RemovedRows:
    """Delete a user's rows and remember the hash. The warehouse is a rewritten one, and compacted at its end.

    Args:
        moment: what is written down as the time of it.
    """
    salt = _salt(warehouse) or secrets.token_hex(16)
    user_hash = _hash(salt, user_id)
    before = warehouse.scalar(
        "SELECT min(forgotten_at) FROM forgotten_user WHERE user_hash = $user_hash", user_hash=user_hash
    )
    if before is None:
        warehouse.execute(
            "INSERT INTO forgotten_user VALUES ($user_hash, $salt, $moment)",
            {"user_hash": user_hash, "salt": salt, "moment": moment},
        )
    _remove_from_sources(warehouse, user_id)
    first_event = warehouse.scalar(
        "SELECT min(event_ts) FROM interaction_event WHERE user_id = $user_id", user_id=user_id
    )
    first_ingest = warehouse.scalar(
        "SELECT min(ingest_id) FROM interaction_event WHERE user_id = $user_id", user_id=user_id
    )
    return RemovedRows(
        user_hash=user_hash,
        n_events=_delete(warehouse, "interaction_event", user_id),
        n_profiles=_delete(warehouse, "user_profile", user_id),
        n_rejected=_remove_rejected(warehouse, user_id),
        first_event=first_event,
        first_ingest=first_ingest,
        forgotten_before=before,
    )


def readmit_users(warehouse: Warehouse, user_ids: Sequence[str]) -> int:
    """Let forgotten users come back with the next rows that name them; how many of these were forgotten."""
    salt = _salt(warehouse)
    if salt is None or not user_ids:
        return 0
    hashes = [_hash(salt, user_id) for user_id in user_ids]
    n_forgotten = warehouse.scalar(
        "SELECT count(*) FROM forgotten_user WHERE list_contains($hashes, user_hash)", hashes=hashes
    )
    warehouse.execute(
        "DELETE FROM forgotten_user WHERE list_contains($hashes, user_hash)", {"hashes": hashes}
    )
    return int(n_forgotten)


def forgotten_since(warehouse: Warehouse, moment: datetime) -> int:
    """How many users were forgotten after a moment."""
    there = warehouse.scalar(
        "SELECT count(*) FROM duckdb_tables() "
        "WHERE database_name = 'warehouse' AND table_name = 'forgotten_user'"
    )
    if not there:
        return 0  # a warehouse from before users could be forgotten
    return int(
        warehouse.scalar("SELECT count(*) FROM forgotten_user WHERE forgotten_at > $moment", moment=moment)
    )


def _salt(warehouse: Warehouse) -> str | None:
    salt: str | None = warehouse.scalar("SELECT max(salt) FROM forgotten_user")
    return salt


def _hash(salt: str, user_id: str) -> str:
    return hashlib.sha256((salt + user_id).encode()).hexdigest()


def _delete(warehouse: Warehouse, table: str, user_id: str) -> int:
    deleted = warehouse.scalar(f"DELETE FROM {table} WHERE user_id = $user_id", user_id=user_id)
    return int(deleted)


def _remove_from_sources(warehouse: Warehouse, user_id: str) -> None:
    """A file or query may be called after the user."""
    pattern = rf"(^|[^A-Za-z0-9_-]){re.escape(user_id)}([^A-Za-z0-9_-]|$)"
    for table in ("ingest_run", "rejected_row"):
        for _ in range(2):  # of two that share what parts them, the first pass finds one
            warehouse.execute(
                f"UPDATE {table} SET source = regexp_replace(source, $pattern, $instead, 'g') "
                "WHERE regexp_matches(source, $pattern)",
                {"pattern": pattern, "instead": r"\1forgotten\2"},
            )


def _remove_rejected(warehouse: Warehouse, user_id: str) -> int:
    """Rows of the quarantine that name the user. A source's own column names stand in them, so any value counts,
    but where a column is called user_id only that."""
    text = json.dumps(user_id, ensure_ascii=False)[1:-1]
    rows = warehouse.arrow(
        "SELECT rowid AS row_id, content FROM rejected_row "
        "WHERE table_name <> 'item' AND contains(content, $text)",
        text=text,
    )
    named = [row["row_id"] for row in rows.to_pylist() if _names(row["content"], user_id)]
    warehouse.connection.register("named_row", pa.table({"row_id": pa.array(named, pa.int64())}))
    warehouse.execute("DELETE FROM rejected_row WHERE rowid IN (SELECT row_id FROM named_row)")
    warehouse.connection.unregister("named_row")
    return len(named)


def _names(content: str, user_id: str) -> bool:
    """Does a rejected row, or a record that could not be parted into columns, hold this very id?"""
    row = json.loads(content)
    if set(row) == {"line"} and isinstance(row["line"], str):
        return user_id in [field.strip() for field in _FIELD_ENDS.split(row["line"])]
    own = {name: value for name, value in row.items() if name.lower().startswith("user_id")}
    return user_id in _texts(own or row)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield str(value).strip()
