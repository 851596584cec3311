"""What happens in the made world, day by day: sessions, choices, repeats, weak signals and skips.

A day's listening sessions are drawn by user activity; each listen of a session repeats one of the user's last
items or chooses a new one by the formula of `world`. Some choices are announced by a weak signal
minutes to days earlier, some weak signals never lead to a listen, and some items that do not fit are skipped.
In the null world there are no repeats, and weak signals and skips are drawn from the day's one distribution
as well, each on its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gfm_store.warehouse.sample.choice import Chooser, Offer
from gfm_store.warehouse.sample.world import ITEM_TYPES, Floats, Ints, SampleSettings, World, allowed_pairs

Flags = npt.NDArray[np.bool_]

STREAM, FOLLOW, PREVIEW, INTENT, SKIP = range(5)
EVENT_NAMES = ("stream", "follow", "preview", "intent_to_pay", "skip")

DAY = 86_400_000_000
"""Microseconds."""
_SLOTS = 4_096
"""A weak signal's moment keeps, in its last microseconds, the day it was drawn on: no two days collide."""

SESSION_LENGTH = (1.5, 1.2, 3.0)
"""Mean listens of a session, per type."""
REPEATS = (0.04, 0.25, 0.40)
RECENT = 4
"""How many of a user's last items per type may be repeated."""
ANNOUNCED = ((0.10, 0.06, 0.0), (0.05, 0.12, 0.15), (0.05, 0.03, 0.0))
"""Per type: share of chosen listens that follow, preview and intent_to_pay come before."""
LEAD_HOURS = {FOLLOW: (10.0, 1.2), PREVIEW: (1.0, 1.2), INTENT: (14.0, 1.0)}
"""Median and spread (of the logarithm) of the time between a weak signal and the listen."""
LEAD_BOUNDS = (120_000_000, 6 * DAY)
UNANSWERED = 0.05
"""Weak signals that lead to nothing, per listen."""
SKIPPED = 0.10
"""Items offered by popularity alone, per listen."""
SKIP_CHANCE = (0.85, 0.10)
"""How often an offered item that fits badly, and one that fits, is skipped."""
MINUTES = (38.0, 55.0, 3.6)
"""Typical length of a whole listen, per type."""

_HOURS = (
    "1 1 1 1 1 2 5 9 9 6 4 4 5 4 4 4 6 9 8 5 4 4 3 2",
    "2 1 1 1 1 1 2 3 3 2 2 2 3 2 2 2 3 4 5 6 8 9 8 5",
    "2 1 1 1 1 1 3 5 6 7 7 7 7 7 7 7 8 8 8 7 7 6 5 3",
)
"""Weight of each local hour for the start of a session, per type."""
_WEEK = (
    (1.10, 1.12, 1.12, 1.10, 1.05, 0.75, 0.76),
    (0.90, 0.90, 0.92, 0.92, 1.00, 1.16, 1.20),
    (0.96, 0.96, 0.98, 1.00, 1.10, 1.08, 0.92),
)
"""Monday to Sunday, per type."""
_HOURS_FROM_UTC = (-6, 0, -5, 10, 1, 1, 1, 1, -6, -3, 1, 1, 1)
"""Per country."""


@dataclass(frozen=True)
class Events:
    """Events of any kinds; all arrays have one row per event."""

    user: Ints
    item: Ints
    kind: Ints
    """Position in `EVENT_NAMES`."""
    moment: Ints
    """Microseconds since the start of the period."""
    seconds: Floats
    """Seconds played; NaN where nothing was played."""

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, chosen: Ints | Flags) -> "Events":
        """Some of the events, by position or mask."""
        return Events(
            self.user[chosen], self.item[chosen], self.kind[chosen], self.moment[chosen], self.seconds[chosen]
        )


