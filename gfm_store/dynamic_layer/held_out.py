"""How well a model ranks the last days before `as_of`, when it has not seen them: what a recipe is judged by.

Two recipes are asked the same: the same users, their first new items of those days, the same items to rank.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gfm_store.config import BlendConfig, Config
from gfm_store.dynamic_layer.blend import ItemContext
from gfm_store.dynamic_layer.history import DAY, Histories, HistoryBatch, Popularity, column, microseconds
from gfm_store.dynamic_layer.model import DynamicModel, FittedBlend
from gfm_store.dynamic_layer.moments import Moments
from gfm_store.dynamic_layer.ranking import Scores, ndcg_by_user
from gfm_store.dynamic_layer.snapshots import SnapshotReader, published_moments
from gfm_store.static_layer.lexical import LexicalFactors
from gfm_store.warehouse.history import TrainingTables


@dataclass(frozen=True)
class Entrant:
    """A model that has not seen the last days, with what it reads."""

    model: DynamicModel
    vectors: np.ndarray
    """(N, dim) float32, HGNN vectors of its own static version, by node, as they stood before the last days."""
    text: np.ndarray
    """(N, text_dim) float32."""
    windows: tuple[int, ...]
    """Days of its popularity windows."""
    blend: BlendConfig


class LastDays:
    """The last days before `as_of`, as a question. Shapes: U users asked, N items, k items to rank."""

    def __init__(
        self,
        item_node: pa.Table,
        item_text: pa.Table,
        tables: TrainingTables,
        lexical: LexicalFactors | None,
        days: int,
        config: Config,
    ) -> None:
        """
        Args:
            item_node: the items known at `as_of`, by node; item_text: column `text`, by node.
            tables: what training reads, the last days included.
            lexical: of the texts, where they were fitted before.
            days: how many days are asked for.
        """
        self._item_node, self._tables, self._lexical = item_node, tables, lexical
        self._texts: list[str] = item_text["text"].to_pylist()
        self._config, self.days = config, days
        self._histories = Histories.from_tables(tables.history)
        self._popularity = Popularity.from_table(tables.item_day, ())
        self._moment = microseconds(tables.history.as_of) - days * DAY
        none = np.zeros((item_node.num_rows, 1), dtype=np.float32)
        nothing_known = torch.zeros(item_node.num_rows, 0, dtype=torch.bool)
        reader = self._reader(config.blend, [], none, none, nothing_known)
        snapshot = reader.snapshot(days - 1)
        self._known = snapshot.known
        self._targets = reader.targets(snapshot, days).drawn(config.two_tower.validation_users, config.seed)

    @property
    def start(self) -> datetime:
        """Where the last days begin."""
        moment: datetime = np.datetime64(self._moment, "us").astype(datetime)
        return moment

    @property
    def num_users(self) -> int:
        return self._targets.user.numel()

    @torch.no_grad()
    def ndcg(self, entrant: Entrant) -> np.ndarray:
        """(U,) NDCG@10 of each user's list."""
        blended = entrant.model.blended
        if blended is None:
            return self._rank(self._tower_scores(entrant))
        return self._rank(self._blend_scores(entrant, blended))

    def _tower_scores(self, entrant: Entrant) -> Scores:
        model, towers = entrant.model, entrant.model.towers
        assert towers is not None
        items = model.item_features(self._item_node, entrant.vectors, entrant.text)
        profile = model.profile_codes(self._tables.history.user_feature)
        popularity = replace(self._popularity, windows=entrant.windows)
        node_vector, day = torch.from_numpy(entrant.vectors), torch.tensor([self.days - 1])
        item = torch.cat(
            [
                towers.item_vectors(items.rows(part), popularity.features(part, day)[0])
                for part in self._known.split(8192)
            ]
        )

        def scores(user: Tensor) -> Tensor:
            history = self._history(entrant, user, items.item_type)
            return towers.user_vectors(history, node_vector, profile[user]) @ item.T

        return scores

    def _blend_scores(self, entrant: Entrant, blended: FittedBlend) -> Scores:
        context, item_type = self._context(entrant)
        item = blended.blend.item_vectors(context, self._known)
        limit = blended.max_categories
        profile = entrant.model.profile_categories(self._tables.history.user_feature, limit)

        def scores(user: Tensor) -> Tensor:
            history = self._history(entrant, user, item_type)
            return blended.blend.user_vectors(history, profile[user], context) @ item.T

        return scores

    def _history(self, entrant: Entrant, user: Tensor, item_type: Tensor) -> HistoryBatch:
        """Of users (u,) as they stood before the last days, as an entrant reads it."""
        model, moment = entrant.model, torch.full_like(user, self._moment)
        days = min(model.history_days, self._histories.history_days)
        histories = replace(self._histories, history_days=days)
        n_before = histories.num_before(user, moment)
        return histories.before(user, n_before, moment, model.history_events, item_type)

    def popularity_ndcg(self, window_days: int) -> np.ndarray:
        """(U,) NDCG@10 of the list that everybody gets: what was streamed most in the days before."""
        day, window = torch.tensor(self.days - 1), torch.tensor(window_days)
        counts = self._popularity.count(self._known, day, window).float()
        return self._rank(lambda user: counts.expand(user.numel(), -1).clone())

    def _rank(self, scores_of: Scores) -> np.ndarray:
        found = ndcg_by_user(
            self._targets,
            self._known,
            self._item_node.num_rows,
            scores_of,
            lambda user: self._histories.events_before(user, self._moment, strong_only=True),
        )
        ndcg: np.ndarray = found.numpy()
        return ndcg

    def _context(self, entrant: Entrant) -> tuple[ItemContext, Tensor]:
        """Items as they stood before the last days, as an entrant's blend reads them; and (N,) their types."""
        settings, lexical = entrant.blend, self._lexical
        if lexical is None or lexical.dim != settings.lexical_factors:
            available = self._item_node["is_available"].to_pylist()
            read = [text for text, use in zip(self._texts, available, strict=True) if use]
            lexical = LexicalFactors.fit(read, settings.lexical_factors, self._config.seed)
        words = lexical.of(self._texts)
        categories = entrant.model.categories(self._item_node, settings.max_categories)
        reader = self._reader(settings, entrant.model.item_types, words, entrant.vectors, categories)
        return reader.snapshot(self.days - 1).context, reader.item_type

    def _reader(
        self,
        settings: BlendConfig,
        item_types: list[str],
        lexical: np.ndarray,
        vectors: np.ndarray,
        categories: Tensor,
    ) -> SnapshotReader:
        item_node, pair = self._item_node, self._tables.training_pair
        codes = pc.index_in(item_node["item_type"], pa.array(item_types, pa.string()))
        return SnapshotReader(
            histories=self._histories,
            popularity=self._popularity,
            pair_user=column(pair, "user_index"),
            pair_node=column(pair, "node"),
            pair_moment=column(pair, "event_ts"),
            item_type=torch.from_numpy(pc.fill_null(codes, len(item_types)).to_numpy().astype(np.int64)),
            num_types=len(item_types),
            published=published_moments(item_node),
            lexical=torch.from_numpy(lexical),
            categories=categories,
            profile=torch.zeros(self._histories.num_users, 0, dtype=torch.bool),
            moments=Moments(torch.tensor([self.days - 1]), [torch.from_numpy(vectors)]),
            candidates=column(item_node, "is_available", torch.bool),
            as_of=microseconds(self._tables.history.as_of),
            history_events=self._config.two_tower.history_events,
            config=settings,
        )
