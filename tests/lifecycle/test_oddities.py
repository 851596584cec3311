"""What refreshes say of odd data: clocks, moments without events, items and users that miss each other."""

from datetime import datetime, timedelta

import pytest
from worlds import AS_OF, Recorder, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.errors import UsageError
from gfm_store.lifecycle.oddities import moment_of, tell_what_is_not_listed
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes


def said_of(root, as_of: datetime | None) -> tuple[datetime, list[str]]:
    """The moment of a refresh, and what is said."""
    recorder = Recorder()
    with open_warehouse(root) as warehouse, progress.reporting(recorder):
        moment = moment_of(warehouse, as_of, Config())
        read_item_nodes(warehouse, moment)
        tell_what_is_not_listed(warehouse, moment)
    return moment, recorder.said


def world(tmp_path, *events, items=(), users=()):
    """Ten days of one user's streams of one podcast, and more."""
    streams = [stream("u", "p1", days) for days in range(10)]
    return make_warehouse(tmp_path, [*catalogue("p1"), *items], [*streams, *events], users)


def test_nothing_is_said_of_plain_data(tmp_path):
    users = [{"user_id": "u", "country": "US"}]
    root = world(tmp_path, items=catalogue("p2", markets=["US", "DE"]), users=users)
    just_after = AS_OF + timedelta(microseconds=1)
    assert said_of(root, None) == (just_after, [])
    assert said_of(root, AS_OF + timedelta(days=2)) == (AS_OF + timedelta(days=2), [])


def test_that_most_events_lie_long_before_the_default_moment_is_told(tmp_path):
    far = AS_OF + timedelta(days=400)
    others = [stream(f"v{number}", "p1", days) for number in range(9) for days in range(10)]
    root = world(tmp_path, *others, ("w", "p1", "skip", far))
    assert said_of(root, None) == (
        far + timedelta(microseconds=1),
        [
            f"Events far after all others: 1. This is as of the newest, {far:%Y-%m-%d}; "
            f"`--as-of {AS_OF + timedelta(days=1):%Y-%m-%d}` leaves them out."
        ],
    )
    assert said_of(root, AS_OF) == (AS_OF, [])


def test_that_nothing_happened_before_the_moment_is_told(tmp_path):
    root, late = world(tmp_path), AS_OF + timedelta(days=30)
    (said,) = said_of(root, late)[1]
    assert said.startswith(
        "The newest event before 2024-07-01 00:00 is of 2024-06-01 00:00, 30 days earlier:"
    )
    with pytest.raises(UsageError, match="720 days earlier; histories reach back 720 days"):
        said_of(root, AS_OF + timedelta(days=720))


def test_items_that_were_touched_before_they_are_published_are_counted(tmp_path):
    later = [{**one, "published_at": AS_OF + timedelta(days=1)} for one in catalogue(*"abcde")]
    events = [stream("u", item, 1) for item in "abcd"]  # e has none: it is not known yet
    root = world(tmp_path, *events, items=later)
    (said,) = said_of(root, AS_OF)[1]
    assert said == (
        "Items with events that are published later: 4 (a, b, c, ... of 4). They are not recommended until their "
        "published_at."
    )
    assert said_of(root, AS_OF + timedelta(days=2))[1] == []


def test_countries_that_no_market_names_are_told(tmp_path):
    users = [
        {"user_id": f"u{i}", "country": country} for i, country in enumerate(["us", "us", "US", None, "uk"])
    ]
    root = world(tmp_path, items=catalogue("p2", markets=["US", "DE"]), users=users)
    (said,) = said_of(root, AS_OF)[1]
    assert said == (
        "Countries of users that no item's markets name: us, uk. 3 users there get no item that has markets."
    )


def test_without_markets_no_country_is_odd(tmp_path):
    assert said_of(world(tmp_path, users=[{"user_id": "u", "country": "us"}]), AS_OF)[1] == []
