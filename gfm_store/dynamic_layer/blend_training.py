"""Training the blend on snapshots."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gfm_store import progress
from gfm_store.config import BlendConfig
from gfm_store.dynamic_layer.blend import Blend, BlendSizes, user_state
from gfm_store.dynamic_layer.snapshots import Snapshot, SnapshotReader, Targets

MAX_EPOCHS = 30
"""Times that a target is drawn, on average, at most: more would learn the few users of a small warehouse by heart."""
MIN_STEPS = 50
"""With fewer, not even what popularity is worth is learned, however few targets there are."""

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Example:
    """A snapshot with what came after it."""

    snapshot: Snapshot
    targets: Targets
    frequency: Tensor
    """(N,) float32: each item's share of the targets."""


def read_examples(reader: SnapshotReader, days: Sequence[int], horizon_days: int) -> list[Example]:
    """The snapshots of `days` that have targets."""
    snapshots = []
    with progress.task("Two-tower, snapshots", len(days), "snapshots") as task:
        for day in days:
            snapshots.append(reader.snapshot(day))
            task.advance()
    return ask(reader, snapshots, horizon_days)


def ask(
    reader: SnapshotReader, snapshots: Sequence[Snapshot], horizon_days: int, until: int = -1
) -> list[Example]:
    """The snapshots that have targets within the horizon and before day `until`."""
    examples = []
    for snapshot in snapshots:
        targets = reader.targets(snapshot, horizon_days, until)
        if targets.node.numel():
            counts = torch.bincount(targets.node, minlength=reader.candidates.numel()).float()
            examples.append(Example(snapshot, targets, counts / targets.node.numel()))
    return examples


