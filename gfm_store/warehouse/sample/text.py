"""Titles, descriptions, genres and creators of the made items.

Text shows an item's topic plainly, its scene only in part (words of the own scene are a little likelier
than words of the sister scenes), its mood for some items, and its second scene for about half of those that
have one. What it leaves out can only be learned from behaviour.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.warehouse.sample import phrases
from gfm_store.warehouse.sample.vocabulary import (
    LANGUAGES,
    SCENE_WORDS,
    SCENES_PER_TOPIC,
    SHARED_WORDS,
    WORDS_PER_TOPIC,
    topics,
)

Ints = npt.NDArray[np.int64]

OWN_SCENE, SISTER_SCENE = 1.5, 0.75
"""How likely a word of a scene's list is beside a word that the topic shares (1)."""
MOOD_SHOWN = 0.4
SECOND_SHOWN = 0.5
ITEMS_PER_CREATOR = 5
CREATOR_KEEPS_SCENE = 0.6


@dataclass(frozen=True)
class HiddenItem:
    """What the text is drawn from; all arrays are (n_items,) of whole numbers."""

    kind: Ints
    """0 podcast, 1 audiobook, 2 music."""
    language: Ints
    """Position in `LANGUAGES`."""
    scene: Ints
    """Scene of the main membership: topic * SCENES_PER_TOPIC + scene within the topic."""
    second_scene: Ints
    """Scene of the second membership, -1 without one."""
    mood: Ints
    """Position in `phrases.MOODS`."""


def describe_items(rng: np.random.Generator, hidden: HiddenItem) -> pa.Table:
    """Columns `title`, `description`, `genres`, `creator`, one row per item.

    At most about 25 words an item, so that encoding stays cheap.
    """
    shows_second = (hidden.second_scene >= 0) & (rng.random(len(hidden.kind)) < SECOND_SHOWN)
    words = _draw_words(rng, hidden, shows_second)
    slots = {letter: pc.take(_words(), pa.array(words[:, i])) for i, letter in enumerate("abc")}
    slots |= {letter.upper(): pc.take(_capitals(), pa.array(words[:, i])) for i, letter in enumerate("abc")}
    title = _fill(rng, hidden, phrases.TITLES, slots)
    content = _fill(rng, hidden, phrases.SENTENCES, _reshuffled(rng, words))
    tone = _tone(rng, hidden)
    return pa.table(
        {
            "title": title,
            "description": pc.binary_join_element_wise(content, tone, " "),
            "genres": _genres(hidden, shows_second),
            "creator": _creators(rng, hidden),
        }
    )


