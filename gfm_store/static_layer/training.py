"""Training the HGNN to complete sets: told from other items of a user's set, which one belongs to it as well?

The graph and the structural coordinates that it reads for a user are made without the user's fold, so that nothing
that is to be told is already there (cross-fitting). The papers pull linked pairs together instead; a set tells more
than a pair, and a mean of vectors is how the dynamic layer uses them.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from gfm_store import progress
from gfm_store.config import HGNNConfig
from gfm_store.static_layer.completion import BalancedSampler, Targets, UserSets
from gfm_store.static_layer.hgnn import HGNN
from gfm_store.static_layer.sampling import Block, HeteroGraph, distinct_positions, sample_blocks

WARM_UP = 0.2
"""Share of the steps in which the learning rate rises."""
ISOLATED = 0.1
"""Share of a step's items that are seen by their text alone, as items are that come later."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch did."""

    loss: float
    validation_mrr: float
    """Mean reciprocal rank of held-out targets among `num_negatives` random items."""


@dataclass(frozen=True)
class Fold:
    """A fold of users: their sets, and what the HGNN reads in their absence."""

    text: Tensor
    """(N, text_dim) float32: the same for all folds."""
    known: Tensor
    """(N, structure_dim + 1) float32: structural coordinates and log count; zero for an item that nobody touched."""
    graph: HeteroGraph
    sets: UserSets


