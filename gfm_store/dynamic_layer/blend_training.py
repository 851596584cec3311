"""Training the blend on snapshots."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
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
    examples: list[Example], num_types: int, config: BlendConfig, seed: int, label: str = "Two-tower"
) -> tuple[Blend, list[float]]:
    """Softmax of each target among the candidates of its step, one snapshot a step; returns the losses, too.

    Candidates are the step's own targets and uniform draws from the items known at the snapshot; the logarithm of
    the probability of being one is subtracted from the score (logQ), but for the target itself. Of `config.steps`
    there are fewer where targets are few.
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
        )
    )
    _standardise(blend, examples)
    average = AveragedModel(blend, multi_avg_fn=get_ema_multi_avg_fn(config.averaging))
    momentum = blend.momentum_parameters()
    others = set(blend.parameters()) - set(momentum)
    groups = [
        {"params": momentum, "weight_decay": config.momentum_weight_decay},
        {"params": list(others), "weight_decay": config.weight_decay},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    sizes = torch.tensor([float(len(example.targets.node)) for example in examples])
    steps = min(config.steps, max(MAX_EPOCHS * int(sizes.sum()) // config.batch_size, MIN_STEPS))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps)
    losses = []
    with progress.task(label, steps, "steps") as task:
        for _ in range(steps):
            example = examples[int(torch.multinomial(sizes, 1, generator=generator))]
            loss = _loss(blend, example, config, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(blend)
            losses.append(float(loss.detach()))
            task.advance()
    fitted = average.module
    assert isinstance(fitted, Blend)
    return fitted.eval(), losses


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
    targets, known = example.targets, example.snapshot.known
    drawn = torch.randint(targets.node.numel(), (config.batch_size,), generator=generator)
    row, node = targets.row[drawn], targets.node[drawn]
    negatives = known[torch.randint(known.numel(), (config.num_negatives,), generator=generator)]
    candidates = torch.cat([node, negatives]).unique()
    expected = config.batch_size * example.frequency[candidates] + config.num_negatives / known.numel()
    log_q = (-torch.expm1(-expected)).log()
    users, position = row.unique(return_inverse=True)
    user = blend.user_vectors(targets.history.rows(users), targets.profile[users], example.snapshot.context)
    item = blend.item_vectors(example.snapshot.context, candidates)
    # index_select: the gradient of plain indexing adds in whatever order threads come.
    logits = (user @ item.T).index_select(0, position) - log_q
    true = torch.searchsorted(candidates, node)
    own = torch.zeros_like(logits).scatter(1, true[:, None], log_q[true][:, None])
    return functional.cross_entropy(logits + own, true)
