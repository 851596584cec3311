"""The two sides of the score: momentum of items, linear factors, and categories, in one dot product. Modules only.

    blend(user, item) = t <w(user), g(item)> + b(item) + lift(item) + t' <C c(user), D c(item)>
                        + sum_k t_k s_k(item) a_k(user) <mean f_k of the history, f_k(item)>
                        + sum_k t_k s_k(item) sum_j v_k(j) <f_k(j), f_k(item)>, j: what waits to be streamed

`g`, `b` and `s` read how an item is doing at a moment: log counts over trailing windows, its age, its last stream; and
what a newcomer promises. `s` says how much of a matter of taste it is: what everybody streams is less of one. `w` and
`a` read the kind of history: how much of what, how long ago, and how new and how popular the user's items were when
they were streamed. Those who follow what is new get what is rising; others get their own corner. In the mean each item
counts once, and less where it has only weak signals: such an item waits to be streamed, and `v` asks for it the more,
the newer its signal is. `c` are categories: an item's language and genres; a user's profile, and how often each
category is in the history. `lift` is the same for all items that nobody has streamed, and nothing for others. It and
`t`, what each part weighs and 1 at first, are set after training. A part of `b` may have been learned before all else.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfm_store.dynamic_layer.history import NUM_SIGNALS, HistoryBatch

NUM_TRAITS = 4
GENERAL = 1
"""Place of the general level among the parts; it is the same for all users."""
HIDDEN = 64
RECENT_EVENTS = 5.0
"""Half-life, in events, of the history's recent mean."""
SKIP = 0.2
"""What a skip takes of its item's factors, as a share of what a history of that item alone would give. On the made
world a tenth and a fifth rank better than nothing, and a half far worse."""


@dataclass(frozen=True)
class ItemContext:
    """What the blend reads of N items at one moment.

    A user's side of it needs `traits` and `factors` alone; `features` make the item's side.
    """

    features: Tensor
    """(N, F) float32: how each item is doing."""
    traits: Tensor
    """(N, 4) float32: days since the first stream; days since publication, or -1 where unknown; log counts of the
    first 14 days and of all time."""
    factors: tuple[Tensor, ...]
    """(N, r) float32 each, unit length, or shorter for what little is known of."""
    categories: Tensor
    """(N, C) bool: languages and genres."""

    def rows(self, index: Tensor) -> "ItemContext":
        """Some of the items, or all in another order."""
        return ItemContext(
            self.features[index],
            self.traits[index],
            tuple(table[index] for table in self.factors),
            self.categories[index],
        )

    def followed_by(self, others: "ItemContext") -> "ItemContext":
        """The same with further items after the N."""
        return ItemContext(
            torch.cat([self.features, others.features]),
            torch.cat([self.traits, others.traits]),
            tuple(torch.cat(pair) for pair in zip(self.factors, others.factors, strict=True)),
            torch.cat([self.categories, others.categories]),
        )


def num_state(num_types: int) -> int:
    """Width of `user_state`."""
    return num_types * NUM_SIGNALS + 2 + 10


def user_state(history: HistoryBatch, traits: Tensor, num_types: int) -> Tensor:
    """(B, num_state): log counts by type and signal, recency, and what the streamed items were like.

    Args:
        traits: (B, L, 4), of the items of the history at its moment.
    """
    slots = torch.arange(num_types * NUM_SIGNALS, device=traits.device)
    counts = (history.slot[..., None] == slots).sum(1).float().log1p()  # (B, slots)
    there = (history.slot >= 0).float()
    strong = there * (history.slot % NUM_SIGNALS == 0)
    when_first = (traits[..., 0] - history.age).clamp_min(0).log1p() / 2
    when_published = (traits[..., 1] - history.age).clamp_min(0).log1p() / 3
    kinds = torch.stack(
        [when_first, when_published, traits[..., 2], traits[..., 3], history.age.log1p() / 2], dim=-1
    )
    fading = strong * 0.5 ** (torch.arange(strong.shape[1], device=traits.device) / RECENT_EVENTS)
    means = [
        (kinds * share[..., None]).sum(1) / share.sum(1, keepdim=True).clamp_min(1e-6)
        for share in (strong, fading)
    ]
    last = (history.age[:, :1].log1p() / 2) * there[:, :1]
    return torch.cat([counts, there[:, :1], last, *means], dim=-1)


