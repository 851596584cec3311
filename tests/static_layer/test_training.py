"""HGNN training on planted sets: it learns, repeats itself, and goes on after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from worlds import Recorder, graph_of, planted_sets

from gfm_store import progress
from gfm_store.config import HGNNConfig
from gfm_store.static_layer import training
from gfm_store.static_layer.completion import Targets, UserSets
from gfm_store.static_layer.sampling import sample_blocks
from gfm_store.static_layer.training import Fold, HGNNTrainer

CONFIG = HGNNConfig(
    hidden_dim=16,
    fanout=(4,),
    structure_dim=16,
    context_items=4,
    num_negatives=32,
    batch_size=64,
    epochs=4,
    steps_per_epoch=15,
    learning_rate=1e-2,
    validation_share=0.1,
)
CPU = torch.device("cpu")
STEPS = CONFIG.epochs * CONFIG.steps_per_epoch


@pytest.fixture(scope="module")
def planted():
    return planted_sets()


@pytest.fixture(scope="module")
def folds(planted):
    return planted.folds(CONFIG.structure_dim)


def features_of(fold):
    """(N, in_dim): what the HGNN reads of all items."""
    return torch.cat([fold.text, fold.known], dim=1)


def trainer_of(folds, seed=0, checkpoint=None, candidates=None, initial=None, label="HGNN", **settings):
    if candidates is None:
        candidates = torch.ones(folds[0].graph.num_nodes, dtype=torch.bool)
    config = CONFIG.model_copy(update=settings)
    item_type = folds[0].graph.node_type
    return HGNNTrainer(folds, item_type, candidates, config, seed, CPU, checkpoint, initial, label)


def purity(vectors, community):
    """Share of each item's ten nearest others that are of its own community; by chance 15 in 127."""
    vectors = torch.as_tensor(vectors)
    nearest = (vectors @ vectors.T).fill_diagonal_(-torch.inf).topk(10, dim=1).indices
    return float((community[nearest] == community[:, None]).float().mean())


def completion(model, planted, folds):
    """Mean reciprocal rank of what a user touched, told from the others, among items of other communities.

    Each fold by what is read without it, so that nobody's own touches are there.
    """
    ranks = []
    for number, fold in enumerate(folds):
        vectors = model.embed(features_of(fold), fold.graph)
        for user in np.unique(planted.user[planted.fold == number]):
            nodes = planted.node[planted.user == user]
            others = planted.community != planted.community[nodes[0]]
            query = vectors[nodes[1:]].mean(0)
            ranks.append(1 + int((vectors[others] @ query > vectors[nodes[0]] @ query).sum()))
    return float((1 / torch.tensor(ranks)).mean())


def test_training_finds_the_communities(planted, folds):
    fold, text = folds[0], functional.pad(torch.from_numpy(planted.text), (0, CONFIG.structure_dim + 1))

    def measured(model):
        known, new = model.embed(features_of(fold), fold.graph), model.embed_isolated(text)
        return [completion(model, planted, folds), *(purity(v, planted.community) for v in (known, new))]

    trainer = trainer_of(folds)
    before, after = measured(trainer.model.eval()), measured(trainer.fit())
    assert before[0] < 0.35
    assert after[0] > 0.9  # sets of users that the graph does not hold are completed
    assert before[1] < 0.5
    assert after[1] > 0.85
    assert purity(planted.text, planted.community) < 0.25  # text alone does not tell
    assert after[2] > 0.28  # but more than it did, for items that are seen by it alone
    assert trainer.epochs[-1].loss < trainer.epochs[0].loss - 0.3


def fitted(folds, seed=0, checkpoint=None, **settings):
    trainer = trainer_of(folds, seed, checkpoint, **settings)
    model = trainer.fit()
    return model.embed(features_of(folds[0]), folds[0].graph), trainer.epochs


