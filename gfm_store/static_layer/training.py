"""Training the HGNN on co-interactions: linked items together, random catalogue items apart."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from gfm_store import progress
from gfm_store.config import HGNNConfig
from gfm_store.static_layer.hgnn import HGNN
from gfm_store.static_layer.sampling import BalancedEdgeSampler, HeteroGraph, is_member, sample_blocks

NO_KEYS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Epoch:
    """What one epoch did."""

    loss: float
    validation_mrr: float
    """Mean reciprocal rank of held-out edges' ends among `num_negatives` random items of the same type."""


@dataclass
class HGNNTrainer:
    """Trains an HGNN with early stopping on held-out edges; can be interrupted and go on from a checkpoint.

    Shapes: N nodes, T types, B edges a step, K negatives a type.

    Args:
        graph: all co-interactions.
        text: (N, text_dim) float32.
        candidates: (N,) bool: items that may be negatives (those known at the moment and available).
        checkpoint: file that is written after each epoch and read at the start; None keeps nothing.
    """

    graph: HeteroGraph
    text: Tensor
    candidates: Tensor
    config: HGNNConfig
    seed: int
    device: torch.device
    checkpoint: Path | None = None
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(self.seed)
        self.model = HGNN(
            self.text.shape[1], self.config.hidden_dim, self.graph.num_types, len(self.config.fanout)
        ).to(self.device)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self._pools = _negative_pools(self.graph, self.candidates)
        self._linked = self.graph.edge_keys().to(self.device)
        self._split_edges()

    def _split_edges(self) -> None:
        """Hold out a share of every relation's edges: neither supervised nor used for message passing."""
        edges, relation = self.graph.undirected_edges()
        order = torch.randperm(edges.shape[1], generator=self._generator)
        held = torch.zeros(edges.shape[1], dtype=torch.bool)
        for r in relation.unique().tolist():
            members = order[relation[order] == r]
            held[members[: int(members.numel() * self.config.validation_share)]] = True
        keep = edges[:, ~held]
        self._validation = edges[:, order[held[order]][: self.config.validation_edges]]
        self._train_graph = HeteroGraph.from_edges(
            self.graph.node_type, self.graph.num_types, torch.cat([keep, keep.flip(0)], dim=1)
        ).to(self.device)
        self._text = self.text.to(self.device)
        self._sampler = BalancedEdgeSampler(
            keep,
            relation[~held],
            batch_size=self.config.batch_size,
            balanced=self.config.balanced,
            min_edges=self.config.min_edges_per_epoch,
            max_edges=self.config.max_edges_per_epoch,
            generator=self._generator,
        )

    def fit(self) -> HGNN:
        """Train until the validation stops improving; returns the model of the best epoch."""
        if not len(self._sampler):
            progress.say(
                "HGNN: there are no co-interactions to learn from; item vectors come from text alone."
            )
            return self.model.eval()
        best, best_state, first = -1.0, copy.deepcopy(self.model.state_dict()), 0
        if self.checkpoint is not None and self.checkpoint.exists():
            best, best_state = self._resume()
            first = len(self.epochs)
        steps = len(self._sampler)
        with progress.task("HGNN", self.config.max_epochs * steps, "steps") as task:
            task.advance(first * steps)
            for _ in range(first, self.config.max_epochs):
                if self._stale():
                    break
                self._generator.manual_seed(self.seed + 1 + len(self.epochs))
                loss = sum(self._step(edges) for edges in _advancing(self._sampler, task)) / steps
                self.epochs.append(Epoch(loss, self._validate()))
                if self.epochs[-1].validation_mrr > best or not self._validation.shape[1]:
                    best, best_state = self.epochs[-1].validation_mrr, copy.deepcopy(self.model.state_dict())
                task.note(f"loss {loss:.3f}, held-out MRR {self.epochs[-1].validation_mrr:.3f}")
                self._save(best_state)
        self.model.load_state_dict(best_state)
        return self.model.eval()

    def _stale(self) -> bool:
        """Have `patience` epochs passed since the best one? Never where nothing was held out."""
        if not self.epochs or not self._validation.shape[1]:
            return False
        mrr = [epoch.validation_mrr for epoch in self.epochs]
        return len(mrr) - 1 - mrr.index(max(mrr)) >= self.config.patience

    def _step(self, edges: Tensor) -> float:
        edges = edges.to(self.device)
        self.model.train()
        loss = self._loss(edges)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, edges: Tensor) -> Tensor:
        num_nodes = self.graph.num_nodes
        negatives = self._draw_negatives()  # (T, K)
        keys = torch.cat([edges[0] * num_nodes + edges[1], edges[1] * num_nodes + edges[0]])
        z = self._embed(torch.cat([edges.flatten(), negatives.flatten()]), keys.sort().values)
        src, dst = z[: edges.shape[1]], z[edges.shape[1] : edges.numel()]  # (B, dim) each
        dst_type = self._train_graph.node_type[edges[1]]
        drawn = negatives[dst_type]  # (B, K): negatives have the type of the true end
        positive = (src * dst).sum(-1)
        scores = src @ z[edges.numel() :].T  # (B, T * K)
        negative = scores.view(-1, *negatives.shape)[torch.arange(src.shape[0], device=src.device), dst_type]
        linked = is_member(self._linked, edges[0, :, None] * num_nodes + drawn) | (drawn == edges[0, :, None])
        if self.config.loss == "margin":
            hinge = functional.relu(self.config.margin - positive[:, None] + negative) * ~linked
            return hinge.sum() / (~linked).sum().clamp_min(1)
        logits = torch.cat([positive[:, None], negative.masked_fill(linked, -torch.inf)], dim=1)
        return -(logits / self.config.temperature).log_softmax(dim=1)[:, 0].mean()

    def _embed(self, nodes: Tensor, excluded_keys: Tensor) -> Tensor:
        """Vectors of `nodes` (M,), which may repeat. -> (M, dim)."""
        seeds, position = nodes.unique(return_inverse=True)
        inputs, blocks = sample_blocks(
            self._train_graph, seeds, self.config.fanout, self._generator, excluded_keys
        )
        vectors: Tensor = self.model(self._text[inputs], blocks)
        return vectors[position]

    def _draw_negatives(self) -> Tensor:
        """(T, K) random catalogue items of each type; a type without candidates repeats node 0, masked later."""
        drawn = [
            pool[torch.randint(max(pool.numel(), 1), (self.config.num_negatives,), generator=self._generator)]
            for pool in self._pools
        ]
        return torch.stack(drawn).to(self.device)

    @torch.no_grad()
    def _validate(self) -> float:
        """MRR of the held-out edges, each end's true item among K random ones of its type."""
        if not self._validation.shape[1]:
            return 0.0
        self.model.eval()
        generator_state = self._generator.get_state()
        self._generator.manual_seed(self.seed)  # the same negatives every epoch
        total = 0.0
        for edges in self._validation.to(self.device).split(self.config.batch_size, dim=1):
            negatives = self._draw_negatives()
            z = self._embed(torch.cat([edges.flatten(), negatives.flatten()]), NO_KEYS.to(self.device))
            src, dst = z[: edges.shape[1]], z[edges.shape[1] : edges.numel()]
            scores = (src @ z[edges.numel() :].T).view(-1, *negatives.shape)
            own = scores[torch.arange(src.shape[0], device=src.device), self._train_graph.node_type[edges[1]]]
            rank = 1 + (own > (src * dst).sum(-1, keepdim=True)).sum(-1)
            total += float((1.0 / rank).sum())
        self._generator.set_state(generator_state)
        return total / self._validation.shape[1]

    def _save(self, best_state: dict[str, Tensor]) -> None:
        """Write everything that training needs to go on: weights, best weights, optimizer, epochs."""
        if self.checkpoint is None:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best_state.items()}
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

    def _resume(self) -> tuple[float, dict[str, Tensor]]:
        """Load the checkpoint; returns the best validation and its weights."""
        assert self.checkpoint is not None
        tensors = load_file(self.checkpoint, device=str(self.device))
        self.model.load_state_dict(_part(tensors, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})
        self.epochs = [Epoch(*row) for row in tensors["epochs"].tolist()]
        progress.say(f"HGNN: going on after epoch {len(self.epochs)}, where the last run was interrupted.")
        return max(epoch.validation_mrr for epoch in self.epochs), _part(tensors, "best.")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _advancing(sampler: BalancedEdgeSampler, task: progress.Task) -> Iterator[Tensor]:
    for edges in sampler:
        yield edges
        task.advance()


def _negative_pools(graph: HeteroGraph, candidates: Tensor) -> list[Tensor]:
    """Per type, the nodes that negatives are drawn from; all of its nodes where none is a candidate."""
    pools = []
    for t in range(graph.num_types):
        members = graph.node_type == t
        pool = (members & candidates).nonzero().squeeze(1)
        pools.append(pool if pool.numel() else members.nonzero().squeeze(1))
    return pools
