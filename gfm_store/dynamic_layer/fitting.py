"""From frozen item vectors and histories to a fitted two-tower: one call for a refresh and an evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gfm_store import progress
from gfm_store.config import Config, TwoTowerConfig
from gfm_store.device import training_device
from gfm_store.dynamic_layer.blend import Blend
from gfm_store.dynamic_layer.blend_training import Example, choose_tower_weight, fit_blend, read_examples
from gfm_store.dynamic_layer.history import DAY, Popularity, Vocabulary, column, microseconds
from gfm_store.dynamic_layer.lexical import LexicalFactors
from gfm_store.dynamic_layer.model import DynamicModel, FittedBlend
from gfm_store.dynamic_layer.moments import Plan, plan_snapshots, read_moments
from gfm_store.dynamic_layer.snapshots import SnapshotReader, newcomers, published_moments
from gfm_store.dynamic_layer.training import Epoch, TwoTowerTrainer
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes, TwoTower
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
    lexical: LexicalFactors | None
    """None without a blend."""
    hgnn_vectors: np.ndarray
    """(N, dim) float32, by node, as of the model's moment."""
    early: DynamicModel | None
    """The same recipe, fitted without the last `held_out_days`; its blend has no context, since that is another at
    every moment. None where nothing could be held out."""
    held_out_days: int
    held_out_vectors: np.ndarray
    """(N, dim) float32: HGNN vectors as they stood before those days."""

    def rotated(self, rotation: np.ndarray) -> Self:
        """The same scores in a space turned by an orthogonal (model.dim - 1, model.dim - 1)."""
        items = self.item_vectors.copy()
        items[:, :-1] = items[:, :-1] @ rotation
        model = replace(self.model, rotation=torch.from_numpy(rotation))
        return replace(self, model=model, item_vectors=items)

    def with_newcomers(
        self, item: pa.Table, vectors: np.ndarray, texts: list[str], as_of: datetime
    ) -> DynamicModel:
        """The model with items that came after it behind those it was fitted on: by their text, without any event.

        Args:
            item: item_type, published_at; vectors: (n, dim) HGNN; texts: what is written of them; row by row.
        """
        blended = self.model.blended
        if blended is None or self.lexical is None:
            return self.model
        age = (microseconds(as_of) - published_moments(item)) / DAY
        codes = pc.index_in(item["item_type"], pa.array(self.model.item_types, pa.string()))
        num_types = len(self.model.item_types)
        new = newcomers(
            torch.where(age > 0, age, -1.0).float(),
            torch.from_numpy(pc.fill_null(codes, num_types).to_numpy().astype(np.int64)),
            num_types,
            (torch.from_numpy(self.lexical.of(texts)), torch.from_numpy(vectors)),
        )
        return replace(self.model, blended=replace(blended, context=blended.context.followed_by(new)))


def fit_dynamic(
    item_node: pa.Table,
    item_types: list[str],
    vectors_at: Callable[[datetime], np.ndarray],
    text: np.ndarray,
    item_text: pa.Table,
    tables: TrainingTables,
    config: Config,
) -> DynamicFit:
    """Train the two-tower on top of frozen HGNN vectors, and the blend that joins it.

    Args:
        item_node: the items known at the moment, by node.
        item_types: types by type index, as the static layer knows them; further types are "unknown".
        vectors_at: (N, dim) HGNN vectors, by node, from what was known before a moment. What is learned from the past
            reads the vectors of its time: today's have seen what came after.
        text: (N, text_dim), by node.
        item_text: column `text`, by node.
    """
    two_tower = config.two_tower
    available = column(item_node, "is_available", torch.bool)
    plan = plan_snapshots(tables, available.numel(), config)
    moments = read_moments(plan, vectors_at)
    vectors = moments.at(-1).numpy()
    model = _untrained(item_node, item_types, vectors.shape[1], text.shape[1], tables, two_tower)
    sizes = model.sizes
    items = model.item_features(item_node, vectors, text)
    with training_device(config) as device:
        trainer = TwoTowerTrainer(
            tables,
            items,
            moments,
            model.profile_codes(tables.history.user_feature),
            available,
            sizes,
            two_tower,
            config.seed,
            device,
        )
        model = replace(model, towers=trainer.fit().cpu())
    lexical, early = None, None
    if trainer.early is not None:
        early = replace(model, towers=trainer.early.cpu())
    if config.blend.enabled:
        texts = item_text["text"].to_pylist()
        lexical = LexicalFactors.fit(
            [text for text, use in zip(texts, available.tolist(), strict=True) if use],
            config.blend.lexical_factors,
            config.seed,
        )
        factors = torch.from_numpy(lexical.of(texts))
        blended, trial = _fit_blend(item_node, items, factors, trainer, plan, len(item_types), config)
        model = replace(model, blended=blended)
        early = None if early is None or trial is None else replace(early, blended=trial)
    nodes = available.nonzero()[:, 0]
    return DynamicFit(
        model,
        nodes.numpy(),
        model.item_vectors(items, nodes, trainer.popularity),
        trainer.popularity,
        trainer.epochs,
        lexical,
        vectors,
        early,
        plan.validation_days if early is not None else 0,
        moments.at(plan.validation_days - 1).numpy(),
    )


