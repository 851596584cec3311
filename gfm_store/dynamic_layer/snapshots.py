"""Snapshots: how everything stood at moments before `as_of`, and what users newly streamed in the days after them.

The blend learns to predict ahead, as it is used: a list is made at one moment and serves the days that follow.
Nothing in a snapshot has seen what it is asked to predict: counts, ages and HGNN vectors end where its horizon begins.
"""

from dataclasses import dataclass, replace

import pyarrow as pa
import torch
from torch import Tensor

from gfm_store.config import BlendConfig
from gfm_store.dynamic_layer.blend import ItemContext
from gfm_store.dynamic_layer.history import DAY, Histories, HistoryBatch, Popularity, column
from gfm_store.dynamic_layer.moments import Moments
from gfm_store.dynamic_layer.promise import MAX_READ, Promise, told_of

WINDOWS = (1, 2, 3, 5, 7, 14, 30, 60, 90, 180, 365)
"""Days over which an item's streams are counted."""
EARLY_DAYS = 14
"""An item's first days, whose streams tell what kind of item it is."""


@dataclass(frozen=True)
class Targets:
    """The first items that users newly streamed after a snapshot; n targets of U users."""

    user: Tensor
    """(U,) int64: distinct users."""
    row: Tensor
    """(n,) int64: place in `user`."""
    node: Tensor
    """(n,) int64."""
    history: HistoryBatch
    """Of `user`, as it stood."""
    profile: Tensor
    """(U, P) bool."""

    def drawn(self, max_users: int, seed: int) -> "Targets":
        """Those of at most `max_users` of the users, drawn at random."""
        order = torch.randperm(self.user.numel(), generator=torch.Generator().manual_seed(seed))
        rows = order[:max_users].sort().values
        return self.only(torch.isin(self.row, rows))

    def only(self, kept: Tensor) -> "Targets":
        """Some of the targets, (n,) bool, and the users who have any of them."""
        rows, row = self.row[kept].unique(return_inverse=True)
        return Targets(self.user[rows], row, self.node[kept], self.history.rows(rows), self.profile[rows])


@dataclass(frozen=True)
class Snapshot:
    """Items as they stood `day` + 1 days before `as_of`."""

    day: int
    """The first day after the moment is day `day`, counted backwards from `as_of`; -1 is `as_of` itself."""
    context: ItemContext
    known: Tensor
    """(k,) int64: items that could be recommended."""
    promise: Promise


def item_features(
    counts: Tensor,
    since: Tensor,
    last: Tensor,
    published_age: Tensor,
    item_type: Tensor,
    num_types: int,
    promise: Tensor,
) -> Tensor:
    """(n, F): what the blend's item side reads.

    Args:
        counts: (n, W + 1) log counts of streams over WINDOWS and over all time.
        since, last: (n,) days since the first and the newest stream, 0 where there is none.
        published_age: (n,) days since publication, -1 where unknown or not yet.
        item_type: (n,) type indices; `num_types` and above are types that training did not know.
        promise: (n,) expected log counts of the first days of items that nobody has streamed, 0 for others, whose
            counts tell more.
    """
    log_age, total = since.float().log1p(), counts[:, -1]
    kinds = torch.nn.functional.one_hot(item_type.clamp_max(num_types), num_types + 1)[:, :-1]
    ages = [
        log_age / 2,
        last.float().log1p() / 2,
        published_age.clamp_min(0).log1p() / 3,
        (published_age >= 0).float(),
        total - log_age,
        promise,
    ]
    return torch.cat([counts, torch.stack(ages, dim=1), kinds.float()], dim=1)


def published_moments(item: pa.Table) -> Tensor:
    """(n,) float64 microseconds of column published_at, NaN where unknown."""
    published = item["published_at"].combine_chunks()
    unknown = torch.from_numpy(published.is_null().to_numpy(zero_copy_only=False).copy())
    filled = pa.table({"published_at": published.fill_null(0)})
    return column(filled, "published_at").double().masked_fill(unknown, float("nan"))


def newcomers(
    published_age: Tensor,
    item_type: Tensor,
    num_types: int,
    factors: tuple[Tensor, ...],
    categories: Tensor,
    promise: Promise,
) -> ItemContext:
    """n items without any event, as a snapshot shows them; shapes as in `item_features` and `ItemContext`.

    The first of the factors are the lexical ones.
    """
    counts = torch.zeros(len(item_type), len(WINDOWS) + 1)
    never = torch.zeros(len(item_type))
    expected = promise.of(told_of(factors[0], categories, item_type, num_types, published_age))
    features = item_features(counts, never, never, published_age, item_type, num_types, expected)
    traits = torch.stack([never, published_age, never, never], dim=1)
    return ItemContext(features, traits, factors, categories)


