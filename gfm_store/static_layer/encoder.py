"""A fitted HGNN and what it takes to give vectors to items by what was known at any moment.

Weights are learned rarely; vectors follow the newest interactions, and can be told for earlier moments, as what
learns from the past must see them.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gfm_store.config import GraphConfig
from gfm_store.static_layer.hgnn import HGNN
from gfm_store.static_layer.lexical import LexicalFactors
from gfm_store.static_layer.newcomers import KnownTexts
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.static_layer.structure import structural_coordinates, turned_to
from gfm_store.warehouse.graph import Interactions

WEIGHTS = "hgnn.safetensors"


class Embedded(NamedTuple):
    """Vectors of the same N items by what was known at one moment."""

    vectors: np.ndarray
    """(N, dim) float32, by node: unit length, or shorter for items that nobody had touched."""
    early: np.ndarray
    """The same by weights that have not seen the last days of the static version; `vectors` where there are none."""


@dataclass(frozen=True)
class ItemEncoder:
    """An HGNN with the words that it knows and the frame of its structural coordinates."""

    hgnn: HGNN
    early: HGNN | None
    """The weights that have not seen the last days; None where nothing was known before them."""
    lexical: LexicalFactors
    item_types: list[str]
    """By type index."""
    frame: np.ndarray
    """(N, structure_dim) float32: coordinates, by node, that others are turned to; zero for items that came later."""
    graph: GraphConfig
    window_days: int
    """What the window of the edges was in the end."""
    min_users: int
    """What their least number of users was in the end."""
    seed: int

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.hgnn.output.out_features

    def numbered(self, node: np.ndarray) -> Self:
        """The same for items numbered anew: item i is what was item `node[i]`, -1 one that came later."""
        frame = np.where(node[:, None] >= 0, self.frame[np.maximum(node, 0)], np.float32(0))
        return replace(self, frame=frame.astype(np.float32))

    def rotated(self, rotation: np.ndarray) -> Self:
        """The same vectors turned by an orthogonal (dim, dim)."""
        early = None if self.early is None else _rotated(self.early, rotation)
        return replace(self, hgnn=_rotated(self.hgnn, rotation), early=early)

    def read(self, text_vector: np.ndarray, texts: list[str]) -> np.ndarray:
        """(n, text_dim) float32: sentence vectors (n, d) and lexical factors of the same texts, side by side."""
        return read_texts(text_vector, texts, self.lexical)

    def embed(self, item_type: pa.ChunkedArray, text: np.ndarray, known: Interactions) -> Embedded:
        """The vectors of N items, by node.

        An item of a type that training did not know gets its vector from its text and its coordinates alone.

        Args:
            item_type: (N,) text; text: (N, text_dim) float32, from `read`.
        """
        codes = pc.index_in(item_type, pa.array(self.item_types, pa.string())).combine_chunks()
        strange = pc.is_null(codes).to_numpy(zero_copy_only=False)
        node_type = torch.from_numpy(pc.fill_null(codes, 0).to_numpy().astype(np.int64))
        edges = np.stack([known.co_interaction[end].to_numpy().astype(np.int64) for end in ("src", "dst")])
        edges = edges[:, ~strange[edges].any(axis=0)]
        num_types = self.hgnn.num_types
        if num_types == 1:
            node_type = torch.zeros_like(node_type)
        graph = HeteroGraph.from_edges(node_type, num_types, torch.from_numpy(edges))
        user, node = (known.user_set[name].to_numpy() for name in ("user_index", "node"))
        known_of_items = what_is_known(user, node, len(text), self.frame.shape[1], self.seed, self.frame)
        features = item_features(text, known_of_items)
        touched = np.bincount(node, minlength=len(text)) > 0
        new = ~touched
        known_texts = KnownTexts.of(text[touched]) if new.any() else None

        def embedded(hgnn: HGNN) -> np.ndarray:
            vectors: np.ndarray = hgnn.embed(features, graph).numpy()
            if known_texts is not None:
                vectors[new] = known_texts.tell(vectors[new], text[new], vectors[touched])
            return vectors

        vectors = embedded(self.hgnn)
        return Embedded(vectors, vectors if self.early is None else embedded(self.early))

    def newcomers(self, text: np.ndarray) -> np.ndarray:
        """(M, dim) float32, unit length, of items known by their text alone (M, text_dim), from `read`."""
        features = np.pad(text, ((0, 0), (0, self.frame.shape[1] + 1)))
        vectors: np.ndarray = self.hgnn.embed_isolated(torch.from_numpy(features)).numpy()
        return vectors

    def tensors(self) -> dict[str, Tensor]:
        """Weights, words and frame."""
        tensors = {"frame": torch.from_numpy(np.ascontiguousarray(self.frame))}
        for prefix, hgnn in (("hgnn.", self.hgnn), ("early.", self.early)):
            if hgnn is not None:
                tensors |= {prefix + name: value.contiguous() for name, value in hgnn.state_dict().items()}
        return tensors | {f"lexical.{name}": value for name, value in self.lexical.tensors().items()}

    @classmethod
    def from_tensors(
        cls,
        tensors: dict[str, Tensor],
        item_types: list[str],
        graph: GraphConfig,
        window_days: int,
        min_users: int,
        seed: int,
    ) -> Self:
        """From what `tensors` gave."""
        frame = tensors["frame"].numpy()
        hgnn = _from_state(_part(tensors, "hgnn."), len(item_types))
        early_state = _part(tensors, "early.")
        early = _from_state(early_state, len(item_types)) if early_state else None
        words = _part(tensors, "lexical.")  # an encoder that reads none may have been written without
        lexical = LexicalFactors.from_tensors(words) if words else LexicalFactors.fit([], 0, seed)
        return cls(hgnn, early, lexical, item_types, frame, graph, window_days, min_users, seed)

    def save(self, folder: Path) -> None:
        """Write all tensors to `folder`."""
        save_file(self.tensors(), folder / WEIGHTS)

    @classmethod
    def load(
        cls,
        folder: Path,
        item_types: list[str],
        graph: GraphConfig,
        window_days: int,
        min_users: int,
        seed: int,
    ) -> Self:
        """Read back what `save` wrote."""
        return cls.from_tensors(load_file(folder / WEIGHTS), item_types, graph, window_days, min_users, seed)


def _rotated(hgnn: HGNN, rotation: np.ndarray) -> HGNN:
    turn, hgnn = torch.from_numpy(rotation), copy.deepcopy(hgnn)
    with torch.no_grad():
        for layer in (hgnn.output, hgnn.direct):
            layer.weight.copy_(turn.T @ layer.weight)
            layer.bias.copy_(layer.bias @ turn)
    return hgnn


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _from_state(state: dict[str, Tensor], num_types: int) -> HGNN:
    dim, in_dim = state["input.weight"].shape
    num_layers = sum(name.startswith("convs.") and name.endswith("root.weight") for name in state)
    homogeneous = "convs.0.message.1.weight" not in state
    hgnn = HGNN(in_dim, dim, 1 if homogeneous else num_types, num_layers)
    hgnn.load_state_dict(state)
    return hgnn.eval()


def read_texts(text_vector: np.ndarray, texts: list[str], lexical: LexicalFactors) -> np.ndarray:
    """(n, text_dim) float32: what the HGNN reads of n texts, their sentence vectors (n, d) first."""
    return np.concatenate([text_vector, lexical.of(texts)], axis=1).astype(np.float32, copy=False)


def item_features(text: np.ndarray, known: np.ndarray) -> Tensor:
    """(N, in_dim) float32 from texts (N, text_dim) and `what_is_known` (N, dim + 1)."""
    return torch.from_numpy(np.concatenate([text, known], axis=1).astype(np.float32, copy=False))


def what_is_known(
    user: np.ndarray, node: np.ndarray, num_items: int, dim: int, seed: int, frame: np.ndarray | None = None
) -> np.ndarray:
    """(num_items, dim + 1) float32: structural coordinates turned to `frame`, log count.

    Args:
        user, node: (E,) who touched what, each pair once; frame: (num_items, dim).
    """
    structure = structural_coordinates(user, node, num_items, dim, seed)
    if frame is not None:
        structure = turned_to(structure, frame)
    count = np.log1p(np.bincount(node, minlength=num_items))[:, None] / 4
    return np.concatenate([structure, count], axis=1).astype(np.float32)