def _untrained(
    item_node: pa.Table,
    item_types: list[str],
    dim: int,
    text_dim: int,
    tables: TrainingTables,
    two_tower: TwoTowerConfig,
) -> DynamicModel:
    """Towers of the right size, with the vocabularies of the data."""
    profile_names = [name for name in tables.history.user_feature.column_names if name != "user_index"]
    user_vocabulary = Vocabulary.from_table(
        tables.history.user_feature, profile_names, two_tower.max_vocabulary
    )
    item_vocabulary = Vocabulary.from_table(item_node, ["language", "genres"], two_tower.max_vocabulary)
    sizes = Sizes(
        dim=dim,
        text_dim=text_dim,
        num_types=len(item_types),
        item_vocabulary=item_vocabulary.sizes(),
        user_vocabulary=user_vocabulary.sizes(),
        num_windows=len(two_tower.popularity_windows_days),
        layers=two_tower.layers,
        categorical_dim=two_tower.categorical_dim,
        dropout=two_tower.dropout,
    )
    return DynamicModel(
        TwoTower(sizes),
        sizes,
        item_types,
        item_vocabulary,
        user_vocabulary,
        tables.history.history_days,
        two_tower.history_events,
    )


def _fit_blend(
    item_node: pa.Table,
    items: ItemFeatures,
    lexical: Tensor,
    trainer: TwoTowerTrainer,
    plan: Plan,
    num_types: int,
    config: Config,
) -> tuple[FittedBlend | None, FittedBlend | None]:
    """The blend on all snapshots, with the towers' weight from the last days, and the one on those before the last
    days; None where there are no targets."""
    pair, as_of = trainer.tables.training_pair, trainer.tables.history.as_of
    reader = SnapshotReader(
        histories=trainer.histories,
        popularity=trainer.popularity,
        pair_user=column(pair, "user_index"),
        pair_node=column(pair, "node"),
        pair_moment=column(pair, "event_ts"),
        item_type=items.item_type,
        num_types=num_types,
        published=published_moments(item_node),
        lexical=lexical,
        moments=trainer.moments,
        candidates=column(item_node, "is_available", torch.bool),
        as_of=microseconds(as_of),
        history_events=config.two_tower.history_events,
        config=config.blend,
    )
    examples = read_examples(reader, plan.days, plan.horizon_days)
    if not examples:
        return None, None
    weight, trial = _tower_weight(reader, trainer, examples, plan, num_types, config)
    blend = fit_blend(examples, num_types, config.blend, config.seed)
    now = reader.snapshot(-1).context
    nothing = now.rows(torch.zeros(0, dtype=torch.int64))
    early = None if trial is None else FittedBlend(trial, nothing, 0, weight)
    return FittedBlend(blend, now, microseconds(as_of), weight), early


def _tower_weight(
    reader: SnapshotReader,
    trainer: TwoTowerTrainer,
    examples: list[Example],
    plan: Plan,
    num_types: int,
    config: Config,
) -> tuple[float, Blend | None]:
    """How much the towers count, by the last days, and the trial blend: it has not seen them, nor have the towers."""
    towers, days, weights = trainer.early, plan.validation_days, config.blend.tower_weights
    if towers is None:
        return weights[-1], None
    held = read_examples(reader, [days - 1], days)
    early = [example for example in examples if example.snapshot.day >= days + plan.horizon_days - 1]
    if not held or not early:
        return weights[-1], None
    blend = fit_blend(early, num_types, config.blend, config.seed)
    if len(weights) == 1:
        return weights[-1], blend
    moment, width = reader.moment(days - 1), trainer.sizes.layers[-1]
    with torch.no_grad():
        item = trainer.item_vectors_at(towers, held[0].snapshot.known, days - 1)[:, :width].cpu()

    def tower_scores(users: Tensor) -> Tensor:
        return trainer.user_vectors_at(towers, users, days - 1)[:, :width].cpu() @ item.T

    weight, ndcg = choose_tower_weight(
        blend,
        held[0],
        tower_scores,
        lambda users: trainer.events_before(users, moment, strong_only=True),
        weights,
        config.two_tower.validation_users,
        torch.Generator().manual_seed(config.seed),
    )
    progress.say(f"Blend: NDCG@10 of the last {days} days {ndcg:.4f} with the towers at {weight:g}.")
    return weight, blend
