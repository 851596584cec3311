"""Training the two-tower: in-batch negatives with the logQ correction, early stopping on the last days."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch_geometric.metrics import LinkPredNDCG

from gfm_store import progress
from gfm_store.config import TwoTowerConfig
from gfm_store.dynamic_layer.history import DAY, Histories, Popularity, column, microseconds
from gfm_store.dynamic_layer.moments import Moments
from gfm_store.dynamic_layer.moments import validation_days as validation_days_of
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes, TwoTower
from gfm_store.warehouse.history import TrainingTables

RUN_LENGTH = 16
"""Pairs that are neighbours in time stay together in a batch, so that it spans few days: popularity is
counted once per item and day."""
RANKED_AT_ONCE = 256
SCALARS = ("log_temperature", "popularity_weight")
"""Parameters that are a few numbers, with a learning rate of their own."""


@dataclass(frozen=True)
class Pairs:
    """Users and the items that they newly streamed; n pairs, by time."""

    user: Tensor
    """(n,) int64."""
    node: Tensor
    """(n,) int64."""
    moment: Tensor
    """(n,) int64, microseconds."""
    n_before: Tensor
    """(n,) int64: the user's earlier events in `Histories`."""

    def __len__(self) -> int:
        return self.user.numel()

    def rows(self, index: Tensor) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.user[index], self.node[index], self.moment[index], self.n_before[index])


@dataclass(frozen=True)
class Epoch:
    """What one epoch did."""

    loss: float
    validation_ndcg: float
    """NDCG@10 on the last days; 0 where nothing was held out."""


@dataclass(frozen=True)
class _Reading:
    """Items as they stood at some moments."""

    moments: Moments
    items: list[ItemFeatures]
    """One a moment."""

    def at(self, day: int) -> ItemFeatures:
        """For what happens on a day."""
        return self.items[int(self.moments.index(torch.tensor([day])))]


