"""Drawing the hidden world from a seed: its items, its users and its fashions."""

import numpy as np

from gfm_store.warehouse.sample.vocabulary import LANGUAGES, SCENES_PER_TOPIC, topics
from gfm_store.warehouse.sample.world import (
    COUNTRIES,
    COUNTRY_SHARE,
    ITEM_TYPES,
    MARKETS_OF_LANGUAGE,
    N_MOODS,
    N_SCENES,
    Floats,
    Ints,
    Items,
    SampleSettings,
    Users,
    Weights,
    World,
)

TYPE_SHARE = (0.46, 0.165, 0.375)
LANGUAGE_SHARE = (0.44, 0.19, 0.16, 0.12, 0.09)
ZIPF = 0.7
QUALITY_EFFECT = 0.4
"""Popularity is rank ** -ZIPF * exp(QUALITY_EFFECT * quality), quality standard normal."""
NEVER_FOUND = 0.01
ARRIVE_LATER = 0.35
"""Share of the items that arrive within the period; the others were there before."""
WITHDRAWN = 0.015
RESTRICTED = 0.06
SECOND_MEMBERSHIP, SECOND_SHARE = 0.4, 0.35
FAR_DAY = 1_000_000

AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
AGE_SHARE = (0.2, 0.26, 0.2, 0.15, 0.11, 0.08)
CROWDS = 12
CROWD_KEEPS = 0.8
"""How often a user's favourite scene within a topic is the one that their crowd prefers."""
FAVOURITES = 6
MOOD_SPREAD = 0.8
JOIN_LATER = 0.4
AUDIOBOOK_USERS = 0.19
ACTIVITY_SPREAD = 0.8

_LANGUAGES_OF_COUNTRY = {"US": "en es", "GB": "en", "CA": "en fr", "AU": "en", "DE": "de", "AT": "de"}
_LANGUAGES_OF_COUNTRY |= {
    "CH": "de fr",
    "ES": "es",
    "MX": "es",
    "AR": "es",
    "FR": "fr",
    "BE": "fr",
    "SE": "sv",
}
_SECOND_COUNTRY_LANGUAGE = 0.3


def draw_world(settings: SampleSettings) -> World:
    """The world of these settings. Item types, languages and the like do not depend on `null_world`."""
    rng = np.random.default_rng([settings.seed, 1])
    n = len(topics())
    waves = np.column_stack([rng.uniform(0.1, 0.5, n), rng.uniform(60, 220, n), rng.random(n)])
    items = _draw_items(np.random.default_rng([settings.seed, 2]), settings)
    users = _draw_users(np.random.default_rng([settings.seed, 3]), settings)
    return World(items, users, waves, settings.null_world)


