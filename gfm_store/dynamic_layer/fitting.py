"""From frozen item vectors and histories to a fitted two-tower: one call for a refresh and an evaluation."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from gfm_store.config import Config
from gfm_store.device import training_device
from gfm_store.dynamic_layer.history import Popularity, Vocabulary, column
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.dynamic_layer.training import Epoch, TwoTowerTrainer
from gfm_store.dynamic_layer.two_tower import Sizes, TwoTower
from gfm_store.warehouse.history import TrainingTables


@dataclass(frozen=True)
class DynamicFit:
    """A fitted model, and what it gives to the items that are available at its moment."""

    model: DynamicModel
    available: np.ndarray
    """(n,) int64: nodes that are recommended."""
    item_vectors: np.ndarray
    """(n, model.dim) float32, one row per node of `available`."""
    popularity: Popularity
    epochs: list[Epoch]


def fit_dynamic(
    item_node: pa.Table,
    item_types: list[str],
    vectors: np.ndarray,
    text: np.ndarray,
    tables: TrainingTables,
    config: Config,
) -> DynamicFit:
    """Train the two-tower on top of frozen HGNN vectors.

    Args:
        item_node: the items known at the moment, by node.
        item_types: types by type index, as the static layer knows them; further types are "unknown".
        vectors: (N, dim) HGNN vectors, text: (N, text_dim), by node.
    """
    two_tower = config.two_tower
    profile_names = [name for name in tables.history.user_feature.column_names if name != "user_index"]
    user_vocabulary = Vocabulary.from_table(
        tables.history.user_feature, profile_names, two_tower.max_vocabulary
    )
    item_vocabulary = Vocabulary.from_table(item_node, ["language", "genres"], two_tower.max_vocabulary)
    sizes = Sizes(
        dim=vectors.shape[1],
        text_dim=text.shape[1],
        num_types=len(item_types),
        item_vocabulary=item_vocabulary.sizes(),
        user_vocabulary=user_vocabulary.sizes(),
        num_windows=len(two_tower.popularity_windows_days),
        layers=two_tower.layers,
        categorical_dim=two_tower.categorical_dim,
        dropout=two_tower.dropout,
    )
    model = DynamicModel(
        TwoTower(sizes),
        sizes,
        item_types,
        item_vocabulary,
        user_vocabulary,
        tables.history.history_days,
        two_tower.history_events,
    )
    items = model.item_features(item_node, vectors, text)
    available = column(item_node, "is_available", torch.bool)
    with training_device(config) as device:
        trainer = TwoTowerTrainer(
            tables,
            items,
            model.profile_codes(tables.history.user_feature),
            available,
            sizes,
            two_tower,
            config.seed,
            device,
        )
        model = replace(model, towers=trainer.fit().cpu())
    nodes = available.nonzero()[:, 0]
    return DynamicFit(
        model,
        nodes.numpy(),
        model.item_vectors(items, nodes, trainer.popularity),
        trainer.popularity,
        trainer.epochs,
    )
