"""From frozen item vectors and histories to a fitted model: one call for a refresh and an evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from gfm_store.dynamic_layer.blend_training import (
    Example,
    ask,
    fit_blend,
    read_examples,
)
from gfm_store.dynamic_layer.history import DAY, Histories, Popularity, Vocabulary, column, microseconds
from gfm_store.dynamic_layer.model import DynamicModel, FittedBlend
from gfm_store.dynamic_layer.moments import Moments, Plan, plan_snapshots, read_moments
from gfm_store.dynamic_layer.promise import Promise
from gfm_store.dynamic_layer.snapshots import SnapshotReader, newcomers, published_moments
from gfm_store.dynamic_layer.training import Epoch, TwoTowerTrainer
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes
from gfm_store.dynamic_layer.weighing import Told, Trial, is_likelier, told_by, weigh
from gfm_store.static_layer.encoder import Embedded
from gfm_store.static_layer.lexical import LexicalFactors
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
    """Of the towers."""
    losses: list[float]
    """Of the blend, step by step."""
    lexical: LexicalFactors | None
    promise: Promise | None
    """Both None without a blend."""
    hgnn_vectors: np.ndarray
    """(N, dim) float32, by node, as of the model's moment; shorter than 1 for items that nobody had touched."""
    early: DynamicModel | None
    """The same recipe, fitted without the last `held_out_days`; its blend has no context, since that is another at
    every moment. None where nothing could be held out."""
    held_out_days: int
    held_out_vectors: np.ndarray
    """(N, dim) float32: HGNN vectors as they stood before those days, by weights that have not seen them."""

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
            item: item_type, language, genres, published_at; vectors: (n, dim) HGNN; texts: what is written of them;
                row by row.
        """
        blended = self.model.blended
        if blended is None or self.lexical is None or self.promise is None:
            return self.model
        age = (microseconds(as_of) - published_moments(item)) / DAY
        codes = pc.index_in(item["item_type"], pa.array(self.model.item_types, pa.string()))
        num_types = len(self.model.item_types)
        new = newcomers(
            torch.where(age > 0, age, -1.0).float(),
            torch.from_numpy(pc.fill_null(codes, num_types).to_numpy().astype(np.int64)),
            num_types,
            (torch.from_numpy(self.lexical.of(texts)), torch.from_numpy(vectors)),
            self.model.categories(item, blended.max_categories),
            self.promise,
        )
        return replace(self.model, blended=replace(blended, context=blended.context.followed_by(new)))


def fit_dynamic(
    item_node: pa.Table,
    item_types: list[str],
    vectors_at: Callable[[datetime], Embedded],
    text: np.ndarray,
    item_text: pa.Table,
    tables: TrainingTables,
    config: Config,
) -> DynamicFit:
    """Fit the blend on top of frozen HGNN vectors; the papers' towers where it is not enabled or has nothing to learn.

    Args:
        item_node: the items known at the moment, by node.
        item_types: types by type index, as the static layer knows them; further types are "unknown".
        vectors_at: HGNN vectors, by node, from what was known before a moment. What is learned from the past reads the
            vectors of its time: today's have seen what came after.
        text: (N, text_dim), by node.
        item_text: column `text`, by node.
    """
    with training_device(config) as device:
        available = column(item_node, "is_available", torch.bool)
        plan = plan_snapshots(tables, available.numel(), config)
        moments, early_moments = read_moments(plan, vectors_at)
        vectors = moments.at(-1).numpy()
        model = _untrained(item_node, item_types, vectors.shape[1], text.shape[1], tables, config.two_tower)
        items = model.item_features(item_node, vectors, text)
        popularity = Popularity.from_table(tables.item_day, config.two_tower.popularity_windows_days)
        fitted = None
        if config.blend.enabled:
            texts = item_text["text"].to_pylist()
            read = [text for text, use in zip(texts, available.tolist(), strict=True) if use]
            lexical = LexicalFactors.fit(read, config.blend.lexical_factors, config.seed)
            words = torch.from_numpy(lexical.of(texts))
            reader = _snapshot_reader(item_node, items, words, model, popularity, moments, tables, config)
            fitted = _fit_blend(model, reader, replace(reader, moments=early_moments), plan, lexical, config)
        if fitted is None:
            fitted = _fit_towers(model, items, moments, early_moments, available, tables, config, device)
        nodes = available.nonzero()[:, 0]
        return DynamicFit(
            fitted.model,
            nodes.numpy(),
            fitted.model.item_vectors(items, nodes, popularity),
            popularity,
            fitted.epochs,
            fitted.losses,
            fitted.lexical,
            fitted.promise,
            vectors,
            fitted.early,
            plan.validation_days if fitted.early is not None else 0,
            early_moments.at(plan.validation_days - 1).numpy(),
        )


@dataclass(frozen=True)
class _Fitted:
    """A model and the same recipe without the last days, None where nothing could be held out; see `DynamicFit`."""

    model: DynamicModel
    early: DynamicModel | None
    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    lexical: LexicalFactors | None = None
    promise: Promise | None = None


def _untrained(
    item_node: pa.Table,
    item_types: list[str],
    dim: int,
    text_dim: int,
    tables: TrainingTables,
    two_tower: TwoTowerConfig,
) -> DynamicModel:
    """What both blend and towers need: the vocabularies of the data, and sizes."""
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
        None,
        sizes,
        item_types,
        item_vocabulary,
        user_vocabulary,
        tables.history.history_days,
        two_tower.history_events,
    )


def _snapshot_reader(
    item_node: pa.Table,
    items: ItemFeatures,
    lexical: Tensor,
    model: DynamicModel,
    popularity: Popularity,
    moments: Moments,
    tables: TrainingTables,
    config: Config,
) -> SnapshotReader:
    pair, limit = tables.training_pair, config.blend.max_categories
    return SnapshotReader(
        histories=Histories.from_tables(tables.history),
        popularity=popularity,
        pair_user=column(pair, "user_index"),
        pair_node=column(pair, "node"),
        pair_moment=column(pair, "event_ts"),
        item_type=items.item_type,
        num_types=len(model.item_types),
        published=published_moments(item_node),
        lexical=lexical,
        categories=model.categories(item_node, limit),
        profile=model.profile_categories(tables.history.user_feature, limit),
        moments=moments,
        candidates=column(item_node, "is_available", torch.bool),
        as_of=microseconds(tables.history.as_of),
        history_events=config.two_tower.history_events,
        config=config.blend,
    )


def _fit_blend(
    model: DynamicModel,
    reader: SnapshotReader,
    early: SnapshotReader,
    plan: Plan,
    lexical: LexicalFactors,
    config: Config,
) -> _Fitted | None:
    """The model with a blend of all snapshots; None where no snapshot has anything to ask.

    Args:
        early: the same with HGNN vectors by weights that have not seen the last days.
    """
    examples = read_examples(reader, plan.days, plan.horizon_days)
    if not examples:
        return None
    without = _early_blend(early, examples, plan, config)
    level_first = without is not None and without.blend.sizes.level_first
    blend, losses = fit_blend(examples, reader.num_types, config.blend, config.seed, level_first)
    if without is not None and without.asked is not None:
        weigh(blend, *without.asked, config)
    now = reader.snapshot(-1)
    blended = FittedBlend(blend, now.context, reader.as_of, config.blend.max_categories)
    before = None
    if without is not None:
        nothing = now.context.rows(torch.zeros(0, dtype=torch.int64))
        before = replace(model, blended=replace(blended, blend=without.blend, context=nothing, as_of=0))
    return _Fitted(
        replace(model, blended=blended), before, losses=losses, lexical=lexical, promise=now.promise
    )


@dataclass(frozen=True)
class _Early:
    """A blend without the last days."""

    blend: Blend
    asked: tuple[Trial, Told] | None
    """For the last days, and what they tell; None where nothing can be asked."""


def _early_blend(early: SnapshotReader, examples: list[Example], plan: Plan, config: Config) -> _Early | None:
    """Of the two recipes, the general level learned beside tastes or first, the one that tells the last days better.

    None where nothing lies before them.
    """
    cut = plan.validation_days - 1
    newest = cut + min(config.blend.min_horizon_days, plan.horizon_days)
    snapshots = [early.embedded(one.snapshot) for one in examples if one.snapshot.day >= newest]
    before = ask(early, snapshots, plan.horizon_days, until=cut)
    if not before:
        return None

    def fitted(level_first: bool) -> _Early:
        when = " without the last days"
        blend = fit_blend(before, early.num_types, config.blend, config.seed, level_first, when)[0]
        trial = Trial.of(early, blend, plan.validation_days, config)
        return _Early(blend, None if trial is None else (trial, told_by(trial, config.seed)))

    beside = fitted(level_first=False)
    if beside.asked is None:
        return beside
    first = fitted(level_first=True)
    assert first.asked is not None  # as `beside` was: the days are the same
    if not is_likelier(first.asked[1], beside.asked[1]):
        return beside
    progress.say("The general level is learned first: so the last days are likelier.")
    return first


def _fit_towers(
    model: DynamicModel,
    items: ItemFeatures,
    moments: Moments,
    early_moments: Moments,
    available: Tensor,
    tables: TrainingTables,
    config: Config,
    device: torch.device,
) -> _Fitted:
    """The model with the papers' fully connected towers."""
    trainer = TwoTowerTrainer(
        tables,
        items,
        moments,
        early_moments,
        model.profile_codes(tables.history.user_feature),
        available,
        model.sizes,
        config.two_tower,
        config.seed,
        device,
    )
    towers = trainer.fit().cpu()
    early = None if trainer.early is None else replace(model, towers=trainer.early.cpu())
    return _Fitted(replace(model, towers=towers), early, epochs=trainer.epochs)
