"""HGNN training on a planted graph: it learns, repeats itself, and goes on after an interruption."""

import pytest
import torch
from torch.nn import functional
from worlds import Recorder, graph_of, planted_graph

from gfm_store import progress
from gfm_store.config import HGNNConfig
from gfm_store.static_layer.training import HGNNTrainer

CONFIG = HGNNConfig(
    hidden_dim=16,
    fanout=(4, 4),
    num_negatives=32,
    batch_size=128,
    max_epochs=20,
    patience=20,
    learning_rate=1e-2,
    min_edges_per_epoch=1,
)
CPU = torch.device("cpu")
COMMUNITIES = 8


@pytest.fixture(scope="module")
def planted():
    return planted_graph(communities=COMMUNITIES, members=16, degree=8, noise=1.5)


def trainer_of(planted, config=CONFIG, seed=0, checkpoint=None):
    graph, text = planted
    everything = torch.ones(graph.num_nodes, dtype=torch.bool)
    return HGNNTrainer(graph, text, everything, config, seed, CPU, checkpoint)


def purity(vectors):
    """Share of each node's ten nearest others that are of its own community; by chance 15 in 127."""
    similarity = vectors @ vectors.T
    nearest = similarity.fill_diagonal_(-torch.inf).topk(10, dim=1).indices
    own = torch.arange(len(vectors)) % COMMUNITIES
    return float((own[nearest] == own[:, None]).float().mean())


def reciprocal_rank(trainer, model):
    """Mean over the held-out edges, the end ranked among all nodes of its type from other communities."""
    vectors = model.embed(trainer.text, trainer._train_graph)
    community, node_type = torch.arange(len(vectors)) % COMMUNITIES, trainer.graph.node_type
    ranks = []
    for src, dst in trainer._validation.T.tolist():
        others = (node_type == node_type[dst]) & (community != community[src])
        ranks.append(1 + int((vectors[others] @ vectors[src] > vectors[dst] @ vectors[src]).sum()))
    return sum(1 / rank for rank in ranks) / len(ranks)


@pytest.mark.parametrize("loss", ["softmax", "margin"])
def test_training_finds_the_communities(planted, loss):
    trainer = trainer_of(planted, CONFIG.model_copy(update={"loss": loss}))
    graph, text = planted
    before = reciprocal_rank(trainer, trainer.model), purity(trainer.model.embed(text, graph))
    trainer.fit()
    after = reciprocal_rank(trainer, trainer.model), purity(trainer.model.embed(text, graph))
    assert before[0] < 0.2
    assert after[0] > 0.7
    assert before[1] < 0.3
    assert after[1] > 0.65
    assert purity(text) < 0.5  # text alone does not tell


def test_held_out_edges_carry_no_message_and_are_no_supervision(planted):
    trainer = trainer_of(planted)
    held = {tuple(sorted(edge)) for edge in trainer._validation.T.tolist()}
    kept = {tuple(edge) for edge in trainer._train_graph.undirected_edges()[0].T.tolist()}
    supervised = {tuple(sorted(edge)) for edges in trainer._sampler for edge in edges.T.tolist()}
    everything = {tuple(edge) for edge in trainer.graph.undirected_edges()[0].T.tolist()}
    assert (held & kept, held & supervised) == (set(), set())
    assert held | kept == everything
    relation = trainer.graph.undirected_edges()[1]
    assert len(held) == sum(int(count * CONFIG.validation_share) for count in relation.bincount())


def fitted(planted, **settings):
    trainer = trainer_of(planted, CONFIG.model_copy(update={"max_epochs": 3}), **settings)
    model = trainer.fit()
    return model.embed(trainer.text, trainer.graph), trainer.epochs


def test_the_same_seed_gives_the_same_vectors(planted):
    (first, epochs), (again, epochs_again) = fitted(planted), fitted(planted)
    assert torch.equal(first, again)
    assert epochs == epochs_again
    assert not torch.allclose(fitted(planted, seed=1)[0], first, atol=1e-2)


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(planted, tmp_path):
    whole, epochs = fitted(planted)
    steps = len(trainer_of(planted)._sampler)
    recorder = Recorder(stop_after=2 * steps + 1)  # in the middle of the third epoch
    with progress.reporting(recorder), pytest.raises(KeyboardInterrupt):
        fitted(planted, checkpoint=tmp_path / "hgnn.safetensors")
    recorder = Recorder()
    with progress.reporting(recorder):
        resumed, epochs_again = fitted(planted, checkpoint=tmp_path / "hgnn.safetensors")
    assert recorder.said == ["HGNN: going on after epoch 2, where the last run was interrupted."]
    assert recorder.advanced["HGNN"] == 3 * steps
    assert torch.equal(resumed, whole)
    assert epochs_again == epochs


def test_each_epoch_draws_its_edges_anew(planted, monkeypatch):
    trainer = trainer_of(planted, CONFIG.model_copy(update={"max_epochs": 3}))
    drawn = []
    monkeypatch.setattr(trainer, "_step", lambda edges: drawn.append(edges.tolist()) or 0.0)
    trainer.fit()
    steps = len(trainer._sampler)
    first_steps = [drawn[epoch * steps] for epoch in range(3)]
    assert len(drawn) == 3 * steps
    assert all(first_steps[a] != first_steps[b] for a, b in ((0, 1), (1, 2), (0, 2)))