def test_the_same_seed_gives_the_same_vectors(folds):
    (first, epochs), (again, epochs_again) = fitted(folds), fitted(folds)
    assert torch.equal(first, again)
    assert epochs == epochs_again
    assert not torch.allclose(fitted(folds, seed=1)[0], first, atol=1e-2)


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(folds, tmp_path):
    whole, epochs = fitted(folds)
    recorder = Recorder(stop_after=2 * CONFIG.steps_per_epoch + 1)  # in the middle of the third epoch
    with progress.reporting(recorder), pytest.raises(KeyboardInterrupt):
        fitted(folds, checkpoint=tmp_path / "hgnn.safetensors")
    recorder = Recorder()
    with progress.reporting(recorder):
        resumed, epochs_again = fitted(folds, checkpoint=tmp_path / "hgnn.safetensors")
    assert recorder.said == ["HGNN: going on after epoch 2, where the last run was interrupted."]
    assert recorder.advanced["HGNN"] == STEPS
    assert torch.equal(resumed, whole)
    assert epochs_again == epochs


def test_a_finished_checkpoint_is_not_trained_further(folds, tmp_path):
    first, _ = fitted(folds, checkpoint=tmp_path / "hgnn.safetensors")
    again, epochs = fitted(folds, checkpoint=tmp_path / "hgnn.safetensors")
    assert torch.equal(first, again)
    assert len(epochs) == CONFIG.epochs


def test_each_step_draws_its_targets_anew(folds, monkeypatch):
    trainer, drawn = trainer_of(folds), []
    whole = trainer._loss
    monkeypatch.setattr(
        trainer,
        "_loss",
        lambda fold, sampler, targets: drawn.append(targets) or whole(fold, sampler, targets),
    )
    trainer.fit()
    assert len({tuple(targets.node.tolist()) for targets in drawn}) == len(drawn) == STEPS
    assert {targets.context.shape for targets in drawn} == {(64, CONFIG.context_items)}


