"""From graph tables and text vectors to item vectors: one call for a refresh and for an evaluation alike."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import torch

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.device import training_device
from gfm_store.static_layer.completion import UserSets
from gfm_store.static_layer.encoder import ItemEncoder, item_features
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.static_layer.training import Epoch, Fold, HGNNTrainer
from gfm_store.warehouse.graph import GraphTables


@dataclass(frozen=True)
class StaticModel:
    """A fitted HGNN and the vectors it gave to the items of its graph."""

    encoder: ItemEncoder
    vectors: np.ndarray
    """(N, dim) float32, unit length, by node."""
    epochs: list[Epoch]

    def rotated(self, rotation: np.ndarray) -> Self:
        """The same space turned by an orthogonal (dim, dim), for vectors that the HGNN gives later, too."""
        return replace(self, encoder=self.encoder.rotated(rotation), vectors=self.vectors @ rotation)


def to_hetero_graph(item_node: pa.Table, num_types: int, co_interaction: pa.Table) -> HeteroGraph:
    """The tensors of a graph's Arrow tables."""
    node_type = torch.from_numpy(item_node["type_index"].to_numpy().astype(np.int64))
    edges = [co_interaction[name].to_numpy().astype(np.int64) for name in ("src", "dst")]
    return HeteroGraph.from_edges(node_type, num_types, torch.from_numpy(np.stack(edges)))


def fit_static(
    graph: GraphTables, text: np.ndarray, config: Config, checkpoint: Path | None = None
) -> StaticModel:
    """Train the HGNN and embed every item of the graph.

    Args:
        text: (N, text_dim) float32, by node.
        checkpoint: where training goes on after an interruption; None keeps nothing.
    """
    num_types, dim = len(graph.item_types), config.hgnn.structure_dim
    available = graph.item_node["is_available"].to_numpy(zero_copy_only=False)
    user, fold, node = (graph.user_set[name].to_numpy() for name in ("user_index", "fold", "node"))
    whole = item_features(text, user, node, dim, config.seed)
    frame = whole[:, text.shape[1] : -1].numpy()
    folds = []
    with progress.task("Graph without each fold", len(graph.fold_co_interaction), "folds") as task:
        for number, edges in enumerate(graph.fold_co_interaction):
            inside = fold == number
            features = item_features(text, user[~inside], node[~inside], dim, config.seed, frame)
            sets = UserSets.from_pairs(
                torch.from_numpy(user[inside].astype(np.int64)),
                torch.from_numpy(node[inside].astype(np.int64)),
            )
            folds.append(Fold(features, to_hetero_graph(graph.item_node, num_types, edges), sets))
            task.advance()
    with training_device(config) as device:
        trainer = HGNNTrainer(
            folds,
            text.shape[1],
            torch.from_numpy(available.copy()),
            config.hgnn,
            config.seed,
            device,
            checkpoint,
        )
        hgnn = trainer.fit()
        hetero = to_hetero_graph(graph.item_node, num_types, graph.co_interaction)
        vectors = hgnn.embed(whole.to(device), hetero.to(device)).cpu().numpy()
    encoder = ItemEncoder(
        hgnn.cpu(),
        graph.item_types,
        frame,
        config.graph,
        graph.window_days,
        graph.min_users,
        config.seed,
    )
    return StaticModel(encoder, vectors, trainer.epochs)