def test_a_finished_checkpoint_is_not_trained_further(planted, tmp_path):
    first, _ = fitted(planted, checkpoint=tmp_path / "hgnn.safetensors")
    again, epochs = fitted(planted, checkpoint=tmp_path / "hgnn.safetensors")
    assert torch.equal(first, again)
    assert len(epochs) == 3


def test_training_stops_when_the_validation_no_longer_improves(planted, monkeypatch):
    mrr = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    weights = []
    trainer = trainer_of(planted, CONFIG.model_copy(update={"patience": 2}))

    def validate():
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
        return next(mrr)

    monkeypatch.setattr(trainer, "_validate", validate)
    model = trainer.fit()
    assert [epoch.validation_mrr for epoch in trainer.epochs] == [0.1, 0.5, 0.4, 0.3]
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[1][name]), name  # those of the best epoch


def test_a_plateau_is_no_improvement(planted, monkeypatch):
    trainer = trainer_of(planted, CONFIG.model_copy(update={"patience": 2, "max_epochs": 8}))
    monkeypatch.setattr(trainer, "_validate", lambda: 1.0)
    trainer.fit()
    assert len(trainer.epochs) == 3


def test_a_graph_too_small_to_hold_out_edges_trains_to_the_end():
    graph = graph_of([0, 0, 0, 0], [(0, 1), (2, 3)])
    text = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    trainer = trainer_of((graph, text), CONFIG.model_copy(update={"max_epochs": 4}))
    last = []
    step = trainer._step
    trainer._step = lambda edges: (step(edges), last.append(trainer.model.output.weight.clone()))[0]
    model = trainer.fit()
    assert torch.equal(model.output.weight, last[-1])


def test_without_edges_vectors_come_from_text_alone(planted):
    text = planted[1][:6]
    trainer = trainer_of((graph_of([0, 0, 0, 1, 1, 1], [], num_types=2), text))
    recorder = Recorder()
    with progress.reporting(recorder):
        model = trainer.fit()
    assert recorder.said == [
        "HGNN: there are no co-interactions to learn from; item vectors come from text alone."
    ]
    vectors = model.embed(text, trainer.graph)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    assert torch.equal(vectors, model.embed_isolated(text))


def test_a_supervised_edges_far_end_is_not_heard_in_its_own_step(planted, monkeypatch):
    trainer = trainer_of(planted)
    edges = trainer._sampler._edges[:, :1]
    seen = []
    monkeypatch.setattr(
        trainer,
        "_embed",
        lambda nodes, keys: (
            seen.append(keys.tolist()),
            trainer.model.embed_isolated(trainer.text[nodes]).requires_grad_(),
        )[1],
    )
    trainer._loss(edges)
    (a,), (b,), n = edges[0].tolist(), edges[1].tolist(), trainer.graph.num_nodes
    assert seen == [sorted([a * n + b, b * n + a])]


@pytest.mark.parametrize("loss", ["softmax", "margin"])
def test_linked_items_and_the_item_itself_are_no_negatives(planted, monkeypatch, loss):
    trainer = trainer_of(planted, CONFIG.model_copy(update={"loss": loss, "num_negatives": 3}))
    edges, _ = trainer.graph.undirected_edges()
    src, dst = edges[:, 0].tolist()
    linked = {b if a == src else a for a, b in edges.T.tolist() if src in (a, b)}
    strangers = [n for n in range(trainer.graph.num_nodes) if n not in linked | {src}]
    vectors = functional.normalize(
        torch.randn(trainer.graph.num_nodes, 4, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    stranger = max(strangers, key=lambda n: float(vectors[src] @ vectors[n]))
    monkeypatch.setattr(trainer, "_embed", lambda nodes, keys: vectors[nodes])

    def loss_with(*negatives):
        drawn = torch.tensor([negatives] * trainer.graph.num_types)
        monkeypatch.setattr(trainer, "_draw_negatives", lambda: drawn)
        return float(trainer._loss(torch.tensor([[src], [dst]])))

    positive, negative = (float(vectors[src] @ vectors[n]) for n in (dst, stranger))
    if loss == "margin":
        expected = max(CONFIG.margin - positive + negative, 0.0)
    else:
        pair = torch.tensor([positive, negative], dtype=torch.float64) / CONFIG.temperature
        expected = float(-pair.log_softmax(0)[0])
    assert expected > 0.1
    assert loss_with(stranger, dst, src) == pytest.approx(expected, rel=1e-5)


def test_negatives_are_candidates_of_each_type(planted):
    graph, text = planted
    candidates = torch.zeros(graph.num_nodes, dtype=torch.bool)
    candidates[:3] = True  # of type 0; type 1 has no candidate, so all of it serves
    trainer = HGNNTrainer(graph, text, candidates, CONFIG.model_copy(update={"num_negatives": 500}), 0, CPU)
    first, second = trainer._draw_negatives()
    assert set(first.tolist()) == {0, 1, 2}
    assert set(second.tolist()) == set((graph.node_type == 1).nonzero()[:, 0].tolist())