def test_each_fold_is_learned_from_what_is_read_without_it(planted, folds, monkeypatch):
    trainer, seen = trainer_of(folds), []
    whole = trainer._loss

    def spy(fold, sampler, targets):
        number = next(i for i, one in enumerate(folds) if one is fold)
        mine = {}
        for user in np.unique(planted.user[planted.fold == number]):
            nodes = frozenset(planted.node[planted.user == user].tolist())
            for node in nodes:
                mine.setdefault(node, []).append(nodes)
        for node, context in zip(targets.node.tolist(), targets.context.tolist(), strict=True):
            assert any({node, *context} <= nodes for nodes in mine[node])  # one user's of this very fold
        seen.append(number)
        return whole(fold, sampler, targets)

    monkeypatch.setattr(trainer, "_loss", spy)
    trainer.fit()
    assert seen == [0, 1] * (STEPS // 2)


def test_held_out_sets_give_no_targets(folds):
    trainer = trainer_of(folds)
    for fold, (_, train), (_, held) in zip(folds, trainer._train, trainer._held, strict=True):
        parts = [
            [tuple(nodes.tolist()) for nodes in one._sets.node.split(one._sets.user_ptr.diff().tolist())]
            for one in (train, held)
        ]
        everything = fold.sets.node.split(fold.sets.user_ptr.diff().tolist())
        assert sorted(parts[0] + parts[1]) == sorted(tuple(nodes.tolist()) for nodes in everything)
        assert len(parts[1]) == int(CONFIG.validation_share * len(everything)) == 4


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(model, state):
    assert model.state_dict().keys() == state.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_the_last_epochs_weights_are_kept(folds, monkeypatch):
    """However much better another one was on the users held out."""
    mrr, weights = iter([0.1, 0.5, 0.4, 0.2]), []
    trainer = trainer_of(folds)
    monkeypatch.setattr(trainer, "_validate", lambda: weights.append(state_of(trainer.model)) or next(mrr))
    model = trainer.fit()
    assert [epoch.validation_mrr for epoch in trainer.epochs] == [0.1, 0.5, 0.4, 0.2]
    assert_same_state(model, weights[3])
    assert not torch.equal(weights[1]["direct.weight"], weights[3]["direct.weight"])


def test_the_last_epochs_weights_are_kept_over_an_interruption(folds, monkeypatch, tmp_path):
    path = tmp_path / "hgnn.safetensors"
    first = trainer_of(folds, checkpoint=path)
    monkeypatch.setattr(first, "_validate", iter([0.1, 0.9]).__next__)
    with pytest.raises(StopIteration):
        first.fit()
    second = trainer_of(folds, checkpoint=path)
    monkeypatch.setattr(second, "_validate", iter([0.4, 0.3]).__next__)
    model = second.fit()
    assert [epoch.validation_mrr for epoch in second.epochs] == [0.1, 0.9, 0.4, 0.3]
    assert_same_state(model, state_of(trainer_of(folds).fit()))


def test_training_begins_with_given_weights_and_leaves_them_as_they_are(folds):
    given = trainer_of(folds, epochs=1).fit()
    before = state_of(given)
    assert not torch.equal(trainer_of(folds).model.direct.weight, given.direct.weight)
    trainer = trainer_of(folds, initial=given, label="HGNN once more", epochs=1)
    assert_same_state(trainer.model, before)
    recorder = Recorder()
    with progress.reporting(recorder):
        model = trainer.fit()
    assert recorder.advanced == {"HGNN once more": CONFIG.steps_per_epoch}
    assert not torch.equal(model.direct.weight, given.direct.weight)
    assert_same_state(given, before)


def test_too_few_users_to_hold_any_out_train_to_the_end():
    few = planted_sets(communities=2, members=4, users=8, per_user=3).folds(4)
    trainer = trainer_of(few, validation_share=0.05, structure_dim=4)
    assert not trainer._held
    last, step = [], trainer._step
    trainer._step = lambda n: (step(n), last.append(trainer.model.output.weight.clone()))[0]
    model = trainer.fit()
    assert len(last) == STEPS
    assert torch.equal(model.output.weight, last[-1])
    assert {epoch.validation_mrr for epoch in trainer.epochs} == {0.0}


@pytest.mark.parametrize("members", [[], [[0], [3]]])
def test_without_sets_vectors_come_from_text_alone(planted, members):
    user = torch.tensor([i for i, nodes in enumerate(members) for _ in nodes], dtype=torch.int64)
    node = torch.tensor([n for nodes in members for n in nodes], dtype=torch.int64)
    text, graph = torch.from_numpy(planted.text[:6]), graph_of([0, 0, 0, 1, 1, 1], [], num_types=2)
    fold = Fold(text, torch.zeros(6, 5), graph, UserSets.from_pairs(user, node))
    trainer = trainer_of([fold, fold], structure_dim=4)
    recorder = Recorder()
    with progress.reporting(recorder):
        model = trainer.fit()
    assert recorder.said == [
        "HGNN: no user has two items with events that make edges (graph.edge_signals), so there is nothing to learn "
        "from; item vectors come from text alone."
    ]
    assert trainer.epochs == []
    vectors = model.embed(features_of(fold), fold.graph)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(vectors, model.embed_isolated(functional.pad(text, (0, 5))))


def test_a_fold_without_sets_is_passed_over(folds):
    nobody = UserSets.from_pairs(*torch.zeros(2, 0, dtype=torch.int64))
    trainer = trainer_of([replace(folds[0], sets=nobody), folds[1]])
    assert [fold is folds[1] for fold, _ in trainer._train] == [True]
    trainer.fit()
    assert len(trainer.epochs) == CONFIG.epochs


# The loss, by hand on fixed vectors.

VECTORS = functional.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
TYPES = [0, 0, 0, 0, 0, 1, 1]
SETS = [[0, 1, 2], [2, 3], [4, 5, 6]]


def fixed(monkeypatch, negatives, candidates=None, **settings):
    """A trainer whose model gives VECTORS, and which draws these negatives."""
    user = torch.tensor([i for i, nodes in enumerate(SETS) for _ in nodes])
    sets = UserSets.from_pairs(user, torch.tensor([n for nodes in SETS for n in nodes]))
    fold = Fold(torch.zeros(7, 4), torch.zeros(7, 5), graph_of(TYPES, [], 2), sets)
    known = torch.ones(7, dtype=torch.bool)
    if candidates is not None:
        known[:] = False
        known[candidates] = True
    settings = {"num_negatives": len(negatives), "structure_dim": 4, **settings}
    trainer = trainer_of([fold], candidates=known, validation_share=0.01, **settings)

    def look_up(fold, context, candidates, isolated=0.0):
        return functional.normalize(VECTORS[context].mean(1), dim=-1), VECTORS[candidates]

    def draw(bound, size, generator):
        assert bound == len(trainer._pool)
        return torch.tensor([trainer._pool.tolist().index(n) for n in negatives])

    monkeypatch.setattr(trainer, "_query_and_items", look_up)
    monkeypatch.setattr(training.torch, "randint", draw)
    return trainer, fold, trainer._train[0][1]


def loss_by_hand(targets, contexts, negatives, frequency, pool, temperature):
    """The log of each target's share among the candidates that its context does not hold."""
    total = 0.0
    for target, context in zip(targets, contexts, strict=True):
        query = VECTORS[context].double().mean(0)
        query = query / query.norm()
        weights = {}
        for candidate in {*targets, *negatives} - set(context):
            expected = len(targets) * frequency[candidate]
            expected += len(negatives) / len(pool) * (candidate in pool)
            chance = 1.0 if candidate == target else 1 - np.exp(-expected)
            weights[candidate] = np.exp(float(query @ VECTORS[candidate].double()) / temperature) / chance
        total -= np.log(weights[target] / sum(weights.values()))
    return total / len(targets)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("pool", [[0, 1, 2, 3, 4, 5, 6], [3, 6]])
def test_the_loss_is_the_softmax_among_the_steps_candidates(monkeypatch, balanced, pool):
    negatives = [6, 3, 3, 6]
    trainer, fold, sampler = fixed(monkeypatch, negatives, pool, balanced=balanced)
    targets, contexts = (
        [0, 2, 5],
        [[1, 2], [3, 3], [4, 6]],
    )  # 2 is told to the first, 3 to the second, 6 to the last
    share = (
        [1 / 12, 1 / 12, 2 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 4]
        if balanced
        else [1 / 8] * 2 + [2 / 8] + [1 / 8] * 4
    )
    expected = loss_by_hand(targets, contexts, negatives, share, pool, CONFIG.temperature)
    found = trainer._loss(fold, sampler, Targets(torch.tensor(targets), torch.tensor(contexts)))
    assert expected > 0.1
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


def test_items_of_the_context_are_no_wrong_answers(monkeypatch):
    """The query is the context itself: were it a wrong answer, it would win by far."""
    trainer, fold, sampler = fixed(monkeypatch, [1], temperature=0.05)
    targets = Targets(torch.tensor([0]), torch.tensor([[1, 1]]))
    assert trainer._loss(fold, sampler, targets).item() == pytest.approx(0.0, abs=1e-6)
    trainer, fold, sampler = fixed(monkeypatch, [3], temperature=0.05)
    assert trainer._loss(fold, sampler, targets).item() > 1e-3


def test_the_temperature_is_learned_and_not_decayed(folds):
    trainer = trainer_of(folds, weight_decay=0.5)
    assert trainer._log_temperature.exp().item() == pytest.approx(CONFIG.temperature)
    trainer.fit()
    assert trainer._log_temperature.exp().item() != pytest.approx(CONFIG.temperature, rel=1e-3)
    assert [group["weight_decay"] for group in trainer._optimizer.param_groups] == [0.5, 0.0]


def test_negatives_are_candidates_alone(folds, monkeypatch):
    few = torch.zeros(128, dtype=torch.bool)
    few[[3, 50]] = True
    trainer, asked = trainer_of(folds, candidates=few), []
    whole = trainer._query_and_items
    monkeypatch.setattr(
        trainer, "_query_and_items", lambda *given: asked.append(given[2].tolist()) or whole(*given)
    )
    fold, sampler = trainer._train[0]
    targets = sampler.draw(8, 2)
    trainer._loss(fold, sampler, targets)
    assert set(asked[0]) == {3, 50, *targets.node.tolist()}
    assert torch.equal(
        trainer_of(folds, candidates=torch.zeros(128, dtype=torch.bool))._pool, torch.arange(128)
    )


# Items that are seen by their text alone.


def test_an_item_alone_is_seen_as_one_that_comes_later(planted, folds):
    fold, model = folds[0], trainer_of(folds, fanout=(4, 4)).model.eval()
    seeds = torch.tensor([5, 9, 70, 2])
    inputs, blocks = sample_blocks(fold.graph, seeds, (4, 4), torch.Generator().manual_seed(0))
    alone = torch.tensor([True, False, True, False])
    read, known = fold.text[inputs], fold.known[inputs]

    def seen(alone):
        left, cut = training._isolate(known, blocks, alone)
        return model(torch.cat([read, left], dim=1), cut)

    found = seen(alone)
    text = functional.pad(torch.from_numpy(planted.text[seeds[alone]]), (0, CONFIG.structure_dim + 1))
    torch.testing.assert_close(found[alone], model.embed_isolated(text))
    whole = model(features_of(fold)[inputs], blocks)
    assert float((whole[alone] - found[alone]).abs().max().detach()) > 1e-2
    nobody = torch.zeros(4, dtype=torch.bool)
    torch.testing.assert_close(seen(nobody), whole)


def test_a_share_of_a_steps_items_is_alone_and_none_in_validation(folds, monkeypatch):
    trainer, shares = trainer_of(folds), []
    whole = training._isolate

    def spy(known, blocks, alone):
        shares.append(float(alone.float().mean()))
        return whole(known, blocks, alone)

    monkeypatch.setattr(training, "_isolate", spy)
    trainer._validate()
    assert shares == []
    trainer.fit()
    assert len(shares) == STEPS
    assert np.mean(shares) == pytest.approx(training.ISOLATED, abs=0.02)


def test_the_query_is_the_unit_mean_of_the_context(folds):
    trainer, fold = trainer_of(folds, fanout=(200,)), folds[0]
    trainer.model.eval()
    context, candidates = torch.tensor([[3, 3, 90], [7, 12, 3]]), torch.tensor([12, 40, 41, 0])
    query, item = trainer._query_and_items(fold, context, candidates)
    vectors = trainer.model.embed(features_of(fold), fold.graph)
    torch.testing.assert_close(item, vectors[candidates])
    torch.testing.assert_close(query, functional.normalize(vectors[context].mean(1), dim=-1))


def test_validation_is_the_mean_reciprocal_rank_of_held_out_targets(monkeypatch):
    trainer, fold, sampler = fixed(monkeypatch, [3, 6, 4])
    trainer._held = [(fold, sampler)]
    targets = Targets(torch.tensor([0, 5]), torch.tensor([[1, 2], [4, 4]]))
    monkeypatch.setattr(sampler, "draw", lambda size, context_items: targets)
    expected = []
    for target, context in ((0, [1, 2]), (5, [4, 4])):
        query = VECTORS[context].mean(0)
        expected.append(
            1 / (1 + sum(float(query @ VECTORS[n]) > float(query @ VECTORS[target]) for n in (3, 6, 4)))
        )
    assert trainer._validate() == pytest.approx(np.mean(expected))
    assert 0 < np.mean(expected) < 1


def test_the_learning_rate_rises_and_falls_once():
    rates = [training._one_cycle(step / 100) for step in range(100)]
    assert rates.index(max(rates)) == 20
    assert max(rates) == 1.0
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[0] < 0.05
    assert rates[-1] < 0.01
