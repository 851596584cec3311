"""A fitted two-tower with all that it needs to turn histories into vectors: what serving loads."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gfm_store.dynamic_layer.history import Histories, Popularity, Vocabulary
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes, TwoTower
from gfm_store.warehouse.history import HistoryTables

WEIGHTS = "two_tower.safetensors"
SETTINGS = "two_tower.json"
BLOCK = 8192
"""Items or users that go through a tower at once."""


@dataclass(frozen=True)
class DynamicModel:
    """Towers, vocabularies and the few numbers that requests need."""

    towers: TwoTower
    sizes: Sizes
    item_types: list[str]
    """By type index."""
    item_vocabulary: Vocabulary
    user_vocabulary: Vocabulary
    history_days: int
    history_events: int

    @property
    def dim(self) -> int:
        """Length of item and user vectors: tower, popularity windows, padding; a multiple of 8."""
        return -(-(self.sizes.layers[-1] + self.sizes.num_windows + 1) // 8) * 8

    def item_features(self, item: pa.Table, vectors: np.ndarray, text: np.ndarray) -> ItemFeatures:
        """What the item tower reads of `item` (item_type, language, genres), row by row."""
        codes = pc.index_in(item["item_type"], pa.array(self.item_types, pa.string()))
        genres, offsets = self.item_vocabulary.bags(item, "genres")
        return ItemFeatures(
            torch.from_numpy(vectors),
            torch.from_numpy(text),
            torch.from_numpy(pc.fill_null(codes, len(self.item_types)).to_numpy().astype(np.int64)),
            self.item_vocabulary.codes(item, "language"),
            genres,
            offsets,
        )

    def profile_codes(self, user_feature: pa.Table) -> Tensor:
        """(U, P) int64: one code per user and categorical feature."""
        codes = [self.user_vocabulary.codes(user_feature, name) for name in self.user_vocabulary.values]
        return torch.stack(codes, dim=-1)

    @torch.no_grad()
    def item_vectors(self, items: ItemFeatures, node: Tensor, popularity: Popularity) -> np.ndarray:
        """(n, dim) float32 of the items `node` (n,) as of the popularity's moment, all of the same norm."""
        now = torch.tensor([-1])
        vectors = np.zeros((node.numel(), self.dim), dtype=np.float32)
        for begin in range(0, node.numel(), BLOCK):
            part = node[begin : begin + BLOCK]
            block = self.towers.item_vectors(items.rows(part), popularity.features(part, now)[0]).numpy()
            vectors[begin : begin + BLOCK, : block.shape[1]] = block
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
        vectors[:, -1] = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        return vectors

    def user_vectors(
        self, tables: HistoryTables, as_of: datetime, item_vector: np.ndarray, item_type: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of user vectors from the histories as they stand at `as_of`.

        Args:
            item_vector: (N, dim) HGNN vectors and item_type: (N,) type indices, by node.

        Yields:
            (b, dim) float32 vectors, and (b,) bool: which users have a history.
        """
        histories = Histories.from_tables(tables)
        profile = self.profile_codes(tables.user_feature)
        node_type, node_vector = torch.from_numpy(item_type), torch.from_numpy(item_vector)
        for user in torch.arange(histories.num_users).split(BLOCK):
            history = histories.newest(user, as_of, self.history_events, node_type)
            vectors = np.zeros((user.numel(), self.dim), dtype=np.float32)
            with torch.no_grad():
                block = self.towers.user_vectors(history, node_vector, profile[user]).numpy()
            vectors[:, : block.shape[1]] = block
            yield vectors, (history.slot >= 0).any(dim=1).numpy()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) to `folder`."""
        save_file(
            {name: value.contiguous() for name, value in self.towers.state_dict().items()}, folder / WEIGHTS
        )
        settings = {
            "sizes": asdict(self.sizes),
            "item_types": self.item_types,
            "item_vocabulary": dict(self.item_vocabulary.values),
            "user_vocabulary": dict(self.user_vocabulary.values),
            "history_days": self.history_days,
            "history_events": self.history_events,
        }
        (folder / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        sizes = Sizes(**settings["sizes"] | {"layers": tuple(settings["sizes"]["layers"])})
        towers = TwoTower(sizes)
        towers.load_state_dict(load_file(folder / WEIGHTS))
        return cls(
            towers.eval(),
            sizes,
            settings["item_types"],
            Vocabulary(settings["item_vocabulary"]),
            Vocabulary(settings["user_vocabulary"]),
            settings["history_days"],
            settings["history_events"],
        )
