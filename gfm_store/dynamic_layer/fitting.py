"""From frozen item vectors and histories to a fitted model: one call for a refresh and an evaluation."""

import copy
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
from gfm_store.dynamic_layer.blend_training import (
    Example,
    ask,
    choose_tower_weight,
    fit_blend,
    read_examples,
)
from gfm_store.dynamic_layer.history import DAY, Histories, Popularity, Vocabulary, column, microseconds
from gfm_store.dynamic_layer.model import DynamicModel, FittedBlend
from gfm_store.dynamic_layer.moments import Moments, Plan, plan_snapshots, read_moments
from gfm_store.dynamic_layer.promise import Promise
from gfm_store.dynamic_layer.ranking import ndcg_by_user
from gfm_store.dynamic_layer.snapshots import Snapshot, SnapshotReader, newcomers, published_moments
from gfm_store.dynamic_layer.training import Epoch, TwoTowerTrainer
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes
from gfm_store.dynamic_layer.weighing import Trial, weigh
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
    """Fit the blend on top of frozen HGNN vectors, and the papers' towers where these are to join or stand alone.

    Args:
        item_node: the items known at the moment, by node.
        item_types: types by type index, as the static layer knows them; further types are "unknown".
        vectors_at: HGNN vectors, by node, from what was known before a moment. What is learned from the past reads the
            vectors of its time: today's have seen what came after.
        text: (N, text_dim), by node.
        item_text: column `text`, by node.
    """
    two_tower = config.two_tower
    available = column(item_node, "is_available", torch.bool)
    plan = plan_snapshots(tables, available.numel(), config)
    moments, early_moments = read_moments(plan, vectors_at)
    vectors = moments.at(-1).numpy()
    model = _untrained(item_node, item_types, vectors.shape[1], text.shape[1], tables, two_tower)
    items = model.item_features(item_node, vectors, text)
    popularity = Popularity.from_table(tables.item_day, two_tower.popularity_windows_days)
    lexical, reader, examples = None, None, []
    if config.blend.enabled:
        texts = item_text["text"].to_pylist()
        read = [text for text, use in zip(texts, available.tolist(), strict=True) if use]
        lexical = LexicalFactors.fit(read, config.blend.lexical_factors, config.seed)
        words = torch.from_numpy(lexical.of(texts))
        reader = _snapshot_reader(item_node, items, words, model, popularity, moments, tables, config)
        examples = read_examples(reader, plan.days, plan.horizon_days)
    trainer, early, promise = None, None, None
    losses: list[float] = []
    if not examples or config.blend.tower_weights:
        with training_device(config) as device:
            profile = model.profile_codes(tables.history.user_feature)
            trainer = TwoTowerTrainer(
                tables,
                items,
                moments,
                early_moments,
                profile,
                available,
                model.sizes,
                two_tower,
                config.seed,
                device,
            )
            model = replace(model, towers=trainer.fit().cpu())
        if trainer.early is not None:
            early = replace(model, towers=copy.deepcopy(trainer.early).cpu())
    if reader is not None and examples:
        before, now = replace(reader, moments=early_moments), reader.snapshot(-1)
        course = _Course(reader, before, examples, plan, len(item_types), config)
        model, early, losses = _with_blend(model, early, course, now, trainer)
        promise = now.promise
    nodes = available.nonzero()[:, 0]
    return DynamicFit(
        model,
        nodes.numpy(),
        model.item_vectors(items, nodes, popularity),
        popularity,
        [] if trainer is None else trainer.epochs,
        losses,
        lexical,
        promise,
        vectors,
        early,
        plan.validation_days if early is not None else 0,
        early_moments.at(plan.validation_days - 1).numpy(),
    )


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


@dataclass(frozen=True)
class _Course:
    """What a blend is learned from and asked."""

    reader: SnapshotReader
    early: SnapshotReader
    """The same with HGNN vectors by weights that have not seen the last days."""
    examples: list[Example]
    plan: Plan
    num_types: int
    config: Config

    def trial(self) -> Blend | None:
        """The same recipe without the last days; None where nothing lies before them."""
        cut, blend = self.plan.validation_days - 1, self.config.blend
        newest = cut + min(blend.min_horizon_days, self.plan.horizon_days)
        snapshots = [self.early.embedded(one.snapshot) for one in self.examples if one.snapshot.day >= newest]
        before = ask(self.early, snapshots, self.plan.horizon_days, until=cut)
        if not before:
            return None
        return fit_blend(before, self.num_types, blend, self.config.seed, "Two-tower without the last days")[
            0
        ]

    def fit(self, trial: Blend | None) -> tuple[Blend, list[float]]:
        """The blend of all snapshots, with what a trial sets by the last days; and losses."""
        blend, losses = fit_blend(self.examples, self.num_types, self.config.blend, self.config.seed)
        if trial is not None:
            weigh(blend, Trial.of(self.early, trial, self.plan.validation_days, self.config), self.config)
        return blend, losses

    @torch.no_grad()
    def tower_weight(self, trainer: TwoTowerTrainer, trial: Blend | None) -> float:
        """How much the towers count, by the last days, which neither the trial nor the early towers have seen."""
        towers, days, weights = trainer.early, self.plan.validation_days, self.config.blend.tower_weights
        if towers is None or trial is None or len(weights) == 1:
            return weights[-1]
        reader, width = self.early, trainer.sizes.layers[-1]
        snapshot = reader.snapshot(days - 1)
        asked = reader.targets(snapshot, days)
        targets = asked.drawn(self.config.two_tower.validation_users, self.config.seed)
        if not targets.user.numel():
            return weights[-1]
        moment, known = reader.moment(days - 1), snapshot.known
        blend_item = trial.item_vectors(snapshot.context, known)
        tower_item = trainer.item_vectors_at(towers, known, days - 1)[:, :width].cpu()

        def scores(users: Tensor, weight: float) -> Tensor:
            row = torch.searchsorted(targets.user, users)
            profile = targets.profile[row]
            blend = trial.user_vectors(targets.history.rows(row), profile, snapshot.context) @ blend_item.T
            tower = trainer.user_vectors_at(towers, users, days - 1)[:, :width].cpu() @ tower_item.T
            return blend + weight * tower

        weight, ndcg = choose_tower_weight(
            lambda weight: ndcg_by_user(
                targets,
                known,
                reader.candidates.numel(),
                lambda users: scores(users, weight),
                lambda users: trainer.histories.events_before(users, moment, strong_only=True),
            ),
            weights,
        )
        progress.say(f"Towers: joined with weight {weight:g}; NDCG@10 of the last {days} days {ndcg:.4f}.")
        return weight


def _with_blend(
    model: DynamicModel,
    early: DynamicModel | None,
    course: _Course,
    now: Snapshot,
    trainer: TwoTowerTrainer | None,
) -> tuple[DynamicModel, DynamicModel | None, list[float]]:
    """The model with a blend of all snapshots, the early one with a blend of those before the last days, and losses."""
    trial = course.trial()
    weight = 0.0 if trainer is None else course.tower_weight(trainer, trial)
    blend, losses = course.fit(trial)
    limit = course.config.blend.max_categories
    blended = FittedBlend(blend, now.context, course.reader.as_of, weight, limit)
    whole = replace(model, blended=blended)
    if trial is None or (trainer is not None and early is None):
        return whole, None, losses
    nothing = now.context.rows(torch.zeros(0, dtype=torch.int64))
    before = replace(blended, blend=trial, context=nothing, as_of=0)
    return whole, replace(early or model, blended=before), losses
