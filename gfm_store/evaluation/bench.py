"""One split, everything that is ranked on it, and what was finished before: where each system is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.evaluation.metrics import METRICS, Bootstrap, Sample, Sums, mean_sample, measure
from gfm_store.evaluation.parts import Part, Parts, split_fingerprint
from gfm_store.evaluation.protocols import Division, temporal
from gfm_store.evaluation.ranking import LIST_LENGTH, Scorer, rank
from gfm_store.evaluation.result import MODEL, Figure, ViewSummary
from gfm_store.evaluation.split import EncodeText, Split
from gfm_store.evaluation.views import FIFTHS, HEADLINE, Candidates, View, popularity_fifth
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import read_item_nodes


@dataclass(frozen=True, eq=False)
class Bench:
    """A division of a warehouse's data, with what was finished on it before."""

    warehouse: Warehouse
    config: Config
    encode: EncodeText
    parts: Parts
    division: Division

    @property
    def split(self) -> Split:
        """What is known, and what is asked."""
        return self.division.split

    @property
    def sets(self) -> Sequence[Candidates]:
        """What is ranked."""
        return self.division.sets

    @property
    def views(self) -> Sequence[View]:
        """What is measured, the headline first."""
        return self.division.views

    def at(self, as_of: datetime) -> "Bench":
        """The same at another cut in time.

        Raises:
            UsageError, EmptyWarehouseError: there is nothing to predict, or nothing before it.
        """
        return replace(self, division=temporal(self.warehouse, as_of, self.split.horizon_days, self.encode))

    def seeded(self, seed: int) -> "Bench":
        """The same for fits with another seed."""
        return replace(self, config=self.config.model_copy(update={"seed": seed}))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What every part made here follows from."""
        read_item_nodes(self.warehouse, self.split.as_of)
        return {
            "protocol": self.division.protocol,
            "split": split_fingerprint(self.split),
            "snapshot": self.warehouse.select("graph/snapshot", as_of=self.split.as_of).to_pylist(),
            "config": self.config.fingerprint(
                "seed", "graph", "text", "hgnn", "two_tower", "blend", "serving"
            ),
            "threads": self.config.threads or torch.get_num_threads(),
            "device": choose_device(self.config).type,
        }

    def part(self, make: Callable[[], Part], **identity: Any) -> Part:
        """A finished part, or a new one."""
        return self.parts.get(make, **self.identity, **identity)

    def rank(
        self,
        scorer: Scorer,
        new_users: np.ndarray | None = None,
        only: Callable[[str], bool] = lambda name: True,
        k: int = LIST_LENGTH,
    ) -> dict[str, np.ndarray]:
        """Lists of every set that `only` accepts, for the users whose targets are looked for in it."""
        sets = [one for one in self.sets if only(one.name)]
        users = [
            np.unique(
                np.concatenate(
                    [np.zeros(0, np.int64)]
                    + [view.users(self.split) for view in self.views if view.candidates == one.name]
                )
            )
            for one in sets
        ]
        return rank(self.split, sets, users, scorer, new_users, k)

    def is_headline(self, candidates: str) -> bool:
        """Whether the headline is measured on these candidates."""
        return candidates == self.views[0].candidates

    def has_headline(self, lists: dict[str, np.ndarray]) -> bool:
        """Whether a system ranked the headline's candidates, and there is somebody to rank them for."""
        return self.views[0].candidates in lists and bool(self.views[0].target.any())

    def headline(self, lists: dict[str, np.ndarray]) -> float:
        """NDCG@10 of the headline; 0 where it cannot be computed."""
        sums = self.sums(self.views[0], lists)
        if sums is None:
            return 0.0
        return float(sums.above[:, sums.names.index("NDCG@10")].mean())

    @cached_property
    def bootstrap(self) -> Bootstrap:
        """The same resamples of users for all systems."""
        return Bootstrap(len(self.split.user_id))

    def sums(self, view: View, lists: dict[str, np.ndarray]) -> Sums | None:
        """Metrics by user, or None: no target here, or the system did not rank these candidates."""
        users = view.users(self.split)
        if not len(users) or view.candidates not in lists:
            return None
        return measure(
            lists[view.candidates][users],
            np.searchsorted(users, self.split.target_user[view.target]),
            self.split.target_node[view.target],
            self._share,
            self._tail,
            self._num_candidates[view.candidates],
        )

    def figures(self, lists_of: Mapping[str, Sequence[dict[str, np.ndarray]]]) -> list[Figure]:
        """Every metric of every system in every view, beside the model's; means over seeds.

        Args:
            lists_of: lists by system, the model among them, for each seed that it was fitted with.
        """
        found = []
        for view in self.views:
            samples = {name: self._mean_sample(view, lists) for name, lists in lists_of.items()}
            model = samples[MODEL]
            for name, sample in samples.items():
                found += _figures(name, view.name, sample, model)
        return found

    def summaries(self) -> list[ViewSummary]:
        """Who and what each view is about."""
        return [
            ViewSummary(
                view.name,
                view.title,
                view.about,
                len(view.users(self.split)),
                int(view.target.sum()),
                self._num_candidates[view.candidates],
            )
            for view in self.views
        ]

    def _mean_sample(self, view: View, lists: Sequence[dict[str, np.ndarray]]) -> Sample | None:
        samples = [sample for one in lists if (sample := self._sample(view, one)) is not None]
        return mean_sample(samples) if samples else None

    def _sample(self, view: View, lists: dict[str, np.ndarray]) -> Sample | None:
        sums = self.sums(view, lists)
        if sums is None:
            return None
        with_coverage = view.name == HEADLINE or view.name.startswith("type:")
        return self.bootstrap.sample(view.users(self.split), sums, with_coverage)

    @cached_property
    def _num_candidates(self) -> dict[str, int]:
        """Items that are ranked for anybody, by the name of the set."""
        return {
            one.name: int(one.nodes.sum())
            if one.nodes.ndim == 1
            else len(np.unique(one.nodes[one.nodes >= 0]))
            for one in self.sets
        }

    @cached_property
    def _share(self) -> np.ndarray:
        """(N,) share of the users before the cut who streamed the item, one more user counted for each."""
        streams = np.bincount(self.split.streams.indices, minlength=self.split.item.num_rows)
        share: np.ndarray = (streams + 1) / (self.split.streams.shape[0] + 1)
        return share

    @cached_property
    def _tail(self) -> np.ndarray:
        tail: np.ndarray = popularity_fifth(self.split) == FIFTHS - 1
        return tail


def _figures(system: str, view: str, sample: Sample | None, model: Sample | None) -> list[Figure]:
    names = sample.names if sample else model.names if model else tuple(METRICS)
    return [
        Figure(
            system,
            view,
            name,
            sample.estimate(name) if sample else None,
            model.difference(sample, name) if sample and model and system != MODEL else None,
            model.ratio(sample, name) if sample and model and system != MODEL else None,
        )
        for name in names
    ]