def _draw_items(rng: np.random.Generator, settings: SampleSettings) -> Items:
    n, days = settings.items, settings.days
    kind = np.searchsorted(np.cumsum(TYPE_SHARE)[:-1], (np.arange(n) + 0.5) / n, side="right")
    language = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARE)
    quality = rng.normal(size=n)
    popularity = np.exp(QUALITY_EFFECT * quality)
    for one in range(len(ITEM_TYPES)):
        member = np.flatnonzero(kind == one)
        popularity[member] *= (rng.permutation(len(member)) + 1.0) ** -ZIPF
    popularity[rng.random(n) < NEVER_FOUND] = 0.0
    later = rng.random(n) < ARRIVE_LATER
    first_day = np.where(later, rng.integers(0, days, n), -rng.geometric(1 / 500, n))
    leaves = (rng.random(n) < WITHDRAWN) & (first_day < days * 0.7)
    last_day = np.where(leaves, days - rng.integers(0, max(days // 6, 1), n), FAR_DAY)
    main = rng.integers(N_SCENES, size=n)
    away = rng.integers(SCENES_PER_TOPIC, N_SCENES - SCENES_PER_TOPIC + 1, n)  # never the same topic
    second = np.where(rng.random(n) < SECOND_MEMBERSHIP, _other_topic(main, away), -1)
    share = np.where(second >= 0, SECOND_SHARE, 0.0)
    restricted = (rng.random(n) < RESTRICTED) & (not settings.null_world)
    market = np.array(MARKETS_OF_LANGUAGE)[language, rng.integers(2, size=n)]
    return Items(
        kind=kind,
        language=language,
        first_day=first_day,
        last_day=last_day,
        popularity=popularity,
        quality=quality,
        scene=np.column_stack([main, second]),
        share=np.column_stack([1 - share, share]),
        mood=rng.integers(N_MOODS, size=n),
        market=np.where(restricted, market, -1),
    )


def _other_topic(scene: Ints, away: Ints) -> Ints:
    """A scene of another topic: `away` (3 .. 69 scenes further, counted from the topic's first scene)."""
    return (scene - scene % SCENES_PER_TOPIC + away) % N_SCENES


def _draw_users(rng: np.random.Generator, settings: SampleSettings) -> Users:
    n = settings.users
    later = rng.random(n) < JOIN_LATER
    join_day = np.sort(np.where(later, rng.integers(0, settings.days, n), 0))
    country = rng.choice(len(COUNTRIES), n, p=COUNTRY_SHARE)
    age = rng.choice(len(AGE_BANDS), n, p=AGE_SHARE)
    scene = _favourites(rng, age)
    return Users(
        join_day=join_day,
        country=country,
        age=age,
        language=_languages(rng, country),
        scene=scene,
        start=rng.dirichlet([0.8] * FAVOURITES, n),
        end=rng.dirichlet([0.8] * FAVOURITES, n),
        mood=_mood_liking(rng, n),
        rate=_null_rates(rng, n) if settings.null_world else _rates(rng, n),
    )


def _favourites(rng: np.random.Generator, age: Ints) -> Ints:
    """(n, FAVOURITES) scenes of different topics.

    Crowd and age say which topics, mostly the crowd says which scene of each.
    """
    n, n_topics = len(age), len(topics())
    crowd_topics = rng.normal(scale=0.9, size=(CROWDS, n_topics))
    crowd_scene = rng.integers(SCENES_PER_TOPIC, size=(CROWDS, n_topics))
    age_topics = rng.normal(scale=0.4, size=(len(AGE_BANDS), n_topics))
    crowd = rng.integers(CROWDS, size=n)
    # Gumbel noise and the largest: a weighted draw of topics without replacement.
    drawn = crowd_topics[crowd] + age_topics[age] + rng.gumbel(size=(n, n_topics))
    topic = np.argsort(-drawn, axis=1)[:, :FAVOURITES]
    own = rng.integers(SCENES_PER_TOPIC, size=(n, FAVOURITES))
    keeps = rng.random((n, FAVOURITES)) < CROWD_KEEPS
    within = np.where(keeps, crowd_scene[crowd[:, None], topic], own)
    return topic * SCENES_PER_TOPIC + within


def _languages(rng: np.random.Generator, country: Ints) -> Floats:
    """(n, types, languages): mostly the own language, often some English; music crosses borders."""
    n = len(country)
    spoken = [_LANGUAGES_OF_COUNTRY[name].split() for name in COUNTRIES]
    pair = np.array([[LANGUAGES.index(one[0]), LANGUAGES.index(one[-1])] for one in spoken])
    own = pair[country, (rng.random(n) < _SECOND_COUNTRY_LANGUAGE).astype(np.int64)]
    chance = np.full((n, len(LANGUAGES)), 0.005)
    chance[np.arange(n), rng.integers(len(LANGUAGES), size=n)] += 0.03
    chance[:, 0] += np.where(rng.random(n) < 0.5, rng.uniform(0.1, 0.4, n), 0.01)
    chance[np.arange(n), own] += 1.0
    chance /= chance.sum(axis=1, keepdims=True)
    music = 0.65 * chance + 0.35 * np.array(LANGUAGE_SHARE)
    return np.stack([chance, chance, music], axis=1)


def _mood_liking(rng: np.random.Generator, n: int) -> Weights:
    liking = np.exp(rng.normal(scale=MOOD_SPREAD, size=(n, N_MOODS)))
    return (liking / liking.mean(axis=1, keepdims=True)).astype(np.float32)


def _rates(rng: np.random.Generator, n: int) -> Floats:
    """(n, types): some users are much more active; most never touch audiobooks, the others a little."""
    activity = rng.lognormal(sigma=ACTIVITY_SPREAD, size=n)
    podcast = rng.beta(2, 2, n)
    reads = rng.random(n) < AUDIOBOOK_USERS
    # The least active readers still finish a book now and then, or they would not be seen as readers at all.
    audiobook = np.where(reads, rng.uniform(0.08, 0.2, n), 0.0) * np.maximum(activity, 0.8)
    return np.column_stack([activity * podcast, audiobook, activity * (1 - podcast)])


def _null_rates(rng: np.random.Generator, n: int) -> Floats:
    """(n, types): users differ in how much they listen, not in what."""
    activity = rng.lognormal(sigma=ACTIVITY_SPREAD, size=n)
    return activity[:, None] * np.array([0.485, 0.03, 0.485])
