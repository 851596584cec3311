"""What a refresh says of data that is taken as it stands and may not be meant so."""

from datetime import datetime, timedelta

from gfm_store import progress
from gfm_store.config import Config, warehouse_option
from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import Warehouse, newest_event

QUIET_DAYS = 7
"""So many days without any event before the moment are said."""
NAMED = 3
"""Examples in a line."""


def moment_of(warehouse: Warehouse, as_of: datetime | None, config: Config) -> datetime:
    """The moment of a refresh: `as_of`, or just after the newest event.

    Said is where most events lie long before the newest, and where the newest lies long before `as_of`.

    Raises:
        EmptyWarehouseError: there are no events at all, where `as_of` is None.
        UsageError: `as_of` is so late that nobody has a history.
    """
    if as_of is None:
        now = newest_event(warehouse)
        (row,) = warehouse.select("history/ending").to_pylist()
        if row["n_after"]:
            progress.say(
                f"Events far after all others: {row['n_after']:,}. This is as of the newest, {now:%Y-%m-%d}; "
                f"`--as-of {row['event_ts'] + timedelta(days=1):%Y-%m-%d}` leaves them out."
            )
        return now
    newest = warehouse.scalar(
        "SELECT max(event_ts) FROM interaction_event WHERE event_ts < $as_of", as_of=as_of
    )
    if newest is None:
        return as_of  # whoever reads the items says that there is nothing
    quiet, reach = (as_of - newest).days, config.two_tower.history_days
    told = f"The newest event before {as_of:%Y-%m-%d %H:%M} is of {newest:%Y-%m-%d %H:%M}, {quiet:,} days earlier"
    if quiet >= reach:
        raise UsageError(
            f"{told}; histories reach back {reach:,} days (two_tower.history_days), so that nobody would have one. "
            f"Bring newer events in with `python -m jobs.ingest {warehouse_option(warehouse.root)} --events SRC`, or "
            "leave --as-of out."
        )
    if quiet >= QUIET_DAYS:
        progress.say(f"{told}: momentum and quality are told by the last days, which hold nothing.")
    return as_of


def tell_what_is_not_listed(warehouse: Warehouse, as_of: datetime) -> None:
    """Items that were touched and are not recommended, and countries where items with markets are not.

    `item_node` must have been made.
    """
    early = warehouse.select("audit/event_before_published", as_of=as_of)
    if early.num_rows:
        progress.say(
            f"Items with events that are published later: {early.num_rows:,} "
            f"({_some(early['item_id'].to_pylist())}). They are not recommended until their published_at."
        )
    nowhere = warehouse.select("audit/country_without_market").to_pylist()
    if nowhere:
        progress.say(
            f"Countries of users that no item's markets name: {_some([one['country'] for one in nowhere])}. "
            f"{sum(one['n_users'] for one in nowhere):,} users there get no item that has markets."
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown}, ... of {len(names):,}"