@dataclass
class HGNNTrainer:
    """Trains an HGNN; can be interrupted and go on from a checkpoint.

    Shapes: N nodes, B targets a step, L context items, C candidates a step: its targets and random items.

    Args:
        folds: the folds of users.
        item_type: (N,) int64: targets are balanced by it, also where the graph knows no types.
        candidates: (N,) bool: items that may be negatives (those known at the moment and available).
        checkpoint: file that is written after each epoch and read at the start; None keeps nothing.
    """

    folds: list[Fold]
    item_type: Tensor
    candidates: Tensor
    config: HGNNConfig
    seed: int
    device: torch.device
    checkpoint: Path | None = None
    initial: HGNN | None = None
    """Weights to begin with; None begins at random."""
    label: str = "HGNN"
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(self.seed)
        graph, config = self.folds[0].graph, self.config
        in_dim = self.folds[0].text.shape[1] + self.folds[0].known.shape[1]
        self.model = HGNN(in_dim, config.hidden_dim, graph.num_types, len(config.fanout), config.dropout)
        if self.initial is not None:
            self.model.load_state_dict(self.initial.state_dict())
        self.model.to(self.device)
        self._log_temperature = nn.Parameter(torch.tensor(config.temperature, device=self.device).log())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(self.model.parameters()), "weight_decay": config.weight_decay},
                {"params": [self._log_temperature], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        self._pool = self.candidates.nonzero()[:, 0]
        if not self._pool.numel():
            self._pool = torch.arange(graph.num_nodes)
        samplers = []
        for fold in self.folds:
            held, kept = _split(fold.sets, config.validation_share, self._generator)
            samplers.append(tuple(self._sampler(sets) for sets in (kept, held)))
        self._train = [(f, s[0]) for f, s in zip(self.folds, samplers, strict=True) if len(s[0])]
        self._held = [(f, s[1]) for f, s in zip(self.folds, samplers, strict=True) if len(s[1])]
        self._text = self.folds[0].text.to(self.device)
        self._on_device: dict[int, Fold] = {}

    def _sampler(self, sets: UserSets) -> BalancedSampler:
        return BalancedSampler(sets, self.item_type, balanced=self.config.balanced, generator=self._generator)

    def fit(self) -> HGNN:
        """Train all epochs; returns the model of the last.

        The learning rate falls to nothing, so that the last epoch is the one to keep: choosing among epochs by the
        few users whose sets are held out chose by chance (NDCG@10 on the made world before the cut, three seeds: .0990,
        .0987, .0976 with the last, .0990, .0916, .0976 with the best).
        """
        if not self._train:
            progress.say(
                f"{self.label}: no user has two items with events that make edges (graph.edge_signals), so there is "
                "nothing to learn from; item vectors come from text alone."
            )
            return self.model.eval()
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume()
        first = len(self.epochs)
        steps = self.config.steps_per_epoch
        with progress.task(self.label, self.config.epochs * steps, "steps") as task:
            task.advance(first * steps)
            for epoch in range(first, self.config.epochs):
                torch.manual_seed(self.seed + 1 + epoch)
                self._generator.manual_seed(self.seed + 1 + epoch)
                loss = 0.0
                for step in range(epoch * steps, (epoch + 1) * steps):
                    loss += self._step(step) / steps
                    task.advance()
                self.epochs.append(Epoch(loss, self._validate()))
                task.note(f"loss {loss:.3f}, held-out MRR {self.epochs[-1].validation_mrr:.3f}")
                self._save()
        return self.model.eval()

    def _step(self, step: int) -> float:
        rate = self.config.learning_rate * _one_cycle(
            step / (self.config.epochs * self.config.steps_per_epoch)
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        fold, sampler = self._train[step % len(self._train)]
        self.model.train()
        loss = self._loss(fold, sampler, sampler.draw(self.config.batch_size, self.config.context_items))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, fold: Fold, sampler: BalancedSampler, targets: Targets) -> Tensor:
        """Softmax of each target among the step's candidates, given the mean of its context.

        The log of the probability that a candidate is one in this step is subtracted from its score (logQ), but for
        the target itself, which is there for certain. Items of the context are no wrong answers.
        """
        negatives = self._pool[
            torch.randint(self._pool.numel(), (self.config.num_negatives,), generator=self._generator)
        ]
        candidates, true = torch.cat([targets.node, negatives]).unique(return_inverse=True)
        true = true[: targets.node.numel()]
        drawn = torch.zeros(fold.graph.num_nodes, dtype=torch.float64)
        drawn[self._pool] = negatives.numel() / self._pool.numel()
        expected = targets.node.numel() * sampler.frequency[candidates] + drawn[candidates]
        log_q = (-torch.expm1(-expected)).log().float()
        query, item = self._query_and_items(fold, targets.context, candidates, ISOLATED)
        logits = query @ item.T / self._log_temperature.exp() - log_q.to(self.device)
        row = torch.arange(true.numel())
        known = _places(targets.context, candidates, fold.graph.num_nodes)
        told = torch.zeros(true.numel(), candidates.numel(), dtype=torch.bool)
        told[row[:, None].expand_as(known)[known >= 0], known[known >= 0]] = True
        own = torch.zeros_like(told, dtype=torch.float32)
        own[row, true] = log_q[true]
        logits = (logits + own.to(self.device)).masked_fill(told.to(self.device), -torch.inf)
        return functional.cross_entropy(logits, true.to(self.device))

    def _query_and_items(
        self, fold: Fold, context: Tensor, candidates: Tensor, isolated: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """(B, dim) unit means over contexts (B, L), and (C, dim) vectors of the candidates (C,)."""
        fold = self._moved(fold)
        seeds, position = distinct_positions(
            torch.cat([candidates, context.flatten()]).to(self.device), fold.graph.num_nodes
        )
        inputs, blocks = sample_blocks(fold.graph, seeds, self.config.fanout, self._generator)
        known = fold.known[inputs]
        if isolated:
            alone = torch.rand(seeds.numel(), generator=self._generator).to(self.device) < isolated
            known, blocks = _isolate(known, blocks, alone)
        vectors = self.model(torch.cat([fold.text[inputs], known], dim=1), blocks)
        context_vectors = vectors.index_select(0, position[candidates.numel() :])
        query = context_vectors.view(*context.shape, -1).mean(1)
        return functional.normalize(query, dim=-1), vectors.index_select(0, position[: candidates.numel()])

    def _moved(self, fold: Fold) -> Fold:
        """The fold on the training device; moved once."""
        key = id(fold)
        if key not in self._on_device:
            self._on_device[key] = replace(
                fold, text=self._text, known=fold.known.to(self.device), graph=fold.graph.to(self.device)
            )
        return self._on_device[key]

    @torch.no_grad()
    def _validate(self) -> float:
        """MRR of held-out targets among K random items, the same ones every epoch."""
        if not self._held:
            return 0.0
        self.model.eval()
        self._generator.manual_seed(self.seed)
        total, count = 0.0, 0
        for fold, sampler in self._held:
            size = min(self.config.validation_targets // len(self._held) + 1, len(sampler))
            targets = sampler.draw(size, self.config.context_items)
            negatives = self._pool[
                torch.randint(self._pool.numel(), (self.config.num_negatives,), generator=self._generator)
            ]
            query, item = self._query_and_items(fold, targets.context, torch.cat([targets.node, negatives]))
            own = (query * item[: targets.node.numel()]).sum(-1, keepdim=True)
            rank = 1 + ((query @ item[targets.node.numel() :].T) > own).sum(-1)
            total, count = total + float((1.0 / rank).sum()), count + targets.node.numel()
        return total / count

    def _save(self) -> None:
        """Write everything that training needs to go on: weights, optimizer, epochs."""
        if self.checkpoint is None:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors["temperature"] = self._log_temperature.detach()
        for i, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        tensors["epochs"] = torch.tensor(
            [[e.loss, e.validation_mrr] for e in self.epochs], dtype=torch.float64
        )
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        save_file(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, partial
        )
        partial.replace(self.checkpoint)

    def _resume(self) -> None:
        """Load the checkpoint."""
        assert self.checkpoint is not None
        tensors = load_file(self.checkpoint, device=str(self.device))
        self.model.load_state_dict(_part(tensors, "model."))
        with torch.no_grad():
            self._log_temperature.copy_(tensors["temperature"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})
        self.epochs = [Epoch(*row) for row in tensors["epochs"].tolist()]
        if len(self.epochs) < self.config.epochs:
            progress.say(
                f"{self.label}: going on after epoch {len(self.epochs)}, where the last run was interrupted."
            )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _one_cycle(done: float) -> float:
    """Share of the top learning rate after a share of the steps: up, then down along a cosine."""
    if done < WARM_UP:
        return max(done / WARM_UP, 0.04)
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _split(sets: UserSets, share: float, generator: torch.Generator) -> tuple[UserSets, UserSets]:
    """A share of the sets, and the others."""
    num_users = sets.user_ptr.numel() - 1
    held = torch.zeros(num_users, dtype=torch.bool)
    held[torch.randperm(num_users, generator=generator)[: int(num_users * share)]] = True
    user = torch.repeat_interleave(torch.arange(num_users), sets.user_ptr.diff())
    parts = (held[user], ~held[user])
    first, second = (UserSets.from_pairs(user[part], sets.node[part]) for part in parts)
    return first, second


def _places(values: Tensor, among: Tensor, bound: int) -> Tensor:
    """Where each of `values` stands in `among`, which are distinct and below `bound`; -1 where it does not."""
    place = torch.full((bound,), -1, dtype=torch.int64)
    place[among] = torch.arange(among.numel())
    return place[values]


def _isolate(known: Tensor, blocks: list[Block], alone: Tensor) -> tuple[Tensor, list[Block]]:
    """The seeds `alone` (S,) bool without anything but their text: no coordinates, no count, no edges."""
    known = known.clone()
    known[: alone.numel()][alone] = 0.0
    cut = []
    for block in blocks:
        kept = torch.ones(block.num_dst, dtype=torch.bool, device=alone.device)
        kept[: alone.numel()] = ~alone
        rows = kept[block.dst]
        cut.append(Block(block.num_dst, block.dst[rows], block.relation[rows], block.neighbours[rows]))
    return known, cut
