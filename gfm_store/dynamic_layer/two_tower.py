"""The two-tower: one user tower and one item tower for all item types. Modules only.

arXiv 2403.07478, section 3.2: fully connected layers, one dot product. Beyond the paper: a popularity term,
whose item side is a few log counts and whose user side is learned, as further dimensions of the same dot
product; an item tower that never sees an id, so that new items and types need no retraining.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfm_store.dynamic_layer.history import NUM_SIGNALS, HistoryBatch


@dataclass(frozen=True)
class Sizes:
    """What the shapes of the weights follow from; kept beside them."""

    dim: int
    """HGNN vectors."""
    text_dim: int
    num_types: int
    item_vocabulary: dict[str, int]
    """Codes of `language` and `genres`."""
    user_vocabulary: dict[str, int]
    """Codes of each column of user_profile."""
    num_windows: int
    layers: tuple[int, ...]
    categorical_dim: int
    dropout: float


@dataclass(frozen=True)
class ItemFeatures:
    """Everything the item tower reads, of n items."""

    vector: Tensor
    """(n, dim): HGNN."""
    text: Tensor
    """(n, text_dim)."""
    item_type: Tensor
    """(n,) int64; `num_types` and above are types that training did not know."""
    language: Tensor
    """(n,) int64."""
    genres: Tensor
    """Codes, flat."""
    genre_offsets: Tensor
    """(n,) int64."""

    def to(self, device: torch.device) -> "ItemFeatures":
        """The same on another device."""
        return ItemFeatures(
            self.vector.to(device),
            self.text.to(device),
            self.item_type.to(device),
            self.language.to(device),
            self.genres.to(device),
            self.genre_offsets.to(device),
        )

    def rows(self, index: Tensor) -> "ItemFeatures":
        """The features of some items; (m,) positions, which may repeat."""
        ends = torch.cat([self.genre_offsets[1:], self.genre_offsets.new_tensor([self.genres.numel()])])
        start, length = self.genre_offsets[index], (ends - self.genre_offsets)[index]
        offsets = length.cumsum(0) - length
        flat = torch.arange(int(length.sum()), device=index.device)
        genres = self.genres[flat + torch.repeat_interleave(start - offsets, length)]
        return ItemFeatures(
            self.vector[index],
            self.text[index],
            self.item_type[index],
            self.language[index],
            genres,
            offsets,
        )


def _fully_connected(width: int, layers: tuple[int, ...], dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = []
    for out in layers[:-1]:
        parts += [nn.Linear(width, out), nn.ReLU(), nn.Dropout(dropout)]
        width = out
    return nn.Sequential(*parts, nn.Linear(width, layers[-1]))


class ItemTower(nn.Module):
    """HGNN vector, text vector, type, language and genres to a unit vector. -> (n, layers[-1])."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.categorical_dim
        self.num_types = sizes.num_types
        self.item_type = nn.Embedding(
            sizes.num_types + 1, width
        )  # the last one: a type not known in training
        self.language = nn.Embedding(sizes.item_vocabulary["language"], width)
        self.genres = nn.EmbeddingBag(sizes.item_vocabulary["genres"], width, mode="mean")
        self.layers = _fully_connected(sizes.dim + sizes.text_dim + 3 * width, sizes.layers, sizes.dropout)

    def forward(self, items: ItemFeatures) -> Tensor:
        features = [
            items.vector,
            items.text,
            self.item_type(items.item_type.clamp_max(self.num_types)),
            self.language(items.language),
            self.genres(items.genres, items.genre_offsets),
        ]
        return functional.normalize(self.layers(torch.cat(features, dim=-1)), dim=-1)


class UserTower(nn.Module):
    """A history and what is known of the user to a unit vector and the weights of the popularity windows.

    Per item type and signal: the mean HGNN vector of the history's items and their log count.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.num_slots = sizes.num_types * NUM_SIGNALS
        self.names = list(sizes.user_vocabulary)
        self.profile = nn.ModuleList(
            nn.Embedding(size, sizes.categorical_dim) for size in sizes.user_vocabulary.values()
        )
        width = self.num_slots * (sizes.dim + 1) + len(self.names) * sizes.categorical_dim
        self.layers = _fully_connected(width, sizes.layers, sizes.dropout)
        self.popularity: nn.Module | None = None
        if sizes.num_windows:
            known = self.num_slots + len(self.names) * sizes.categorical_dim
            self.popularity = nn.Sequential(nn.Linear(known, 32), nn.ReLU(), nn.Linear(32, sizes.num_windows))

    def forward(self, history: HistoryBatch, item_vector: Tensor, profile: Tensor) -> tuple[Tensor, Tensor]:
        """User vectors (B, layers[-1]) and popularity weights (B, W).

        Args:
            item_vector: (N, dim), HGNN vectors by node.
            profile: (B, P) int64, one code per categorical feature.
        """
        # (B, slots, L): which place of the history belongs to which item type and signal.
        member = (
            history.slot[:, None, :] == torch.arange(self.num_slots, device=profile.device)[:, None]
        ).float()
        count = member.sum(-1)
        mean = member @ item_vector[history.node] / count.clamp_min(1)[..., None]  # (B, slots, dim)
        known = [embed(profile[:, i]) for i, embed in enumerate(self.profile)]
        state = torch.cat([count.log1p(), *known], dim=-1)
        vector = self.layers(torch.cat([mean.flatten(1), state], dim=-1))
        weights = self.popularity(state) if self.popularity is not None else state[:, :0]
        return functional.normalize(vector, dim=-1), weights


class TwoTower(nn.Module):
    """Both towers, the temperature, and the general weights of the popularity windows.

    score(user, item) = <user vector, item vector> / temperature + <user's weights, log counts of the item>

    It begins close to a ranking by recent popularity, and the towers earn their share of the score.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.user_tower = UserTower(sizes)
        self.item_tower = ItemTower(sizes)
        self.log_temperature = nn.Parameter(torch.tensor(1.0).log())
        self.popularity_weight = nn.Parameter(torch.full((sizes.num_windows,), 0.3))

    def user_vectors(self, history: HistoryBatch, item_vector: Tensor, profile: Tensor) -> Tensor:
        """What is multiplied with `item_vectors`: (B, layers[-1] + W)."""
        vector, weights = self.user_tower(history, item_vector, profile)
        return torch.cat([vector / self.log_temperature.exp(), weights + self.popularity_weight], dim=-1)

    def item_vectors(self, items: ItemFeatures, popularity: Tensor) -> Tensor:
        """(n, layers[-1] + W), given the log counts (n, W) at one moment."""
        return torch.cat([self.item_tower(items), popularity], dim=-1)
