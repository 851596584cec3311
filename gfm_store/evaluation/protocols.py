"""How the data is divided: one cut in time for everybody, or, beside published tables, each user's last item."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gfm_store.config import MAX_DAYS
from gfm_store.errors import UsageError
from gfm_store.evaluation.split import EncodeText, Split, make_split, read_split
from gfm_store.evaluation.views import HEADLINE, Candidates, View, candidate_sets, views
from gfm_store.warehouse.connection import Warehouse, newest_event
from gfm_store.warehouse.graph import read_item_nodes

NUM_SAMPLED = 999
TEMPORAL, LEAVE_ONE_OUT = "temporal", "loo-999"
ABOUT = {
    TEMPORAL: "One cut in time for everybody. Graph, text statistics, HGNN, two-tower and every baseline see only what "
    "is before it; every item available at the cut is ranked.",
    LEAVE_ONE_OUT: "Each user's last item is left out and ranked among 999 items of its type, drawn at random. This "
    "exists only to stand beside published tables: the other users' events reach beyond the moment of the left-out "
    "one, and ranking among few sampled items flatters everybody and may change the order of the systems. Do not quote "
    "these figures without the protocol's name.",
}


@dataclass(frozen=True)
class Division:
    """A split with what is ranked on it."""

    protocol: str
    split: Split
    sets: Sequence[Candidates]
    views: Sequence[View]


def temporal(warehouse: Warehouse, as_of: datetime | None, horizon_days: int, encode: EncodeText) -> Division:
    """What is before the cut against what is in the horizon after it; by default the last days of the data.

    Raises:
        EmptyWarehouseError: there is nothing before the cut.
        UsageError: the horizon is no length of time, or nothing is newly streamed in it.
    """
    if not 1 <= horizon_days <= MAX_DAYS:
        raise UsageError(
            f"--horizon-days is {horizon_days}; it must be at least 1, and at most {MAX_DAYS:,}."
        )
    as_of = as_of or _default_cut(warehouse, horizon_days)
    split = read_split(warehouse, as_of, horizon_days, encode)
    return Division(TEMPORAL, split, candidate_sets(split), views(split))


def _default_cut(warehouse: Warehouse, horizon_days: int) -> datetime:
    end = newest_event(warehouse)
    cut = end - timedelta(days=horizon_days)
    first = warehouse.scalar("SELECT min(event_ts) FROM interaction_event")
    if cut <= first:
        raise UsageError(
            f"The events are of {(end - first).days:,} days, from {first:%Y-%m-%d} to {end:%Y-%m-%d}, so that none is "
            f"before the last {horizon_days:,}. Choose a shorter --horizon-days."
        )
    return cut


@contextmanager
def leave_one_out(warehouse: Warehouse, encode: EncodeText, seed: int) -> Iterator[Division]:
    """Each user's last item against all other events, which alone are in the warehouse while this is entered.

    Raises:
        UsageError: no user has streamed two items.
    """
    as_of = newest_event(warehouse)
    if not warehouse.create("evaluation/last_item"):
        raise UsageError("Nobody streamed two items: there is nothing to leave out.")
    with warehouse.stand_in("interaction_event", "evaluation/event_before_last"):
        read_item_nodes(warehouse, as_of)
        warehouse.create("evaluation/catalogue_item", horizon_end=as_of)
        target = warehouse.select("evaluation/left_out_target")
        if not target.num_rows:
            raise UsageError("No left-out item is known without its user: there is nothing to predict.")
        split = make_split(warehouse, as_of, 1, target, encode)
        drawn = Candidates("sampled", _sample(split, seed))
        found = [_view(split, HEADLINE, "Left-out item", np.ones(len(split.target_node), dtype=bool))]
        if len(split.item_types) > 1:
            found += [
                _view(split, f"type:{name}", name, split.type_index[split.target_node] == i)
                for i, name in enumerate(split.item_types)
            ]
        yield Division(LEAVE_ONE_OUT, split, [drawn], found)


def _view(split: Split, name: str, title: str, target: np.ndarray) -> View:
    about = f"The last item of each user, among {NUM_SAMPLED} sampled items of its type."
    return View(name, title, about, "sampled", target)


def _sample(split: Split, seed: int) -> np.ndarray:
    """(U, 1 + NUM_SAMPLED) int64: each user's target, and items of its type that the user never streamed.

    -1 where the type has fewer.
    """
    generator = np.random.default_rng(seed)
    drawn = np.full((len(split.user_id), 1 + NUM_SAMPLED), -1, dtype=np.int64)
    target = split.target_node  # one a user, in the order of users
    for i in range(len(split.item_types)):
        nodes = (split.available & (split.type_index == i)).nonzero()[0]
        users = (split.type_index[target] == i).nonzero()[0]
        seen = split.profile(users)
        for row, user in enumerate(users):
            taken = seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
            free = np.setdiff1d(nodes, np.append(taken, target[user]), assume_unique=True)
            few = free[generator.permutation(len(free))[:NUM_SAMPLED]]
            drawn[user, 0] = target[user]
            drawn[user, 1 : 1 + len(few)] = few
    return drawn