@dataclass
class EventMaker:
    """Makes the events of a world, one day after the other."""

    world: World
    settings: SampleSettings
    recent: Ints = field(init=False)
    """(users, types, RECENT): the last chosen items, -1 where there are fewer."""

    def __post_init__(self) -> None:
        users = self.world.users
        self.recent = np.full((len(users.join_day), len(ITEM_TYPES), RECENT), -1, np.int64)
        self._chooser = Chooser(self.world)
        # Users stand in the order in which they join, so those of a day are the first `joined[day]`.
        self._joined = np.searchsorted(users.join_day, np.arange(self.settings.days), side="right")
        self._running = np.concatenate([np.zeros((1, len(ITEM_TYPES))), np.cumsum(users.rate, axis=0)])
        weekday = (self.settings.end.weekday() - self.settings.days + np.arange(self.settings.days)) % 7
        volume = self._running[self._joined] * np.array(_WEEK).T[weekday]  # (days, types)
        self._listens = volume * (self.settings.events / self._events_of(volume.sum(axis=0)))

    def _events_of(self, volume: Floats) -> float:
        """Expected events of all kinds that come with `volume` (types,) listens."""
        chosen = 1 - np.array(REPEATS) * (not self.world.null_world)
        each = 1 + chosen * np.array(ANNOUNCED).sum(axis=1) + UNANSWERED + SKIPPED * SKIP_CHANCE[0]
        return max(float((volume * each).sum()), 1e-300)

    def days(self) -> Iterator[Events]:
        """The events of each day, in order; a weak signal comes with the day of the listen it announces."""
        for day in range(self.settings.days):
            yield self._day(np.random.default_rng([self.settings.seed, 4, day]), day)

    def _day(self, rng: np.random.Generator, day: int) -> Events:
        offer = self._chooser.offer(day)
        parts = []
        for kind in range(len(ITEM_TYPES)):
            user, moment = self._sessions(rng, day, kind)
            item, chosen = self._listens_of(rng, offer, kind, user)
            possible = (item >= 0) & allowed_pairs(self.world, user, item)
            streams = self._streams(rng, day, kind, user[possible], item[possible], moment[possible])
            parts.append(streams)
            parts.extend(self._weak_signals(rng, offer, kind, streams, chosen[possible]))
            parts.append(self._skips(rng, offer, kind, len(user)))
        return _distinct(_joined(parts), len(self.world.items.kind))

    def _sessions(self, rng: np.random.Generator, day: int, kind: int) -> tuple[Ints, Ints]:
        """User and moment of each listen of a day and type."""
        sessions = rng.poisson(self._listens[day, kind] / SESSION_LENGTH[kind])
        user = self._random_users(rng, day, kind, sessions)
        hours = np.cumsum(np.array(_HOURS[kind].split(), float))
        hour = np.searchsorted(hours / hours[-1], rng.random(sessions), side="right")
        away = np.array(_HOURS_FROM_UTC)[self.world.users.country[user]]
        start = ((hour - away) % 24 + rng.random(sessions)) * DAY / 24
        length = rng.geometric(1 / SESSION_LENGTH[kind], sessions)
        first = np.repeat(np.cumsum(length) - length, length)
        number = np.arange(len(first)) - first
        gap = MINUTES[kind] * 60e6 * rng.uniform(0.8, 1.1, len(first))
        within = (np.repeat(start, length) + number * gap) % DAY  # past midnight: earlier the same day
        return np.repeat(user, length), day * DAY + within.astype(np.int64)

    def _random_users(self, rng: np.random.Generator, day: int, kind: int, n: int) -> Ints:
        """Users who have joined, drawn by their rate for a type."""
        running = self._running[: self._joined[day] + 1, kind]
        if running[-1] <= 0:
            return np.zeros(0, np.int64)
        drawn = rng.random(n) * running[-1]
        return np.minimum(np.searchsorted(running, drawn, side="right"), len(running) - 1) - 1

    def _listens_of(
        self, rng: np.random.Generator, offer: Offer, kind: int, user: Ints
    ) -> tuple[Ints, Flags]:
        """Item of each listen (-1: nothing there), and whether it was chosen rather than repeated."""
        item = self.recent[user, kind, rng.integers(RECENT, size=len(user))]
        possible = (item >= 0) & (offer.day < self.world.items.last_day[item])
        repeats = possible & (rng.random(len(user)) < REPEATS[kind]) & (not self.world.null_world)
        choosing = np.flatnonzero(~repeats)
        item[choosing] = self._chooser.choose(rng, offer, kind, user[choosing])
        fresh = choosing[item[choosing] >= 0]
        self.recent[user[fresh], kind, rng.integers(RECENT, size=len(fresh))] = item[fresh]
        return item, ~repeats

    def _streams(
        self, rng: np.random.Generator, day: int, kind: int, user: Ints, item: Ints, moment: Ints
    ) -> Events:
        """Listens are longer where the item fits, and a little longer for items of quality."""
        fits = self._chooser.fits(user, item, day)
        share: Floats = np.where(fits, rng.beta(6, 1.5, len(user)), rng.beta(3, 2, len(user)))
        quality = 0.0 if self.world.null_world else 0.1 * self.world.items.quality[item]
        length = MINUTES[kind] * 60 * np.exp(rng.normal(quality, 0.25))
        seconds = np.maximum(share * length, 31.0).round(1)
        return Events(user, item, np.full(len(user), STREAM), moment, seconds)

    def _weak_signals(
        self, rng: np.random.Generator, offer: Offer, kind: int, streams: Events, chosen: Flags
    ) -> list[Events]:
        """Signals that announce the day's chosen listens, and some that lead to nothing."""
        n, shares = len(streams), np.array(ANNOUNCED[kind])
        parts = []
        for signal, share in zip((FOLLOW, PREVIEW, INTENT), shares, strict=True):
            alone = UNANSWERED * share / shares.sum()
            if self.world.null_world:  # as many signals, but none tells of a listen
                announcing, alone = np.zeros(0, np.int64), alone + share
            else:
                announcing = np.flatnonzero(chosen & (rng.random(n) < share))
            announced = streams.rows(announcing)
            before = announced.moment - _lead(rng, signal, len(announced))
            user = self._random_users(rng, offer.day, kind, rng.poisson(alone * n))
            item = self._chooser.choose(rng, offer, kind, user)
            moment = _some_moment(rng, offer.day, len(user))
            parts.append(self._weak_events(rng, offer.day, signal, user, item, moment))
            parts.append(self._weak_events(rng, offer.day, signal, announced.user, announced.item, before))
        return parts

    def _weak_events(
        self, rng: np.random.Generator, day: int, signal: int, user: Ints, item: Ints, moment: Ints
    ) -> Events:
        """Weak signals, without those that would come before the item or the user was there."""
        n = len(user)
        moment = moment // _SLOTS * _SLOTS + day
        begins = np.maximum(self.world.items.first_day[item], self.world.users.join_day[user])
        there = (item >= 0) & (moment >= np.maximum(begins, 0) * DAY)
        heard = np.full(n, np.nan) if signal != PREVIEW else np.round(rng.uniform(5, 30, n), 1)
        events = Events(user, item, np.full(n, signal), moment, heard)
        return events.rows(there & allowed_pairs(self.world, user, item))

    def _skips(self, rng: np.random.Generator, offer: Offer, kind: int, listens: int) -> Events:
        user = self._random_users(rng, offer.day, kind, rng.poisson(SKIPPED * listens))
        n = len(user)
        item = self._chooser.choose(rng, offer, kind, user, personal=False)
        fits = self._chooser.fits(user, item, offer.day) & (not self.world.null_world)
        skipped = rng.random(n) < np.array(SKIP_CHANCE)[fits.astype(np.int64)]
        heard = np.round(rng.uniform(1, 28, n), 1)
        events = Events(user, item, np.full(n, SKIP), _some_moment(rng, offer.day, n), heard)
        return events.rows(skipped & (item >= 0) & allowed_pairs(self.world, user, item))


def _some_moment(rng: np.random.Generator, day: int, n: int) -> Ints:
    return day * DAY + (rng.random(n) * DAY).astype(np.int64)


def _lead(rng: np.random.Generator, signal: int, n: int) -> Ints:
    """Microseconds from a weak signal to the listen that it announces."""
    median, spread = LEAD_HOURS[signal]
    lead = median * 3.6e9 * np.exp(rng.normal(0, spread, n))
    return np.clip(lead, *LEAD_BOUNDS).astype(np.int64)


def _joined(parts: list[Events]) -> Events:
    return Events(
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.moment for part in parts]),
        np.concatenate([part.seconds for part in parts]),
    )


def _distinct(events: Events, n_items: int) -> Events:
    """One row per user, item, kind and moment, in the order of time."""
    pair = events.user * n_items + events.item
    order = np.lexsort((pair, events.kind, events.moment))
    same = np.ones(len(order), bool)
    for column in (pair, events.kind, events.moment):
        same[1:] &= column[order][1:] == column[order][:-1]
    same[:1] = False
    return events.rows(order[~same])
