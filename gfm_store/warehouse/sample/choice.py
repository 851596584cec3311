"""Choosing items by the formula of `world`, many at once, without a users x items matrix.

The weight of an item factors into what the user brings (liking of its scene, liking of its mood) and what the
item and the day bring. So a day's weights are summed by *cell* (type, language, scene, mood) once, and a
choice is four small draws: a language, a scene, a mood, then a membership by its share of the cell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gfm_store.warehouse.sample.vocabulary import LANGUAGES
from gfm_store.warehouse.sample.world import (
    ITEM_TYPES,
    N_MOODS,
    N_SCENES,
    Floats,
    Ints,
    Weights,
    World,
    interest,
    item_weights,
    language_chances,
)

BLOCK = 32_768
"""Choices made at once: bounds the (choices, N_SCENES) arrays."""
FITS = 1.0
"""An item fits when the user likes its scene at least this much (1 is the average over scenes)."""


@dataclass(frozen=True)
class Offer:
    """What can be chosen on one day."""

    day: int
    item: Ints
    """(memberships,): the item of each, sorted by cell."""
    bound: Floats
    """(memberships + 1,): running sum of the weights, from 0."""
    cell_bound: Floats
    """(cells + 1,): running sum at each cell's first membership."""
    mass: Weights
    """(types, languages, scenes, moods): weight of each cell."""


class Chooser:
    """Draws items for users of a world."""

    def __init__(self, world: World) -> None:
        items = world.items
        self.world = world
        group = items.kind * len(LANGUAGES) + items.language
        cell = (group[:, None] * N_SCENES + np.maximum(items.scene, 0)) * N_MOODS + items.mood[:, None]
        self._order = np.argsort(cell, axis=None, kind="stable")
        self._shape = (len(ITEM_TYPES), len(LANGUAGES), N_SCENES, N_MOODS)
        self._first = np.searchsorted(cell.ravel()[self._order], np.arange(np.prod(self._shape) + 1))

    def offer(self, day: int) -> Offer:
        """The weights of a day, summed by cell."""
        bound = np.concatenate([[0.0], np.cumsum(item_weights(self.world, day).ravel()[self._order])])
        cell_bound = bound[self._first]
        mass = np.diff(cell_bound).reshape(self._shape).astype(np.float32)
        return Offer(day, self._order // 2, bound, cell_bound, mass)

    def choose(
        self, rng: np.random.Generator, offer: Offer, kind: int, user: Ints, *, personal: bool = True
    ) -> Ints:
        """(len(user),) items of a type, -1 where none is there.

        Without `personal` the users' liking of scenes and moods is left out, as if popularity chose.
        """
        languages = offer.mass[kind].sum(axis=(1, 2))
        item = np.full(len(user), -1, np.int64)
        for begin in range(0, len(user), BLOCK):
            chance = language_chances(self.world, kind, user[begin : begin + BLOCK], languages)
            drawn = _pick(rng, chance)
            for language in range(len(LANGUAGES)):
                row = begin + np.flatnonzero(drawn == language)
                if len(row):
                    item[row] = self._choose_within(rng, offer, (kind, language), user[row], personal)
        return item

    def _choose_within(
        self, rng: np.random.Generator, offer: Offer, group: tuple[int, int], user: Ints, personal: bool
    ) -> Ints:
        mass = offer.mass[group]  # (scenes, moods)
        if personal and not self.world.null_world:
            mood = self.world.users.mood[user]
            # Written out, not as a matrix product: the result must not depend on the number of threads.
            weight = mood[:, :1] * mass[:, 0]
            for i in range(1, N_MOODS):
                weight += mood[:, i : i + 1] * mass[:, i]
            weight *= interest(self.world, user, offer.day)
        else:
            mood = np.ones((len(user), N_MOODS), np.float32)
            weight = np.broadcast_to(mass.sum(axis=1), (len(user), N_SCENES))
        scene = _pick(rng, weight)
        chosen_mood = _pick(rng, mood * mass[scene])
        cell = np.ravel_multi_index((*group, np.maximum(scene, 0), np.maximum(chosen_mood, 0)), self._shape)
        low, high = offer.cell_bound[cell], offer.cell_bound[cell + 1]
        drawn = np.minimum(low + rng.random(len(cell)) * (high - low), np.nextafter(high, low))
        found = offer.item[np.maximum(np.searchsorted(offer.bound, drawn, side="right") - 1, 0)]
        return np.where((scene >= 0) & (chosen_mood >= 0) & (high > low), found, -1)

    def fits(self, user: Ints, item: Ints, day: int) -> npt.NDArray[np.bool_]:
        """(len(user),): whether users like the items' main scenes; always in the null world."""
        if self.world.null_world:
            return np.ones(len(user), bool)
        fits = np.empty(len(user), bool)
        for begin in range(0, len(user), BLOCK):
            block = slice(begin, begin + BLOCK)
            liked = interest(self.world, user[block], day)
            fits[block] = liked[np.arange(len(liked)), self.world.items.scene[item[block], 0]] >= FITS
        return fits


def _pick(rng: np.random.Generator, weight: npt.NDArray[np.floating]) -> Ints:
    """(n,) columns drawn by the rows' weights; -1 where a row has none."""
    if not len(weight):
        return np.zeros(0, np.int64)
    running = np.cumsum(weight, axis=1)
    total = running[:, -1]
    drawn = np.minimum((rng.random(len(weight)) * total).astype(running.dtype), np.nextafter(total, 0))
    return np.where(total > 0, (running <= drawn[:, None]).sum(axis=1), -1)
