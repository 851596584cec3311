"""How a blend learns: for how long, held back how far, and in which order."""

from copy import deepcopy
from dataclasses import replace

import torch
from fits import BLEND, NUM_ITEMS, fit

from gfm_store.dynamic_layer import blend_training
from gfm_store.dynamic_layer.blend_training import MAX_EPOCHS, MIN_STEPS, fit_blend, read_examples


def test_steps_follow_the_number_of_targets(tastes, monkeypatch):
    _, reader = fit(*tastes, monkeypatch, steps=1)
    examples = read_examples(reader, [6, 20, 34], 7)
    targets = sum(len(one.targets.node) for one in examples)
    assert targets > 60

    def steps(batch_size, **more):
        config = BLEND.model_copy(update={"steps": 100, "batch_size": batch_size, **more})
        return len(fit_blend(examples, 1, config, seed=0)[1])

    assert steps(targets // 10) == 100  # each target is drawn ten times
    assert steps(targets // 2) == MAX_EPOCHS * targets // (targets // 2)
    assert steps(2 * targets) == MIN_STEPS
    assert steps(targets // 10, passes=12) == -(-12 * targets // (targets // 10))
    assert steps(targets // 10, passes=12, max_steps=110) == 110
    assert steps(targets // 10, passes=12, max_steps=90) == 100
    assert steps(targets // 2, passes=1000) == MAX_EPOCHS * targets // (targets // 2)


def test_momentum_is_held_back_apart_from_the_rest(tastes):
    def lengths(**settings):
        blend = fit(*tastes, steps=100, **settings).model.blended.blend
        momentum = {id(one) for one in blend.momentum_parameters()}
        parts = [
            torch.cat([one.flatten() for one in blend.parameters() if (id(one) in momentum) == mine])
            for mine in (True, False)
        ]
        return [float(part.detach().norm()) for part in parts]

    free = lengths(momentum_weight_decay=0.0)
    held, same = lengths(momentum_weight_decay=100.0)
    assert held < 0.4 * free[0] and same > 0.8 * free[1]
    same, held = lengths(momentum_weight_decay=0.0, weight_decay=100.0)
    assert same > 0.8 * free[0] and held < 0.4 * free[1]


def test_what_never_differed_in_training_tells_nothing_later(tastes):
    fitted = fit(*tastes, steps=5)
    blended = fitted.model.blended
    constant = torch.isinf(blended.blend.feature_scale)
    assert constant.any() and not constant.all()
    features = blended.context.features
    changed = replace(blended.context, features=torch.where(constant, features + 7, features))
    nodes = torch.arange(NUM_ITEMS)
    same = [blended.blend.item_vectors(context, nodes) for context in (blended.context, changed)]
    assert torch.equal(*same) and same[0].isfinite().all()
    moved = replace(blended.context, features=features + 7)
    assert not torch.equal(same[0], blended.blend.item_vectors(moved, nodes))


def test_what_is_learned_first_stays(rising, monkeypatch):
    """It tells how much rather an item is streamed than another, and the blend learned on top leaves it as it is."""
    _, reader = fit(*rising, monkeypatch, steps=1)
    examples = read_examples(reader, [6, 20, 34], 7)
    learned, run = [], blend_training._Descent.run

    def running(*args):
        net, losses = run(*args)
        learned.append(deepcopy(net.state_dict()))
        return net, losses

    monkeypatch.setattr(blend_training._Descent, "run", running)
    blend, _ = fit_blend(examples, 1, BLEND, seed=0, level_first=True)
    level, whole = learned
    assert all(torch.equal(level[name], whole[f"level.{name}"]) for name in level)
    for one in examples:
        node = one.snapshot.known
        streamed = one.frequency[node] > 0
        levels = blend.levels(one.snapshot.context, node)[:, 0]
        assert levels[streamed].mean() > levels[~streamed].mean() + 1
    assert fit_blend(examples, 1, BLEND, seed=0)[0].level is None