@dataclass
class TwoTowerTrainer:
    """Fits a two-tower on `tables`, with frozen item features.

    The last days before `as_of` choose how many epochs there are; then towers are trained anew, so many epochs on all
    days. What is trained without these days reads vectors by weights that have not seen them.
    Shapes: N items, U users, B pairs a step, J = B + `num_negatives` candidates a step, W windows.

    Args:
        items: features of all N items, by node.
        moments: what stands in for `items.vector` at earlier moments; early_moments: the same without the last days.
        profile: (U, P) int64, codes of the users' categorical features.
        candidates: (N,) bool: items that may be drawn as negatives.
    """

    tables: TrainingTables
    items: ItemFeatures
    moments: Moments
    early_moments: Moments
    profile: Tensor
    candidates: Tensor
    sizes: Sizes
    config: TwoTowerConfig
    seed: int
    device: torch.device
    epochs: list[Epoch] = field(default_factory=list)
    early: TwoTower | None = None
    """After `fit`: the towers that have not seen the last `validation_days`; None where nothing was held out."""

    def __post_init__(self) -> None:
        pair = self.tables.training_pair
        self._pairs = Pairs(*(column(pair, name) for name in ("user_index", "node", "event_ts", "n_before")))
        self._as_of = microseconds(self.tables.history.as_of)
        self._histories = Histories.from_tables(self.tables.history)
        self.popularity = Popularity.from_table(self.tables.item_day, self.config.popularity_windows_days)
        self._item_type = self.items.item_type
        items = self.items.to(self.device)
        self._whole, self._early = (
            _Reading(moments, [replace(items, vector=one.to(self.device)) for one in moments.vectors])
            for moments in (self.moments, self.early_moments)
        )
        self._generator = torch.Generator().manual_seed(self.seed)

    def fit(self) -> TwoTower:
        """Train on all but the last days until these are ranked no better, then anew, as long, on all days."""
        run = _Run(self.sizes, self.config, self.seed, self.device)
        if not len(self._pairs):
            progress.say("Towers: there are no streams to learn from; their vectors are those of chance.")
            return run.average.eval()
        validation_days = validation_days_of(self._pairs.moment, self._as_of, self.config)
        held = self._pairs.moment >= self._as_of - validation_days * DAY
        epochs = self.config.max_epochs  # of all days, where nothing can be held out
        if held.any() and not held.all():
            early, late = (self._pairs.rows(part.nonzero()[:, 0]) for part in (~held, held))
            epochs = self._search(run, early, late, validation_days)
            self.early = copy.deepcopy(run.average).eval()
            run = _Run(self.sizes, self.config, self.seed, self.device)
        steps = self._num_steps(self._pairs, self._whole)
        with progress.task("Towers, all days", epochs * steps, "steps") as task:
            for _ in range(epochs):
                self._epoch(run, self._pairs, self._whole, task)
        return run.average.eval()

    def _search(self, run: "_Run", early: Pairs, late: Pairs, validation_days: int) -> int:
        """Train on the early pairs; leaves `run` as it was after the epoch that ranked the late ones best, and says
        which this was."""
        best, best_state, stale = -1.0, run.state(), 0
        steps = self._num_steps(early, self._early)
        with progress.task("Towers, early stopping", self.config.max_epochs * steps, "steps") as task:
            for _ in range(self.config.max_epochs):
                loss = self._epoch(run, early, self._early, task)
                ndcg = self._validate(run.average, late, validation_days)
                self.epochs.append(Epoch(loss, ndcg))
                task.note(f"loss {loss:.3f}, NDCG@10 of the last {validation_days} days {ndcg:.4f}")
                stale = 0 if ndcg > best else stale + 1
                if ndcg > best:
                    best, best_state = ndcg, run.state()
                if stale >= self.config.patience and stale * steps >= self.config.patience_steps:
                    break
        run.load_state(best_state)
        return max(range(len(self.epochs)), key=lambda i: self.epochs[i].validation_ndcg) + 1

    def _epoch(self, run: "_Run", pairs: Pairs, reading: "_Reading", task: progress.Task) -> float:
        """One pass over `pairs`; returns the mean loss."""
        run.model.train()
        frequency = torch.bincount(pairs.node, minlength=self.candidates.numel()).double() / len(pairs)
        batches = []
        for place, mine in self._by_moment(pairs, reading):
            runs = mine.split(RUN_LENGTH)
            order = torch.randperm(len(runs), generator=self._generator).tolist()
            batches += [
                (place, torch.cat([runs[i] for i in some]))
                for some in _batched(order, self.config.batch_size // RUN_LENGTH or 1)
            ]
        total = 0.0
        for i in torch.randperm(len(batches), generator=self._generator).tolist():
            place, batch = batches[i]
            loss = self._loss(run.model, pairs.rows(batch), frequency, reading.items[place])
            run.step(loss)
            total += float(loss.detach()) * batch.numel()
            task.advance()
        return total / len(pairs)

    def _by_moment(self, pairs: Pairs, reading: "_Reading") -> list[tuple[int, Tensor]]:
        """The moments whose vectors serve some of the pairs, and which pairs these are."""
        moment = reading.moments.index((self._as_of - 1 - pairs.moment) // DAY)
        return [(place, (moment == place).nonzero()[:, 0]) for place in moment.unique().tolist()]

    def _num_steps(self, pairs: Pairs, reading: "_Reading") -> int:
        """Of an epoch: a step's pairs are of one moment."""
        runs = [-(-mine.numel() // RUN_LENGTH) for _, mine in self._by_moment(pairs, reading)]
        return sum(-(-n // (self.config.batch_size // RUN_LENGTH or 1)) for n in runs)

    def _loss(self, model: TwoTower, pairs: Pairs, frequency: Tensor, items: ItemFeatures) -> Tensor:
        """Softmax of the true item against all candidates of the step, corrected for how they were drawn.

        A candidate j is in the step in-batch, with its share f_j of all pairs, or drawn uniformly from the
        catalogue (M draws from N): it is expected B f_j + M / N times, and the logarithm of that is subtracted
        from its score (logQ). The true item is there for certain, so its own score is not corrected.
        """
        pool = self.candidates.nonzero()[:, 0]
        drawn = pool[torch.randint(pool.numel(), (self.config.num_negatives,), generator=self._generator)]
        node = torch.cat([pairs.node, drawn])  # (J,)
        uniform = self.candidates[node].double() * drawn.numel() / pool.numel()
        log_q = (len(pairs) * frequency[node] + uniform).log().float().repeat(len(pairs), 1)  # (B, J)
        log_q.fill_diagonal_(0.0)
        # Each distinct item goes through the tower once. Days begin at `as_of` and go backwards; a pair sees the
        # popularity of the days before its own.
        distinct, position = node.unique(return_inverse=True)
        days, day = ((self._as_of - 1 - pairs.moment) // DAY).unique(return_inverse=True)
        popularity = self.popularity.features(distinct, days).to(self.device)  # (D, distinct, W)
        history = self._histories.before(
            pairs.user, pairs.n_before, pairs.moment, self.config.history_events, self._item_type
        )
        profile = self.profile[pairs.user].to(self.device)
        user = model.user_vectors(history.to(self.device), items.vector, profile)
        vector, weights = user.split([self.sizes.layers[-1], self.sizes.num_windows], dim=-1)
        item = model.item_tower(items.rows(distinct.to(self.device)))
        scores = vector @ item.T + _by_day(weights, popularity, day.to(self.device))  # (B, distinct)
        logits = scores.index_select(1, position.to(self.device)) - log_q.to(self.device)  # (B, J)
        same = node[None, :] == pairs.node[:, None]  # the true item drawn again is no negative
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same.to(self.device), -torch.inf)
        return torch.nn.functional.cross_entropy(logits, torch.arange(len(pairs), device=self.device))

    @torch.no_grad()
    def _validate(self, model: TwoTower, held: Pairs, validation_days: int) -> float:
        """NDCG@10 over users: their new items of the last days, ranked among the items known before them."""
        model.eval()
        users = held.user.unique()
        if users.numel() > self.config.validation_users:
            generator = torch.Generator().manual_seed(self.seed)
            users = (
                users[torch.randperm(users.numel(), generator=generator)[: self.config.validation_users]]
                .sort()
                .values
            )
        first_day = self.popularity.first_day(self.candidates.numel())
        known = self.candidates & ((first_day >= validation_days) | (first_day < 0))
        items = known.nonzero()[:, 0]
        metric = LinkPredNDCG(k=10)
        column_of = torch.full((self.candidates.numel(),), -1)
        column_of[items] = torch.arange(items.numel())
        moment = self._as_of - validation_days * DAY
        vectors = self._item_vectors(model, items, validation_days - 1)
        for part in users.split(RANKED_AT_ONCE):
            scores = self._user_vectors(model, part, validation_days - 1) @ vectors.T
            seen_user, seen_item = self._histories.events_before(part, moment, strong_only=True)
            column = column_of[seen_item]
            scores[seen_user[column >= 0], column[column >= 0]] = -torch.inf
            top = scores.topk(min(10, items.numel()), dim=1).indices.cpu()
            mine = torch.isin(held.user, part)
            row, target = torch.searchsorted(part, held.user[mine]), column_of[held.node[mine]]
            metric.update(top, torch.stack([row, target])[:, target >= 0])
        return float(metric.compute())

    def _item_vectors(self, model: TwoTower, items: Tensor, day: int) -> Tensor:
        """(k, layers[-1] + W) of `items` (k,) for early towers, before a day, counted backwards from `as_of`."""
        features = self._early.at(day)
        return torch.cat(
            [
                model.item_vectors(
                    features.rows(part.to(self.device)),
                    self.popularity.features(part, torch.tensor([day]))[0].to(self.device),
                )
                for part in items.split(16_384)
            ]
        )

    def _user_vectors(self, model: TwoTower, users: Tensor, day: int) -> Tensor:
        """(u, layers[-1] + W) for early towers, from the histories of `users` (u,) before a day."""
        features = self._early.at(day)
        moments = torch.full_like(users, self._as_of - (day + 1) * DAY)
        history = self._histories.before(
            users,
            self._histories.num_before(users, moments),
            moments,
            self.config.history_events,
            self._item_type,
        )
        return model.user_vectors(
            history.to(self.device), features.vector, self.profile[users].to(self.device)
        )


class _Run:
    """A model in training: its weights, their moving average (which is what is validated and kept), its optimizer."""

    def __init__(self, sizes: Sizes, config: TwoTowerConfig, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.model = TwoTower(sizes).to(device)
        self._average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
        named = dict(self.model.named_parameters())
        scalars = [value for name, value in named.items() if name in SCALARS]
        towers = [value for name, value in named.items() if name not in SCALARS]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": towers, "lr": config.learning_rate, "weight_decay": config.weight_decay},
                {"params": scalars, "lr": config.scalar_learning_rate, "weight_decay": 0.0},
            ],
            fused=device.type != "mps",
        )

    def step(self, loss: Tensor) -> None:
        """One step of the optimizer."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._average.update_parameters(self.model)

    @property
    def average(self) -> TwoTower:
        """The model with the averaged weights."""
        return cast(TwoTower, self._average.module)

    def state(self) -> list[dict[str, Any]]:
        """A copy of everything, to come back to."""
        parts = (self.model.state_dict(), self._average.state_dict(), self._optimizer.state_dict())
        return copy.deepcopy(list(parts))

    def load_state(self, state: list[dict[str, Any]]) -> None:
        """Come back to a state."""
        model, average, optimizer = state
        self.model.load_state_dict(model)
        self._average.load_state_dict(average)
        self._optimizer.load_state_dict(optimizer)


def _batched(order: list[int], size: int) -> list[list[int]]:
    """Parts of a list, `size` long but for the last."""
    return [order[i : i + size] for i in range(0, len(order), size)]


def _by_day(weights: Tensor, popularity: Tensor, day: Tensor) -> Tensor:
    """(B, J): each row's weights (B, W) times the log counts (D, J, W) of its day, (B,) of 0 ... D - 1."""
    order = torch.argsort(day)
    parts = weights[order].split(torch.bincount(day, minlength=len(popularity)).tolist())
    scores = torch.cat([part @ counts.T for part, counts in zip(parts, popularity, strict=True)])
    return scores[torch.argsort(order)]
