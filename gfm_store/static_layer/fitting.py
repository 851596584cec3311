"""From graph tables and text vectors to item vectors: one call for a refresh and for an evaluation alike."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from gfm_store.config import Config
from gfm_store.device import training_device
from gfm_store.static_layer.hgnn import HGNN
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.static_layer.training import Epoch, HGNNTrainer
from gfm_store.warehouse.graph import GraphTables

WEIGHTS = "hgnn.safetensors"


@dataclass(frozen=True)
class StaticModel:
    """A fitted HGNN and the vectors it gave to the items of its graph."""

    hgnn: HGNN
    vectors: np.ndarray
    """(N, dim) float32, unit length, by node."""
    epochs: list[Epoch]

    def rotated(self, rotation: np.ndarray) -> Self:
        """The same space turned by an orthogonal (dim, dim), for items that the HGNN embeds later, too."""
        turn, hgnn = torch.from_numpy(rotation), copy.deepcopy(self.hgnn)
        with torch.no_grad():
            hgnn.output.weight.copy_(turn.T @ hgnn.output.weight)
            hgnn.output.bias.copy_(hgnn.output.bias @ turn)
        return replace(self, hgnn=hgnn, vectors=self.vectors @ rotation)

    def save(self, folder: Path) -> None:
        """Write the weights to `folder`."""
        state = {name: value.detach().cpu().contiguous() for name, value in self.hgnn.state_dict().items()}
        save_file(state, folder / WEIGHTS)


def to_hetero_graph(graph: GraphTables) -> HeteroGraph:
    """The tensors of a graph's Arrow tables."""
    node_type = torch.from_numpy(graph.item_node["type_index"].to_numpy().astype(np.int64))
    edges = [graph.co_interaction[name].to_numpy().astype(np.int64) for name in ("src", "dst")]
    return HeteroGraph.from_edges(node_type, len(graph.item_types), torch.from_numpy(np.stack(edges)))


def fit_static(
    graph: GraphTables, text: np.ndarray, config: Config, checkpoint: Path | None = None
) -> StaticModel:
    """Train the HGNN and embed every item of the graph.

    Args:
        text: (N, text_dim) float32, by node.
        checkpoint: where training goes on after an interruption; None keeps nothing.
    """
    hetero = to_hetero_graph(graph)
    available = graph.item_node["is_available"].to_numpy(zero_copy_only=False)
    with training_device(config) as device:
        trainer = HGNNTrainer(
            hetero,
            torch.from_numpy(text),
            torch.from_numpy(available.copy()),
            config.hgnn,
            config.seed,
            device,
            checkpoint,
        )
        hgnn = trainer.fit()
        vectors = hgnn.embed(torch.from_numpy(text).to(device), hetero.to(device))
    return StaticModel(hgnn.cpu(), vectors.cpu().numpy(), trainer.epochs)


def load_hgnn(folder: Path, text_dim: int, dim: int, num_types: int, num_layers: int) -> HGNN:
    """The HGNN of a static version, for items that came after it."""
    hgnn = HGNN(text_dim, dim, num_types, num_layers)
    hgnn.load_state_dict(load_file(folder / WEIGHTS))
    return hgnn.eval()
