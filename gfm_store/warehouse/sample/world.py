"""The hidden world behind the made events: who likes what, and how likely each choice is.

A *scene* is a hidden community within a topic (24 topics, 3 scenes each). An item belongs to one scene, or
in part to a second one of another topic, and has one of four moods. A user has six favourite scenes whose
weights drift from a start to an end, the same for all item types, and a liking for each mood. On one day a
user who listens to a type picks a language, then an item of that type and language:

    P(item | user, type, day) = P(language | user, type) * w / (sum of w over that type and language)
    w = popularity * freshness(day) * sum over memberships m of
        share_m * trend(topic of scene_m, day) * interest(user, scene_m, day) * mood_liking(user, mood)

Which scene a user favours within a topic mostly follows their *crowd*, which prefers one scene in every
topic. So what a user does in one topic or type tells of their scenes in others, although no text says so.

In the null world w = popularity * freshness(day), whatever the user, scene, mood, topic trend or language,
and P(type) is the same for everybody: on a given day all users draw from one distribution. Profiles and
texts are made as ever, and tell nothing.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gfm_store.errors import UsageError
from gfm_store.warehouse.sample.vocabulary import LANGUAGES, SCENES_PER_TOPIC, topics

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]

ITEM_TYPES = ("podcast", "audiobook", "music")
N_SCENES = len(topics()) * SCENES_PER_TOPIC
N_MOODS = 4
FRESHNESS = ((5.0, 4.0), (2.0, 7.0), (3.0, 5.0))
"""Per type: boost of a new item over an old one, and the days in which it falls to 1/e."""
DRIFT_DAYS = 120.0
"""Days in which 1 - 1/e of a user's way from the start to the end of their interests is gone."""
BACKGROUND = 0.2
"""Share of interest that lies evenly on all scenes."""
SISTERS = 0.2
"""Share of a favourite scene's weight that lies evenly on all scenes of its topic."""


class SampleSettings(BaseModel):
    """Size and kind of the made world; `SampleSettings.checked` turns a mistake into a UsageError."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    users: int = Field(4_000, ge=1, le=100_000_000)
    items: int = Field(2_400, ge=30, le=10_000_000)
    days: int = Field(150, ge=1, le=3_650)
    events: int = Field(250_000, ge=0, le=10_000_000_000)
    """About so many events of all kinds together."""
    seed: int = Field(0, ge=0)
    end_date: date = Field(date(2026, 9, 30), ge=date(1990, 1, 1), le=date(2200, 1, 1))
    """The day after the last one: all events are before its midnight (UTC)."""
    null_world: bool = False
    """Choices follow popularity and freshness alone."""

    @classmethod
    def checked(
        cls,
        *,
        users: int | None = None,
        items: int | None = None,
        events: int | None = None,
        **others: object,
    ) -> "SampleSettings":
        """Settings in which a size that is None follows from the others: 62 events a user in 150 days.

        Raises:
            UsageError: a size is out of bounds, or a setting is unknown.
        """
        default = cls()
        days = others.get("days", default.days)
        per_user = default.events / default.users * (days / default.days if isinstance(days, int) else 1)
        if users is None:
            users = default.users if not events or events < 0 else max(round(events / per_user), 1)
        if items is None:
            items = max(round(default.items * (max(users, 0) / default.users) ** 0.5), 30)
        if events is None:
            events = round(max(users * per_user, 0))
        try:
            return cls.model_validate({"users": users, "items": items, "events": events, **others})
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
            raise UsageError("The sample world cannot be made so: " + "; ".join(problems) + ".") from None

    @property
    def end(self) -> datetime:
        """Midnight after the last day, UTC without a zone."""
        return datetime.combine(self.end_date, datetime.min.time())

    @property
    def start(self) -> datetime:
        """Midnight before the first day."""
        return self.end - timedelta(days=self.days)


@dataclass(frozen=True)
class Items:
    """Hidden item truth; all arrays have n_items rows."""

    kind: Ints
    """Position in `ITEM_TYPES`."""
    language: Ints
    first_day: Ints
    """First whole day on which the item can be chosen; below 0 it was there before the period."""
    last_day: Ints
    """First day on which it cannot be chosen any more; a far day for most."""
    popularity: Floats
    """Zipf rank times quality; 0 for the few items that nobody finds."""
    quality: Floats
    scene: Ints
    """(n, 2): main and second scene, -1 without a second one."""
    share: Floats
    """(n, 2): share of each membership, rows sum to 1."""
    mood: Ints
    market: Ints
    """Position in `MARKETS`, -1 where the item is not restricted."""


@dataclass(frozen=True)
class Users:
    """Hidden user truth, ordered by the day on which they join; all arrays have n_users rows."""

    join_day: Ints
    """0 for those who were there before the period."""
    country: Ints
    age: Ints
    language: Floats
    """(n, types, languages): P(language | user, type), rows sum to 1."""
    scene: Ints
    """(n, 6): favourite scenes."""
    start: Floats
    """(n, 6): their weights at the beginning, rows sum to 1."""
    end: Floats
    """(n, 6): what the weights drift towards."""
    mood: Weights
    """(n, moods): liking, on average about 1."""
    rate: Floats
    """(n, types): relative number of listens per day."""


@dataclass(frozen=True)
class World:
    """Everything that decides what happens."""

    items: Items
    users: Users
    trend: Floats
    """(topics, 3): height, period in days and phase of each topic's wave."""
    null_world: bool


