"""A fitted two-tower with all that it needs to turn histories into vectors: what serving loads."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gfm_store.dynamic_layer.blend import Blend, BlendSizes, ItemContext
from gfm_store.dynamic_layer.history import (
    DAY,
    Histories,
    HistoryBatch,
    OneHistory,
    Popularity,
    Vocabulary,
    microseconds,
)
from gfm_store.dynamic_layer.one_user import OneUser
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes, TwoTower
from gfm_store.warehouse.history import HistoryTables

TOWER_WEIGHTS = "towers.safetensors"
SETTINGS = "model.json"
ROTATION = "rotation.safetensors"
BLEND_WEIGHTS = "blend.safetensors"
BLOCK = 8192
"""Items or users that go through a tower at once."""


@dataclass(frozen=True)
class FittedBlend:
    """A blend, and the items as it saw them last."""

    blend: Blend
    context: ItemContext
    as_of: int
    """Moment of `context`, microseconds."""
    max_categories: int
    """Of each column of the profile."""

    @torch.inference_mode()
    def user_vectors(self, history: HistoryBatch, profile: Tensor, moment: datetime) -> Tensor:
        """(B, blend.dim) from histories and profiles at a moment: items have grown older since `as_of`."""
        later = self._later(moment)
        return self.blend.user_vectors(history, profile, self.context, skips=True, later=later)

    def user_vector(self, history: OneHistory, profile: np.ndarray, moment: datetime) -> np.ndarray:
        """(blend.dim,) of one user with a profile (P,) bool; the same by NumPy."""
        return self._one_user.vector(history, profile, self._later(moment))

    def _later(self, moment: datetime) -> float:
        return max(microseconds(moment) - self.as_of, 0) / DAY

    @cached_property
    def _one_user(self) -> OneUser:
        return OneUser(self.blend, self.context)

    def save(self, path: Path) -> dict[str, object]:
        """Write all tensors to `path`; returns what else `load` must be given."""
        context = {name: getattr(self.context, name) for name in ("features", "traits", "categories")}
        context |= {f"factors.{k}": table for k, table in enumerate(self.context.factors)}
        state = {f"blend.{name}": value for name, value in self.blend.state_dict().items()}
        state |= {f"context.{name}": value for name, value in context.items()}
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        return {
            "sizes": asdict(self.blend.sizes),
            "as_of": self.as_of,
            "max_categories": self.max_categories,
        }

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> Self:
        """Read back what `save` wrote."""
        state = load_file(path)
        factors = tuple(
            state[f"context.factors.{k}"]
            for k in range(sum(name.startswith("context.factors") for name in state))
        )
        names = ("features", "traits", "categories")
        context = ItemContext(factors=factors, **{name: state[f"context.{name}"] for name in names})
        sizes = settings["sizes"]
        blend = Blend(BlendSizes(**sizes | {"factor_dims": tuple(sizes["factor_dims"])}))
        blend.load_state_dict(
            {name.removeprefix("blend."): v for name, v in state.items() if name.startswith("blend.")}
        )
        return cls(blend.eval(), context, settings["as_of"], settings["max_categories"])


@dataclass(frozen=True)
class UserInputs:
    """What a model reads of U users."""

    histories: Histories
    profile: Tensor
    """(U, P) bool, for the blend."""
    codes: Tensor | None
    """(U, F) int64, for the towers; None without them."""


@dataclass(frozen=True)
class DynamicModel:
    """A blend or the papers' towers, vocabularies and the few numbers that requests need."""

    towers: TwoTower | None
    """None where there is a blend."""
    sizes: Sizes
    """Of the towers."""
    item_types: list[str]
    """By type index."""
    item_vocabulary: Vocabulary
    user_vocabulary: Vocabulary
    history_days: int
    history_events: int
    blended: FittedBlend | None = None
    """None where there are towers."""
    rotation: Tensor | None = None
    """(dim - 1, dim - 1), orthogonal: turns all vectors, but for the padding, towards those of an earlier version."""

    @property
    def dim(self) -> int:
        """Length of vectors: of the blend, or of a tower and popularity windows, then padding; a multiple of 8."""
        towers = self.sizes.layers[-1] + self.sizes.num_windows
        return -(-((towers if self.blended is None else self.blended.blend.dim) + 1) // 8) * 8

    def categories(self, item: pa.Table, limit: int) -> Tensor:
        """(n, C) bool: languages and genres, at most `limit` of each."""
        return self.item_vocabulary.multi_hot(item, limit)

    def profile_categories(self, user_feature: pa.Table, limit: int) -> Tensor:
        """(U, P) bool: what is known of users, at most `limit` values of a column."""
        return self.user_vocabulary.multi_hot(user_feature, limit)

    def numbered(self, order: Tensor) -> Self:
        """The same for items numbered anew: item i is what was item `order[i]`."""
        if self.blended is None:
            return self
        return replace(self, blended=replace(self.blended, context=self.blended.context.rows(order)))

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
            if self.blended is not None:
                block = self.blended.blend.item_vectors(self.blended.context, part)
            else:
                assert self.towers is not None
                block = self.towers.item_vectors(items.rows(part), popularity.features(part, now)[0])
            vectors[begin : begin + BLOCK, : block.shape[1]] = block.numpy()
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
        vectors[:, -1] = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        return self._rotated(vectors)

    def user_inputs(self, tables: HistoryTables) -> UserInputs:
        """All users of `tables`."""
        limit = 0 if self.blended is None else self.blended.max_categories
        return UserInputs(
            Histories.from_tables(tables),
            self.profile_categories(tables.user_feature, limit),
            None if self.towers is None else self.profile_codes(tables.user_feature),
        )

    def user_vectors(
        self, tables: HistoryTables, as_of: datetime, item_vector: np.ndarray, item_type: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of user vectors from the histories as they stand at `as_of`.

        Args:
            item_vector: (N, dim) HGNN vectors and item_type: (N,) type indices, by node.

        Yields:
            (b, dim) float32 vectors, and (b,) bool: which users have a history.
        """
        users = self.user_inputs(tables)
        for user in torch.arange(users.histories.num_users).split(BLOCK):
            yield self.vectors_of(users, user, as_of, item_vector, item_type)

    @torch.inference_mode()
    def vectors_of(
        self, users: UserInputs, user: Tensor, as_of: datetime, item_vector: np.ndarray, item_type: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of the few users `user` (b,) alone; no event may be at or after `as_of`."""
        if self.blended is not None and len(user) == 1:
            one = users.histories.newest_of(int(user), as_of, self.history_events, item_type)
            vector = self.blended.user_vector(one, users.profile[user[0]].numpy(), as_of)
            return self._turned(vector[None]), np.array([len(one.node) > 0])
        history = users.histories.newest(user, as_of, self.history_events, torch.from_numpy(item_type))
        if self.blended is not None:
            block = self.blended.user_vectors(history, users.profile[user], as_of)
        else:
            assert self.towers is not None and users.codes is not None
            block = self.towers.user_vectors(history, torch.from_numpy(item_vector), users.codes[user])
        return self._turned(block.numpy()), (history.slot >= 0).any(dim=1).numpy()

    def _turned(self, block: np.ndarray) -> np.ndarray:
        """(b, dim) of users, from what a blend or a tower gives."""
        vectors = np.zeros((len(block), self.dim), dtype=np.float32)
        vectors[:, : block.shape[1]] = block
        return self._rotated(vectors)

    def _rotated(self, vectors: np.ndarray) -> np.ndarray:
        if self.rotation is not None:
            vectors[:, :-1] = vectors[:, :-1] @ self.rotation.numpy()
        return vectors

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) to `folder`."""
        if self.towers is not None:
            towers = {name: value.contiguous() for name, value in self.towers.state_dict().items()}
            save_file(towers, folder / TOWER_WEIGHTS)
        if self.rotation is not None:
            save_file({"rotation": self.rotation.contiguous()}, folder / ROTATION)
        settings = {
            "has_towers": self.towers is not None,
            "sizes": asdict(self.sizes),
            "item_types": self.item_types,
            "item_vocabulary": dict(self.item_vocabulary.values),
            "user_vocabulary": dict(self.user_vocabulary.values),
            "history_days": self.history_days,
            "history_events": self.history_events,
            "blend": self.blended.save(folder / BLEND_WEIGHTS) if self.blended is not None else None,
        }
        (folder / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        sizes = Sizes(**settings["sizes"] | {"layers": tuple(settings["sizes"]["layers"])})
        towers = None
        if settings["has_towers"]:
            towers = TwoTower(sizes).eval()
            towers.load_state_dict(load_file(folder / TOWER_WEIGHTS))
        return cls(
            towers,
            sizes,
            settings["item_types"],
            Vocabulary(settings["item_vocabulary"]),
            Vocabulary(settings["user_vocabulary"]),
            settings["history_days"],
            settings["history_events"],
            FittedBlend.load(folder / BLEND_WEIGHTS, settings["blend"]) if settings["blend"] else None,
            load_file(folder / ROTATION)["rotation"] if (folder / ROTATION).exists() else None,
        )