def touched(history: HistoryBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Each item of what is read of a history once: (B, L) bool the newest stream of those that were streamed, and
    (B, L) bool the newest weak signal on those that were not, nor skipped since: they wait. And (B, L) bool all skips
    that no stream of the item followed."""
    signal = torch.where(history.slot >= 0, history.slot % NUM_SIGNALS, -1)
    same = history.node[:, :, None] == history.node[:, None, :]  # (B, L, L)
    place = torch.arange(same.shape[1], device=same.device)
    since = same & (place < place[:, None])  # newest event first
    strong = (signal == 0)[:, None, :]
    streamed_since, streamed = (since & strong).any(dim=-1), (same & strong).any(dim=-1)
    touched_since = (since & (signal >= 0)[:, None, :]).any(dim=-1)
    heard, waits = (signal == 0) & ~streamed_since, (signal == 1) & ~streamed & ~touched_since
    return heard, waits, (signal == 2) & ~streamed_since


def has_history(history: HistoryBatch) -> Tensor:
    """(B, 1) bool: whose history holds any event."""
    return history.slot[:, :1] >= 0


def over_dims(weights: Tensor, part_dims: tuple[int, ...]) -> Tensor:
    """(dim,): the weight of each dimension's part, of (parts,)."""
    return weights.repeat_interleave(torch.tensor(part_dims))


def unheard(context: ItemContext) -> Tensor:
    """(N,) bool: the items that nobody had streamed."""
    return context.traits[:, 3] == 0


@dataclass(frozen=True)
class BlendSizes:
    """What the shapes of the weights follow from; kept beside them."""

    num_features: int
    num_types: int
    momentum_dim: int
    factor_dims: tuple[int, ...]
    num_categories: int
    """Of items."""
    num_profile: int
    """Categories of users."""
    category_dim: int
    level_first: bool
    """A part of the general level has a net of its own, which is learned before all else; see `fit_blend`."""


class Blend(nn.Module):
    """Momentum, weighted factors and categories as dimensions of the dot product.

    Shapes: F item features, S user state, M momentum dimensions, r_k width of the factors k, C categories of items,
    P categories of users.
    """

    def __init__(self, sizes: BlendSizes) -> None:
        super().__init__()
        self.sizes = sizes
        num_features, momentum_dim, state = sizes.num_features, sizes.momentum_dim, num_state(sizes.num_types)
        self.item = nn.Sequential(
            nn.Linear(num_features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        self.momentum = nn.Linear(HIDDEN, momentum_dim)
        self.general = nn.Linear(HIDDEN, 1)
        self.level = _level(num_features) if sizes.level_first else None
        num_factors = len(sizes.factor_dims)
        self.personal = nn.Linear(HIDDEN, num_factors)  # softplus of it is `s`, which is 1 at first
        nn.init.zeros_(self.personal.weight)
        nn.init.constant_(self.personal.bias, math.log(math.e - 1))
        self.user = nn.Sequential(
            nn.Linear(state, HIDDEN), nn.ReLU(), nn.Dropout(0.1), nn.Linear(HIDDEN, momentum_dim)
        )
        self.register_buffer("scale", torch.ones(self.dim))  # of users who have a history
        self.register_buffer("lift", torch.tensor(0.0))
        self.share = nn.Sequential(nn.Linear(state, 32), nn.ReLU(), nn.Linear(32, num_factors))
        self.weak = nn.Parameter(torch.tensor(-1.0))  # softplus of it is the weight of what waits in the mean
        # Logarithm of `v`: a level of each factor and each type, and how each factor falls with age.
        self.wait_level = nn.Parameter(torch.zeros(num_factors))
        self.wait_fall = nn.Parameter(torch.zeros(num_factors))
        self.wait_type = nn.Parameter(torch.zeros(sizes.num_types + 1))  # the last: types unknown to training
        # Where nothing is known of categories, they say nothing.
        self.item_categories = _small(sizes.num_categories, sizes.category_dim)
        self.user_categories = _small(sizes.num_categories + sizes.num_profile, sizes.category_dim)
        for name, size in (("feature", num_features), ("state", state)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))

    @property
    def dim(self) -> int:
        """Dimensions that the blend adds to a vector."""
        return sum(self.part_dims)

    @property
    def part_dims(self) -> tuple[int, ...]:
        """How many of `dim` are momentum, the general level, each factor, and categories, as they follow each other."""
        return (self.sizes.momentum_dim, 1, *self.sizes.factor_dims, self.sizes.category_dim)

    def set_weights(self, weights: Tensor) -> None:
        """What each part weighs (parts,) for users who have a history."""
        self.get_buffer("scale").copy_(over_dims(weights, self.part_dims))

    def momentum_parameters(self) -> list[nn.Parameter]:
        """Of what turns how an item is doing into momentum and a general level."""
        return [one for net in (self.item, self.momentum, self.general) for one in net.parameters()]

    def item_vectors(self, context: ItemContext, node: Tensor) -> Tensor:
        """(n, dim) of the items `node` (n,)."""
        hidden = self.item(self._scaled("feature", context.features[node]))
        categories = context.categories[node].float() @ self.item_categories
        personal = functional.softplus(self.personal(hidden))
        factors = (personal[:, k, None] * table[node] for k, table in enumerate(context.factors))
        general = self.general(hidden) + self.get_buffer("lift") * unheard(context)[node, None]
        if self.level is not None:
            general = general + self.levels(context, node)
        return torch.cat([self.momentum(hidden), general, *factors, categories], dim=-1)

    def levels(self, context: ItemContext, node: Tensor) -> Tensor:
        """(n, 1): what is learned first of the general level of the items `node` (n,)."""
        assert self.level is not None
        level: Tensor = self.level(self._scaled("feature", context.features[node]))
        return level

    def user_vectors(
        self,
        history: HistoryBatch,
        profile: Tensor,
        context: ItemContext,
        skips: bool = False,
        later: float = 0.0,
    ) -> Tensor:
        """(B, dim), with a history and profiles (B, P) bool.

        Args:
            later: days from the moment of `context` to that of the history: items have grown so much older.
            skips: take their factors away, so that what they touch falls, and a little what is like it. Several count
                by the root of their number. Training reads skips as traits of a history alone.
        """
        traits = context.traits[history.node]
        if later:
            traits[..., :2] += later * (traits[..., :2] >= 0)
        state = self._scaled("state", user_state(history, traits, self.sizes.num_types))
        share = functional.softplus(self.share(state))
        heard, waits, skip = (one.float() for one in touched(history))
        taste = heard + functional.softplus(self.weak) * waits
        tastes = [
            share[:, k, None] * functional.normalize(_sum_over(history.node, table, taste), dim=-1)
            + _sum_over(history.node, table, waits * self._wait(k, history))
            for k, table in enumerate(context.factors)
        ]
        if skips and skip.any():
            share = SKIP * share / skip.sum(dim=1, keepdim=True).clamp_min(1).sqrt()
            tastes = [
                one - share[:, k, None] * _sum_over(history.node, table, skip)
                for k, (one, table) in enumerate(zip(tastes, context.factors, strict=True))
            ]
        often = (heard[:, None] @ context.categories[history.node].float())[:, 0]
        often = often / heard.sum(1, keepdim=True).clamp_min(1)
        categories = torch.cat([often, profile.float()], dim=-1) @ self.user_categories
        parts = torch.cat([self.user(state) / 4, torch.ones_like(state[:, :1]), *tastes, categories], dim=-1)
        return parts * torch.where(has_history(history), self.get_buffer("scale"), 1.0)

    def _wait(self, k: int, history: HistoryBatch) -> Tensor:
        """(B, L): how much an item that waits is asked for by factor k."""
        item_type = (history.slot // NUM_SIGNALS).clamp(0, self.sizes.num_types)
        fall = functional.softplus(self.wait_fall[k]) * history.age.log1p()
        return (self.wait_level[k] + self.wait_type[item_type] - fall).exp()

    def _scaled(self, name: str, values: Tensor) -> Tensor:
        scaled: Tensor = (values - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_scale")
        return scaled


def _sum_over(node: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """(B, r): rows of `table` (N, r) at `node` (B, L), weighted (B, L), summed over L."""
    return functional.embedding_bag(node, table, mode="sum", per_sample_weights=weight)


def _level(num_features: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(num_features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )


def _small(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) / max(3 * rows, 1) ** 0.5)
