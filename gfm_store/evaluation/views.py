"""What is asked of every system: lists of candidates, and the views (users and targets) that are measured on them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gfm_store.evaluation.split import Split

FIRST_ITEMS = 5
"""Headline targets: the first items that a user newly streams in the horizon."""
HEADLINE = "headline"
FIFTHS = 5
COLD_CATALOGUE = (
    "The catalogue is taken as known: items that appear only inside the horizon are listed too. A data set that holds "
    "only items with events tells the future here, so read these figures as an upper bound."
)


@dataclass(frozen=True)
class Candidates:
    """What is ranked for a user, less what the user has streamed."""

    name: str
    nodes: np.ndarray
    """(N,) bool: the same for everybody; or (U, c) int64 nodes: each user's own, -1 for none."""


@dataclass(frozen=True)
class View:
    """One way to look at a system: some users, some of their targets, one list of candidates."""

    name: str
    title: str
    about: str
    candidates: str
    """Name of the `Candidates` that are ranked."""
    target: np.ndarray
    """(n,) bool: which targets of the split count."""

    def users(self, split: Split) -> np.ndarray:
        """(u,) positions of the users with a target here."""
        return np.unique(split.target_user[self.target])


def candidate_sets(split: Split) -> list[Candidates]:
    """The lists of the temporal protocol."""
    cold = split.available & ~split.warm
    later = ~split.known | cold
    sets = [Candidates("available", split.available)]
    if len(split.item_types) > 1:
        sets += [
            Candidates(f"type:{name}", split.available & (split.type_index == i))
            for i, name in enumerate(split.item_types)
        ]
    sets += [
        Candidates("cold", cold),
        Candidates("cold, catalogue known", later),
        Candidates("all, catalogue known", split.available | later),
    ]
    return sets


def views(split: Split) -> list[View]:
    """The views of the temporal protocol, the headline first."""
    warm_target = (split.available & split.warm)[split.target_node]
    first = first_targets(split, warm_target, FIRST_ITEMS)
    known = split.known_user[split.target_user] >= 0
    found = [
        View(
            HEADLINE,
            "Headline",
            f"The first {FIRST_ITEMS} items that a user newly streams in the horizon, of those with an event before "
            "the cut. Every item available at the cut is ranked, what the user had streamed left out.",
            "available",
            first,
        ),
        View(
            "first",
            "First item",
            "Only the first new item.",
            "available",
            first_targets(split, warm_target, 1),
        ),
        View("all", "All items", "All new items of the horizon.", "available", warm_target),
        View("warm users", "Warm users", "Users with an event before the cut.", "available", first & known),
        View(
            "new users",
            "New users",
            "Users without any event before the cut: the model gives what it expects of anybody, with the streams of "
            "their country where it is known; baselines that cannot do so give the tuned popularity list.",
            "available",
            first & ~known,
        ),
    ]
    if len(split.item_types) > 1:
        found += _by_type(split, warm_target)
    found += _by_popularity(split, first)
    return [*found, *_cold(split)]


def first_targets(split: Split, among: np.ndarray, count: int) -> np.ndarray:
    """(n,) bool: each user's first `count` of the targets in `among` (n,) bool."""
    chosen = among.nonzero()[0]
    user = split.target_user[chosen]
    begin = np.searchsorted(user, user)  # where the user's targets begin
    mask = np.zeros(len(among), dtype=bool)
    mask[chosen[np.arange(len(user)) - begin < count]] = True
    return mask


def _by_type(split: Split, warm_target: np.ndarray) -> Iterator[View]:
    """Each type ranked by itself, as `recommend(item_type=...)` does."""
    had_type = np.zeros((len(split.user_id), len(split.item_types)), dtype=bool)
    user, node = split.seen(np.arange(len(split.user_id)))
    had_type[user, split.type_index[node]] = True
    for i, name in enumerate(split.item_types):
        target = first_targets(split, warm_target & (split.type_index[split.target_node] == i), FIRST_ITEMS)
        new = ~had_type[split.target_user, i] & (split.known_user[split.target_user] >= 0)
        ranked = f"Only {name} items are ranked"
        yield View(
            f"type:{name}", name, f"{ranked}; the first {FIRST_ITEMS} new ones.", f"type:{name}", target
        )
        yield View(
            f"new to {name}",
            f"New to {name}",
            f"{ranked}, for users with events before the cut but no stream of {name}.",
            f"type:{name}",
            target & new,
        )


def popularity_fifth(split: Split) -> np.ndarray:
    """(N,) int64: 0 for the most streamed items, which hold a fifth of the streams before the cut, ... 4; -1 cold."""
    streams = np.bincount(split.streams.indices, minlength=split.item.num_rows)
    order = np.argsort(-streams, kind="stable")
    before = np.concatenate([[0], streams[order].cumsum()[:-1]])
    fifth = np.empty(len(order), dtype=np.int64)
    fifth[order] = np.minimum(before * FIFTHS // max(streams.sum(), 1), FIFTHS - 1)
    return np.where(split.warm, fifth, -1)


def _by_popularity(split: Split, first: np.ndarray) -> Iterator[View]:
    fifth = popularity_fifth(split)[split.target_node]
    for i in range(FIFTHS):
        place = {0: "the most streamed items", FIFTHS - 1: "the least streamed items"}.get(
            i, "the next items"
        )
        yield View(
            f"popularity {i + 1}/{FIFTHS}",
            f"Popularity {i + 1}/{FIFTHS}",
            f"Headline targets among {place} that hold a fifth of all streams before the cut.",
            "available",
            first & (fifth == i),
        )


def _cold(split: Split) -> Iterator[View]:
    cold = (split.available & ~split.warm)[split.target_node]
    known = first_targets(split, cold, FIRST_ITEMS)
    later = first_targets(split, cold | ~split.known[split.target_node], FIRST_ITEMS)
    yield View(
        "cold",
        "Cold items, alone",
        "Items available at the cut without an event before it, ranked among themselves.",
        "cold",
        known,
    )
    yield View(
        "cold among all",
        "Cold items, among all",
        "The same targets, in lists of every item available at the cut.",
        "available",
        known,
    )
    yield View(
        "cold, catalogue known",
        "Cold items, alone (catalogue known)",
        f"Items without an event before the cut, ranked among themselves. {COLD_CATALOGUE}",
        "cold, catalogue known",
        later,
    )
    yield View(
        "cold among all, catalogue known",
        "Cold items, among all (catalogue known)",
        f"The same targets, in lists of all items. {COLD_CATALOGUE}",
        "all, catalogue known",
        later,
    )