@dataclass(frozen=True)
class SnapshotReader:
    """Makes snapshots of what training has read. N items, E events, n pairs.

    Args:
        lexical: (N, r) float32.
        categories: (N, C) bool; profile: (U, P) bool, of all users.
        published: (N,) float64: microseconds, NaN where unknown.
        candidates: (N,) bool: items that are available at `as_of`.
    """

    histories: Histories
    popularity: Popularity
    pair_user: Tensor
    pair_node: Tensor
    pair_moment: Tensor
    """(n,) microseconds, ascending."""
    item_type: Tensor
    num_types: int
    published: Tensor
    lexical: Tensor
    categories: Tensor
    profile: Tensor
    moments: Moments
    candidates: Tensor
    as_of: int
    """Microseconds."""
    history_events: int
    config: BlendConfig

    def moment(self, day: int) -> int:
        """Microseconds."""
        return self.as_of - (day + 1) * DAY

    def snapshot(self, day: int) -> Snapshot:
        """How items stood before day `day`."""
        since = (
            self.popularity.first_day(self.candidates.numel()) - day
        )  # days since the first stream, if positive
        age = (self.moment(day) - self.published) / DAY
        published_before = age > 0
        unheard = (since + day < 0) & self.published.isnan()  # without any event: always known
        known = self.candidates & ((since > 0) | published_before | unheard)
        streamed = (since > 0) & (since + day >= 0)
        since = torch.where(streamed, since, 0)
        published_age = torch.where(published_before, age, -1.0).float()
        node = torch.arange(self.candidates.numel())
        window = torch.tensor((*WINDOWS, self.popularity.num_days + 1))
        counts = self.popularity.count(node[:, None], torch.tensor(day), window).float().log1p()  # (N, W + 1)
        early_day = (since + day - EARLY_DAYS).clamp_min(day)
        early = self.popularity.count(node, early_day, (since + day - early_day).clamp_min(0)).float().log1p()
        last = torch.where(streamed, self._days_since_last(node, day), since)
        age_then = torch.where(published_before, published_age - since, -1.0)  # at the first stream, or now
        promise, expected = self._promise(streamed, age_then, early)
        features = item_features(counts, since, last, published_age, self.item_type, self.num_types, expected)
        traits = torch.stack([since.float(), published_age, early, counts[:, -1]], dim=1)
        factors = (self.lexical, self.moments.at(day))
        context = ItemContext(features, traits, factors, self.categories)
        return Snapshot(day, context, known.nonzero()[:, 0], promise)

    def embedded(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of another reader with the HGNN vectors of this one."""
        words, _ = snapshot.context.factors
        factors = (words, self.moments.at(snapshot.day))
        return replace(snapshot, context=replace(snapshot.context, factors=factors))

    def targets(self, snapshot: Snapshot, horizon_days: int, until: int = -1) -> Targets:
        """The first known items that users newly streamed within the horizon after a snapshot.

        A horizon ends before day `until` began, where it would go further.
        """
        moment = self.moment(snapshot.day)
        border = torch.tensor([moment, min(moment + horizon_days * DAY, self.moment(until))])
        begin, end = torch.searchsorted(self.pair_moment, border).tolist()
        known = torch.zeros(self.candidates.numel(), dtype=torch.bool)
        known[snapshot.known] = True
        user, node = self.pair_user[begin:end], self.pair_node[begin:end]
        user, node = user[known[node]], node[known[node]]
        order = torch.argsort(user, stable=True)  # by user, then time
        distinct, row, count = user[order].unique_consecutive(return_inverse=True, return_counts=True)
        place = torch.arange(row.numel()) - (count.cumsum(0) - count)[row]
        first = place < self.config.targets_per_user
        history = self.history(distinct, snapshot.day)
        return Targets(distinct, row[first], node[order][first], history, self.profile[distinct])

    def history(self, user: Tensor, day: int) -> HistoryBatch:
        """Histories as they stood."""
        moment = torch.full_like(user, self.moment(day))
        n_before = self.histories.num_before(user, moment)
        return self.histories.before(user, n_before, moment, self.history_events, self.item_type)

    def _promise(self, streamed: Tensor, age: Tensor, early: Tensor) -> tuple[Promise, Tensor]:
        """Learned from the items that were streamed, and (N,) what it tells of the others; 0 elsewhere."""

        def told(node: Tensor) -> Tensor:
            lexical, categories = self.lexical[node], self.categories[node]
            return told_of(lexical, categories, self.item_type[node], self.num_types, age[node])

        read = (streamed & self.candidates).nonzero()[:, 0]
        read = read[:: 1 + read.numel() // MAX_READ]
        promise = Promise.fit(told(read), early[read])
        new = (~streamed).nonzero()[:, 0]
        return promise, torch.zeros_like(early).index_copy(0, new, promise.of(told(new)))

    def _days_since_last(self, node: Tensor, day: int) -> Tensor:
        """Days since each item's last stream before a day; meaningless where there is none."""
        keys, num_days = self.popularity.keys, self.popularity.num_days
        if not keys.numel():
            return torch.zeros_like(node)
        place = torch.searchsorted(keys, node * num_days + min(day + 1, num_days))
        return (keys[place.clamp_max(keys.numel() - 1)] % num_days - day).clamp_min(0)