def fit_blend(
    examples: list[Example],
    num_types: int,
    config: BlendConfig,
    seed: int,
    level_first: bool = False,
    when: str = "",
) -> tuple[Blend, list[float]]:
    """Softmax of each target among the candidates of its step, one snapshot a step; returns the losses, too.

    Candidates are the step's own targets and uniform draws from the items known at the snapshot; the logarithm of
    the probability of being one is subtracted from the score (logQ), but for the target itself. There are more steps
    than `config.steps` where targets are many, and fewer where they are few.

    Args:
        level_first: learn first what everybody streams, without any tastes, and then the blend on top of that.
        when: what progress says of the examples.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    context = examples[0].snapshot.context
    blend = Blend(
        BlendSizes(
            num_features=context.features.shape[1],
            num_types=num_types,
            momentum_dim=config.momentum_dim,
            factor_dims=tuple(table.shape[1] for table in context.factors),
            num_categories=context.categories.shape[1],
            num_profile=examples[0].targets.profile.shape[1],
            category_dim=config.category_dim,
            level_first=level_first,
        )
    )
    _standardise(blend, examples)
    descent = _Descent(examples, config, generator)
    label, level = "Two-tower", []
    if blend.level is not None:
        label = "Two-tower on the general level"
        level = list(blend.level.parameters())
        held = [{"params": level, "weight_decay": config.level_weight_decay}]
        learned, _ = descent.run(f"General level{when}", blend.level, held, partial(_level_loss, blend))
        blend.level.load_state_dict(learned.state_dict())
        blend.level.requires_grad_(False)
    momentum = blend.momentum_parameters()
    others = set(blend.parameters()) - set(momentum) - set(level)
    groups = [
        {"params": momentum, "weight_decay": config.momentum_weight_decay},
        {"params": list(others), "weight_decay": config.weight_decay},
    ]
    fitted, losses = descent.run(f"{label}{when}", blend, groups, partial(_loss, blend))
    return fitted.eval(), losses


@dataclass(frozen=True)
class _Descent:
    """Steps of the optimizer, each on one of the examples, drawn by the number of its targets."""

    examples: list[Example]
    config: BlendConfig
    generator: torch.Generator

    def run(
        self,
        label: str,
        net: Net,
        groups: list[dict[str, Any]],
        loss_of: Callable[[Example, BlendConfig, torch.Generator], Tensor],
    ) -> tuple[Net, list[float]]:
        """The moving average of a net's weights while it learns, and the losses.

        Args:
            groups: of parameters, as the optimizer takes them.
        """
        config = self.config
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        sizes = torch.tensor([float(len(example.targets.node)) for example in self.examples])
        steps = _steps(int(sizes.sum()), config)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps)
        losses = []
        with progress.task(label, steps, "steps") as task:
            for _ in range(steps):
                example = self.examples[int(torch.multinomial(sizes, 1, generator=self.generator))]
                loss = loss_of(example, config, self.generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                average.update_parameters(net)
                losses.append(float(loss.detach()))
                task.advance()
        return cast(Net, average.module), losses


def _steps(num_targets: int, config: BlendConfig) -> int:
    wanted = min(math.ceil(config.passes * num_targets / config.batch_size), config.max_steps)
    by_heart = max(MAX_EPOCHS * num_targets // config.batch_size, MIN_STEPS)
    return min(max(config.steps, wanted), by_heart)


def _standardise(blend: Blend, examples: list[Example]) -> None:
    """Mean and scale of the inputs, over the examples. What never differs tells nothing, whatever it is later."""
    features = torch.cat([e.snapshot.context.features[e.snapshot.known] for e in examples])
    histories = [(e.targets.history, e.snapshot.context.traits) for e in examples]
    state = torch.cat([user_state(one, traits[one.node], blend.sizes.num_types) for one, traits in histories])
    for name, values in (("feature", features), ("state", state)):
        blend.get_buffer(f"{name}_mean").copy_(values.mean(0))
        same = values.amax(0) == values.amin(0)
        scale = (values.std(0, correction=0) + 0.1).masked_fill(same, torch.inf)
        blend.get_buffer(f"{name}_scale").copy_(scale)


def _loss(blend: Blend, example: Example, config: BlendConfig, generator: torch.Generator) -> Tensor:
    targets, drawn = example.targets, _draw(example, config, generator)
    users, position = targets.row[drawn.target].unique(return_inverse=True)
    user = blend.user_vectors(targets.history.rows(users), targets.profile[users], example.snapshot.context)
    item = blend.item_vectors(example.snapshot.context, drawn.candidates)
    # index_select: the gradient of plain indexing adds in whatever order threads come.
    return drawn.cross_entropy((user @ item.T).index_select(0, position))


def _level_loss(blend: Blend, example: Example, config: BlendConfig, generator: torch.Generator) -> Tensor:
    drawn = _draw(example, config, generator)
    level = blend.levels(example.snapshot.context, drawn.candidates)
    return drawn.cross_entropy(level.T.expand(config.batch_size, -1))


@dataclass(frozen=True)
class _Drawn:
    """What a step asks: n targets among c candidates."""

    target: Tensor
    """(n,) int64: places among the example's targets."""
    true: Tensor
    """(n,) int64: their places among the candidates."""
    candidates: Tensor
    """(c,) int64: items."""
    log_q: Tensor
    """(c,): logarithm of the probability of being a candidate."""

    def cross_entropy(self, scores: Tensor) -> Tensor:
        """Of the targets by their scores (n, c)."""
        true, log_q = self.true, self.log_q
        logits = scores - log_q
        own = torch.zeros_like(logits).scatter(1, true[:, None], log_q[true][:, None])
        return functional.cross_entropy(logits + own, true)


def _draw(example: Example, config: BlendConfig, generator: torch.Generator) -> _Drawn:
    targets, known = example.targets, example.snapshot.known
    drawn = torch.randint(targets.node.numel(), (config.batch_size,), generator=generator)
    node = targets.node[drawn]
    negatives = known[torch.randint(known.numel(), (config.num_negatives,), generator=generator)]
    candidates = torch.cat([node, negatives]).unique()
    expected = config.batch_size * example.frequency[candidates] + config.num_negatives / known.numel()
    log_q = (-torch.expm1(-expected)).log()
    return _Drawn(drawn, torch.searchsorted(candidates, node), candidates, log_q)