def _draw_words(rng: np.random.Generator, hidden: HiddenItem, shows_second: npt.NDArray[np.bool_]) -> Ints:
    """(n, 4) positions in `_words()`, different ones; the third is of the second topic if that is shown."""
    n = len(hidden.kind)
    word = np.arange(WORDS_PER_TOPIC)
    scene_of_word = np.where(word < SHARED_WORDS, -1, (word - SHARED_WORDS) // SCENE_WORDS)
    own = scene_of_word[None, :] == (hidden.scene % SCENES_PER_TOPIC)[:, None]
    weight = np.where(scene_of_word[None, :] < 0, 1.0, np.where(own, OWN_SCENE, SISTER_SCENE))
    # The smallest of exponential waiting times: a weighted draw without replacement.
    drawn = np.argsort(rng.exponential(size=(n, WORDS_PER_TOPIC)) / weight, axis=1)[:, :4]
    topic = np.repeat((hidden.scene // SCENES_PER_TOPIC)[:, None], 4, axis=1)
    topic[shows_second, 2] = hidden.second_scene[shows_second] // SCENES_PER_TOPIC
    return (hidden.language[:, None] * len(topics()) + topic) * WORDS_PER_TOPIC + drawn


def _reshuffled(rng: np.random.Generator, words: Ints) -> dict[str, pa.Array]:
    """Slots of the description: a word that the title has not, the second topic's, one of the title's."""
    either = np.where(rng.random(len(words)) < 0.5, words[:, 0], words[:, 1])
    return {
        letter: pc.take(_words(), pa.array(column))
        for letter, column in zip("abc", (words[:, 3], words[:, 2], either), strict=True)
    }


def _words() -> pa.Array:
    """All words, by language, topic and position."""
    return pa.array([word for language in LANGUAGES for topic in topics() for word in topic.words[language]])


def _capitals() -> pa.Array:
    return pa.array([word[0].upper() + word[1:] for word in _words().to_pylist()])


def _fill(
    rng: np.random.Generator,
    hidden: HiddenItem,
    templates: dict[str, tuple[tuple[str, ...], ...]],
    slots: dict[str, pa.Array],
) -> pa.Array:
    """One random template of its language and type per item, filled from `slots`; (n,) strings."""
    chance = rng.random(len(hidden.kind))
    rows, texts = [], []
    for position, language in enumerate(LANGUAGES):
        for kind, choices in enumerate(templates[language]):
            here = (hidden.language == position) & (hidden.kind == kind)
            pick = (chance * len(choices)).astype(np.int64)
            for i, template in enumerate(choices):
                row = np.flatnonzero(here & (pick == i))
                rows.append(row)
                texts.append(
                    _fill_template(template, {k: v.take(pa.array(row)) for k, v in slots.items()}, row)
                )
    return pa.concat_arrays(texts).take(pa.array(np.argsort(np.concatenate(rows), kind="stable")))


def _fill_template(template: str, slots: dict[str, pa.Array], rows: Ints) -> pa.Array:
    if not len(rows):
        return pa.array([], pa.string())
    pieces = [
        slots[piece[1]] if piece.startswith("{") else pa.repeat(piece, len(rows))
        for piece in re.split(r"(\{\w\})", template)
    ]
    return pc.binary_join_element_wise(*pieces, "")


def _tone(rng: np.random.Generator, hidden: HiddenItem) -> pa.Array:
    """The second sentence: of the item's mood for some, of none for the others."""
    neutral = _fill(rng, hidden, phrases.NEUTRAL, {})
    moods = pa.array(
        [text for language in LANGUAGES for mood in phrases.MOOD_SENTENCES[language] for text in mood]
    )
    variant = rng.integers(2, size=len(hidden.kind))
    position = (hidden.language * len(phrases.MOODS) + hidden.mood) * 2 + variant
    shown = rng.random(len(hidden.kind)) < MOOD_SHOWN
    return pc.if_else(pa.array(shown), moods.take(pa.array(position)), neutral)


def _genres(hidden: HiddenItem, shows_second: npt.NDArray[np.bool_]) -> pa.Array:
    """Lists of one genre, or two where the second topic shows and its genre is another one."""
    names = np.array([topic.genres for topic in topics()])
    first = names[hidden.scene // SCENES_PER_TOPIC, hidden.kind]
    second = names[hidden.second_scene // SCENES_PER_TOPIC, hidden.kind]
    both = shows_second & (first != second)
    sizes = 1 + both
    flat = np.repeat(first, sizes)
    ends = np.cumsum(sizes)
    flat[ends[both] - 1] = second[both]
    offsets = np.concatenate([[0], ends])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat.tolist(), pa.string()))


def _creators(rng: np.random.Generator, hidden: HiddenItem) -> pa.Array:
    """Names of creators; each keeps to one type, language and topic, and mostly to one scene."""
    n_topics = len(topics())
    group = (hidden.kind * len(LANGUAGES) + hidden.language) * n_topics + hidden.scene // SCENES_PER_TOPIC
    size = np.bincount(group, minlength=3 * len(LANGUAGES) * n_topics)
    creators = -(-size // ITEMS_PER_CREATOR)
    slot = (rng.random(len(group)) * creators[group]).astype(np.int64)
    keeps = rng.random(len(group)) < CREATOR_KEEPS_SCENE
    in_scene = (slot - slot % SCENES_PER_TOPIC + hidden.scene % SCENES_PER_TOPIC) % creators[group]
    slot = np.where(keeps, in_scene, slot)
    first_of_group = np.cumsum(creators) - creators
    names = []
    for kind in range(3):
        for language in range(len(LANGUAGES)):
            groups = slice((kind * len(LANGUAGES) + language) * n_topics, None)
            wanted = int(creators[groups][:n_topics].sum())
            names.append(_names(LANGUAGES[language], kind, wanted))
    return pa.concat_arrays(names).take(pa.array(first_of_group[group] + slot))


def _names(language: str, kind: int, wanted: int) -> pa.Array:
    """`wanted` different names: hosts of podcasts, other people as authors of audiobooks, bands for music."""
    openings = (phrases.BAND_OPENINGS if kind == 2 else phrases.FIRST_NAMES)[language].split()
    endings = (phrases.BAND_ENDINGS if kind == 2 else phrases.LAST_NAMES)[language].split()
    pairs = [f"{opening} {ending}".replace("_", " ") for opening in openings for ending in endings]
    number = np.arange(wanted)
    # 37 has no factor in common with the number of pairs: every pair comes once before any comes again.
    position = (number + (len(pairs) // 2 if kind == 1 else 0)) * 37 % len(pairs)
    names = pa.array(pairs).take(pa.array(position))
    rounds = number // len(pairs) + 1
    suffix = pc.if_else(
        pa.array(rounds == 1),
        "",
        pc.binary_join_element_wise(" ", pc.cast(pa.array(rounds), pa.string()), ""),
    )
    return pc.binary_join_element_wise(names, suffix, "")
