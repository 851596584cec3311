"""From graph tables and text vectors to item vectors: one call for a refresh and for an evaluation alike."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gfm_store import progress
from gfm_store.config import Config, HGNNConfig
from gfm_store.device import training_device
from gfm_store.static_layer.completion import UserSets
from gfm_store.static_layer.encoder import ItemEncoder, item_features, read_texts, what_is_known
from gfm_store.static_layer.hgnn import HGNN
from gfm_store.static_layer.lexical import LexicalFactors
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.static_layer.structure import structural_coordinates
from gfm_store.static_layer.training import Epoch, Fold, HGNNTrainer
from gfm_store.warehouse.graph import Folds, GraphTables


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


def to_hetero_graph(item_type: torch.Tensor, num_types: int, co_interaction: pa.Table) -> HeteroGraph:
    """The tensors of an Arrow table of edges between items of types (N,) int64."""
    edges = [co_interaction[name].to_numpy().astype(np.int64) for name in ("src", "dst")]
    return HeteroGraph.from_edges(item_type, num_types, torch.from_numpy(np.stack(edges)))


def fit_static(
    graph: GraphTables, text_vector: np.ndarray, config: Config, checkpoint: Path | None = None
) -> StaticModel:
    """Train the HGNN and embed every item of the graph.

    It learns from what was known before the last days, and then goes on with everything. What a recipe is worth can
    be asked of the first weights, which have not seen these days.

    Args:
        text_vector: (N, d) float32, sentence vectors by node.
        checkpoint: where training goes on after an interruption; None keeps nothing.
    """
    available = torch.from_numpy(graph.item_node["is_available"].to_numpy(zero_copy_only=False).copy())
    lexical = fit_words(graph, config)
    text = read_texts(text_vector, graph.item_text["text"].to_pylist(), lexical)
    first = graph.early_folds or graph.folds
    frame = structural_coordinates(*_pairs(first), len(text), config.hgnn.structure_dim, config.seed)
    course = _Course(graph, torch.from_numpy(text), frame, config)
    files = checkpoints(checkpoint) if checkpoint is not None else (None, None)
    early, epochs = None, list[Epoch]()
    if graph.early_folds is not None:
        pool = available & _known_before(graph, graph.early_folds)
        less = _epochs(config.hgnn, config.hgnn.early_epochs)
        early = course.train("HGNN without the last days", graph.early_folds, pool, less, files[0], epochs)
    all_epochs = config.hgnn.epochs + (config.hgnn.early_epochs if early is None else 0)
    last = _epochs(config.hgnn, all_epochs)
    hgnn = course.train("HGNN", graph.folds, available, last, files[1], epochs, early)
    hetero = course.hetero_graph(graph.co_interaction)
    with training_device(config) as device:
        features = item_features(text, course.known(*_pairs(graph.folds))).to(device)
        vectors = hgnn.to(device).embed(features, hetero.to(device)).cpu().numpy()
        hgnn.cpu()
    encoder = ItemEncoder(
        hgnn,
        early,
        lexical,
        graph.item_types,
        frame,
        config.graph,
        graph.window_days,
        graph.min_users,
        config.seed,
    )
    return StaticModel(encoder, vectors, epochs)


def fit_words(graph: GraphTables, config: Config) -> LexicalFactors:
    """The lexical factors that the HGNN reads, from the texts of the items that may be recommended."""
    offered = graph.item_text["text"].filter(graph.item_node["is_available"]).to_pylist()
    return LexicalFactors.fit(offered, config.hgnn.lexical_dim, config.seed)


def checkpoint_path(root: Path, inputs: str) -> Path:
    """Where the training of a static version is kept until it is done."""
    return root / "cache" / f"{inputs}.safetensors"


def unfinished(root: Path) -> list[Path]:
    """What interrupted trainings left in a warehouse."""
    return [path for end in ("safetensors", "partial") for path in (root / "cache").glob(f"s-*.{end}")]


def checkpoints(path: Path) -> tuple[Path, Path]:
    """The files in which `fit_static` keeps what it needs to go on: of the early training, and of the whole."""
    return path.with_stem(f"{path.stem}-early"), path


@dataclass(frozen=True)
class _Course:
    """Trainings of one HGNN, which read coordinates in one frame."""

    graph: GraphTables
    text: torch.Tensor
    frame: np.ndarray
    config: Config

    @property
    def item_type(self) -> torch.Tensor:
        """(N,) int64."""
        return torch.from_numpy(self.graph.item_node["type_index"].to_numpy().astype(np.int64))

    def hetero_graph(self, co_interaction: pa.Table) -> HeteroGraph:
        """The items and these edges, of one type where the HGNN is to know none."""
        if self.config.hgnn.heterogeneous:
            return to_hetero_graph(self.item_type, len(self.graph.item_types), co_interaction)
        return to_hetero_graph(torch.zeros_like(self.item_type), 1, co_interaction)

    def known(self, user: np.ndarray, node: np.ndarray) -> np.ndarray:
        """(N, structure_dim + 1) of who touched what."""
        dim = self.config.hgnn.structure_dim
        return what_is_known(user, node, len(self.text), dim, self.config.seed, self.frame)

    def train(
        self,
        label: str,
        known: Folds,
        candidates: torch.Tensor,
        config: HGNNConfig,
        checkpoint: Path | None,
        epochs: list[Epoch],
        initial: HGNN | None = None,
    ) -> HGNN:
        """An HGNN on the CPU, trained on what is known; its epochs come to `epochs`."""
        user, node = _pairs(known)
        fold = known.user_set["fold"].to_numpy()
        folds = []
        with progress.task("Graph without each fold", len(known.co_interaction), "folds") as task:
            for number, edges in enumerate(known.co_interaction):
                inside = fold == number
                sets = UserSets.from_pairs(
                    torch.from_numpy(user[inside].astype(np.int64)),
                    torch.from_numpy(node[inside].astype(np.int64)),
                )
                others = torch.from_numpy(self.known(user[~inside], node[~inside]))
                folds.append(Fold(self.text, others, self.hetero_graph(edges), sets))
                task.advance()
        with training_device(self.config) as device:
            trainer = HGNNTrainer(
                folds,
                self.item_type,
                candidates,
                _sized(config, len(node)),
                self.config.seed,
                device,
                checkpoint,
                initial,
                label,
            )
            hgnn = trainer.fit().cpu()
        epochs += trainer.epochs
        return hgnn


def _sized(config: HGNNConfig, entries: int) -> HGNNConfig:
    """With as many steps in an epoch as so many entries of users' sets want."""
    wanted = min(math.ceil(config.epoch_share * entries / config.batch_size), config.max_steps_per_epoch)
    return config.model_copy(update={"steps_per_epoch": max(config.steps_per_epoch, wanted)})


def _epochs(config: HGNNConfig, epochs: int) -> HGNNConfig:
    return config.model_copy(update={"epochs": epochs})


def _pairs(known: Folds) -> tuple[np.ndarray, np.ndarray]:
    """(E,) users and nodes: who touched what."""
    user, node = (known.user_set[name].to_numpy() for name in ("user_index", "node"))
    return user, node


def _known_before(graph: GraphTables, early: Folds) -> torch.Tensor:
    """(N,) bool: items that were touched or published before the early folds' moment, or never touched at all."""
    node = graph.item_node
    published = pc.less(node["published_at"], pa.scalar(early.moment, node["published_at"].type))
    nothing = pc.and_(pc.is_null(node["published_at"]), pc.invert(node["has_events"]))
    known = pc.or_(pc.fill_null(published, False), nothing).to_numpy().copy()
    known[_pairs(early)[1]] = True
    return torch.from_numpy(known)