def trend(world: World, day: float) -> Floats:
    """(topics,): how much a topic is in fashion, 1 on average."""
    height, period, phase = world.trend.T
    return np.exp(height * np.sin(2 * np.pi * (day / period + phase)))


def interest(world: World, user: Ints, day: float) -> Weights:
    """(len(user), N_SCENES): how much users like scenes on a day.

    1 on average over the scenes; 1 everywhere in the null world.
    """
    if world.null_world:
        return np.ones((len(user), N_SCENES), np.float32)
    users = world.users
    gone = 1 - np.exp(-day / DRIFT_DAYS)
    weight = (1 - BACKGROUND) * ((1 - gone) * users.start[user] + gone * users.end[user])
    weight = (weight * N_SCENES).astype(np.float32)
    liked = np.full((len(user), N_SCENES), BACKGROUND, np.float32)
    by_topic = liked.reshape(len(user), -1, SCENES_PER_TOPIC)
    row = np.arange(len(user))
    for i in range(users.scene.shape[1]):
        scene = users.scene[user, i]
        liked[row, scene] += np.float32(1 - SISTERS) * weight[:, i]
        by_topic[row, scene // SCENES_PER_TOPIC] += (np.float32(SISTERS / SCENES_PER_TOPIC) * weight[:, i])[
            :, None
        ]
    return liked


def item_weights(world: World, day: int) -> Floats:
    """(n_items, 2): popularity * freshness * share * trend per membership; 0 while an item is not there."""
    items = world.items
    boost, decay = np.array(FRESHNESS)[items.kind].T
    age = day - items.first_day
    there = (age >= 0) & (day < items.last_day)
    fresh = 1 + boost * np.exp(-np.maximum(age, 0) / decay)
    weight = np.where(there, items.popularity * fresh, 0.0)[:, None] * items.share
    if world.null_world:
        return weight
    return weight * trend(world, day)[np.maximum(items.scene, 0) // SCENES_PER_TOPIC]


def language_chances(world: World, kind: int, user: Ints, mass: Floats) -> Floats:
    """(len(user), languages): P(language | user, type) up to a factor; 0 where no item is there (mass 0)."""
    if world.null_world:
        return np.broadcast_to(mass, (len(user), len(LANGUAGES)))
    return world.users.language[user, kind] * (mass > 0)


def allowed(world: World, user: Ints) -> npt.NDArray[np.bool_]:
    """(len(user), n_items): whether an item may be played in the user's country."""
    return market_table()[world.items.market[None, :], world.users.country[user][:, None]]


def allowed_pairs(world: World, user: Ints, item: Ints) -> npt.NDArray[np.bool_]:
    """(n,): the same for pairs of a user and an item."""
    return market_table()[world.items.market[item], world.users.country[user]]


COUNTRIES = ("US", "GB", "CA", "AU", "DE", "AT", "CH", "ES", "MX", "AR", "FR", "BE", "SE")
COUNTRY_SHARE = (0.22, 0.12, 0.05, 0.05, 0.13, 0.03, 0.03, 0.07, 0.06, 0.03, 0.10, 0.03, 0.08)
MARKETS = (
    ("US", "CA"),
    ("GB", "AU", "CA", "US"),
    ("DE", "AT", "CH"),
    ("ES",),
    ("MX", "AR"),
    ("FR", "BE", "CH"),
    ("SE",),
)
MARKETS_OF_LANGUAGE = ((0, 1), (2, 2), (3, 4), (5, 5), (6, 6))
"""Per language the two market lists that its restricted items have."""


def market_table() -> npt.NDArray[np.bool_]:
    """(markets + 1, countries): the last row, which is row -1 too, stands for no restriction."""
    rows = [[country in market for country in COUNTRIES] for market in MARKETS]
    return np.array([*rows, [True] * len(COUNTRIES)])


def choice_rates(world: World, user: Ints, day: int) -> Floats:
    """(len(user), n_items): relative expected listens of each item on a day, from the formula above.

    Exact but dense: callers pass users in blocks. Items that are not there, or not allowed in the user's
    country, are 0.
    """
    items = world.items
    weight = item_weights(world, day)
    liked = interest(world, user, day)
    mood = np.ones((len(user), N_MOODS)) if world.null_world else world.users.mood[user]
    rates = np.zeros((len(user), len(items.kind)))
    for kind in range(len(ITEM_TYPES)):
        for_language = np.zeros((len(user), len(LANGUAGES)))
        members = [
            np.flatnonzero((items.kind == kind) & (items.language == i)) for i in range(len(LANGUAGES))
        ]
        for i, member in enumerate(members):
            taste = sum(liked[:, items.scene[member, m]] * weight[member, m] for m in range(2))
            rates[:, member] = taste * mood[:, items.mood[member]]
            for_language[:, i] = rates[:, member].sum(axis=1)
        mass = np.array([weight[member].sum() for member in members])
        chances = language_chances(world, kind, user, mass)
        chances = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-300)
        for i, member in enumerate(members):
            rates[:, member] *= (
                chances[:, i] / np.maximum(for_language[:, i], 1e-300) * world.users.rate[user, kind]
            )[:, None]
    return rates * allowed(world, user)
