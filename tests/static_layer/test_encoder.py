"""The fitted HGNN: vectors from what was known before any moment, for items known, new and strange."""

import hashlib
from random import Random

import numpy as np
import pyarrow as pa
import pytest
import torch
from worlds import (
    AS_OF,
    Recorder,
    add_events,
    add_items,
    ago,
    catalogue,
    make_warehouse,
    stream,
    text_vectors,
)

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.static_layer import fitting
from gfm_store.static_layer.encoder import ItemEncoder, item_features, what_is_known
from gfm_store.static_layer.fitting import fit_static
from gfm_store.static_layer.newcomers import KnownTexts
from gfm_store.static_layer.structure import structural_coordinates
from gfm_store.static_layer.training import HGNNTrainer
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import Interactions, read_graph, read_interactions, read_item_nodes

CONFIG = Config.model_validate(
    {
        "device": "cpu",
        "threads": 1,
        "graph": {"window_days": 40, "min_coverage": 0.0, "user_set_days": 60, "folds": 2},
        "hgnn": {
            "hidden_dim": 8,
            "lexical_dim": 2,
            "structure_dim": 6,
            "fanout": [4],
            "context_items": 2,
            "num_negatives": 8,
            "batch_size": 32,
            "early_epochs": 1,
            "epochs": 1,
            "steps_per_epoch": 10,
        },
    }
)
WITHOUT_WORDS = CONFIG.hgnn.model_copy(update={"lexical_dim": 0})
NAMES = [f"{kind}{i}" for kind in "bps" for i in range(6)]
ITEMS = [row for name in NAMES for row in catalogue(name, title=f"Of {name}", published_at=ago(500))]
USERS = [f"user{i:02}" for i in range(40)]


def touches():
    """Users of two tastes, the parity of an item's number, over two months."""
    random = Random(7)
    return [
        stream(user, item, random.uniform(1, 60))
        for number, user in enumerate(USERS)
        for item in random.sample(NAMES[number % 2 :: 2], 5)
    ]


def graph_and_text(root, config=CONFIG, held_out_days=0):
    with open_warehouse(root) as warehouse:
        graph = read_graph(warehouse, AS_OF, config.graph, held_out_days)
    return graph, text_vectors(graph.item_text)


def read_known(encoder, root, moment=AS_OF):
    """Items known now, their text as the HGNN reads it, and what was known of them before a moment."""
    with open_warehouse(root) as warehouse:
        item_node = read_item_nodes(warehouse, AS_OF)
        item_text = warehouse.select("graph/item_text")
        text = encoder.read(text_vectors(item_text), item_text["text"].to_pylist())
        return item_node, text, read_interactions(warehouse, moment, CONFIG.graph, 40, 2)


def embedded_by(encoder, root, moment=AS_OF):
    item_node, text, known = read_known(encoder, root, moment)
    return encoder.embed(item_node["item_type"], text, known)


def vectors_of(encoder, root, moment=AS_OF):
    return embedded_by(encoder, root, moment).vectors


def nothing_known():
    ends = {name: pa.array([], pa.int32()) for name in ("src", "dst", "user_index", "node")}
    empty = pa.table(ends)
    return Interactions(empty, empty)


def assert_unit(vectors):
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_warehouse(tmp_path_factory.mktemp("tastes") / "warehouse", ITEMS, touches())


@pytest.fixture(scope="module")
def fitted(root):
    return fit_static(*graph_and_text(root), CONFIG)


def test_features_are_text_coordinates_and_counts():
    text = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=np.float32)
    user, node = np.array([0, 0, 1]), np.array([0, 1, 1])
    known = what_is_known(user, node, 3, 4, seed=0)
    assert (known.shape, known.dtype) == ((3, 5), np.float32)
    np.testing.assert_array_equal(known[:, :4], structural_coordinates(user, node, 3, 4, seed=0))
    np.testing.assert_allclose(known[:, 4], np.log([2, 3, 1]) / 4, rtol=1e-6)
    assert not known[2].any()  # of an item that nobody touched the text alone is known
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    frame = (known[:, :4] @ rotation).astype(np.float32)
    turned = what_is_known(user, node, 3, 4, seed=0, frame=frame)
    np.testing.assert_allclose(turned[:, :4], frame, atol=1e-5)
    features = item_features(text, known)
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features, np.hstack([text, known]))


def test_words_are_read_beside_sentences(root, fitted):
    with open_warehouse(root) as warehouse:
        read_item_nodes(warehouse, AS_OF)
        item_text = warehouse.select("graph/item_text")
    vectors, texts = text_vectors(item_text), item_text["text"].to_pylist()
    assert fitted.encoder.lexical.vectorizer.get_feature_names_out().tolist() == ["of"]
    text = fitted.encoder.read(vectors, texts)
    np.testing.assert_array_equal(text[:, :8], vectors)
    np.testing.assert_array_equal(np.abs(text[:, 8:]), [[1.0, 0.0]] * len(NAMES))
    none = fit_static(*graph_and_text(root), CONFIG.model_copy(update={"hgnn": WITHOUT_WORDS})).encoder
    np.testing.assert_array_equal(none.read(vectors, texts), vectors)
    assert none.hgnn.input.in_features == 8 + 7
    tensors = {name: value for name, value in none.tensors().items() if not name.startswith("lexical.")}
    before_words = ItemEncoder.from_tensors(tensors, none.item_types, none.graph, 40, 2, 0)
    np.testing.assert_array_equal(vectors_of(before_words, root), vectors_of(none, root))


def test_a_fit_gives_every_item_a_unit_vector_and_the_encoder_the_same(root, fitted):
    assert fitted.vectors.shape == (len(NAMES), 8)
    assert_unit(fitted.vectors)
    assert (fitted.encoder.dim, fitted.encoder.window_days, fitted.encoder.min_users) == (8, 40, 2)
    assert fitted.encoder.item_types == ["book", "podcast", "song"]
    np.testing.assert_allclose(vectors_of(fitted.encoder, root), fitted.vectors, atol=1e-4)
    assert len(fitted.epochs) == 2  # all of them with everything


def test_the_same_seed_gives_the_same_vectors(root, fitted):
    again = fit_static(*graph_and_text(root), CONFIG)
    np.testing.assert_array_equal(again.vectors, fitted.vectors)
    other = fit_static(*graph_and_text(root), CONFIG.model_copy(update={"seed": 1}))
    assert np.abs(other.vectors - fitted.vectors).max() > 1e-2


def fold_of(user):
    return (int(hashlib.md5(user.encode()).hexdigest()[0], 16) + 1) % 2


def remember_trainers(monkeypatch, trainers):
    monkeypatch.setattr(
        fitting, "HGNNTrainer", lambda *given: trainers.append(HGNNTrainer(*given)) or trainers[-1]
    )


def test_a_homogeneous_graph_has_one_relation_and_its_targets_are_balanced_by_type(root, fitted, monkeypatch):
    trainers = []
    remember_trainers(monkeypatch, trainers)
    hgnn = CONFIG.hgnn.model_copy(update={"heterogeneous": False})
    one = fit_static(*graph_and_text(root), CONFIG.model_copy(update={"hgnn": hgnn}))
    trainer = trainers[0]
    assert len(trainer.model.convs[0].message) == 1
    assert len(fitted.encoder.hgnn.convs[0].message) == 6
    assert [fold.graph.num_types for fold in trainer.folds] == [1, 1]
    assert trainer.item_type.unique().tolist() == [0, 1, 2]
    by_type = torch.zeros(3, dtype=torch.float64)
    by_type.index_add_(0, trainer.item_type, trainer._train[0][1].frequency)
    torch.testing.assert_close(
        by_type[by_type > 0], torch.full_like(by_type[by_type > 0], 1 / (by_type > 0).sum())
    )
    encoder = ItemEncoder.from_tensors(one.encoder.tensors(), one.encoder.item_types, CONFIG.graph, 40, 2, 0)
    np.testing.assert_allclose(vectors_of(encoder, root), one.vectors, atol=1e-4)
    assert np.abs(one.vectors - fitted.vectors).max() > 1e-2


def test_what_is_read_for_a_fold_is_without_it(root, tmp_path, monkeypatch):
    """Against worlds in which its users do not exist."""
    trainers = []
    remember_trainers(monkeypatch, trainers)
    fit_static(*graph_and_text(root), CONFIG)
    assert len(trainers) == 1
    assert len(trainers[0].folds) == 2
    for number, fold in enumerate(trainers[0].folds):
        others = [event for event in touches() if fold_of(event[0]) != number]
        alone = make_warehouse(tmp_path / f"without{number}", ITEMS, others)
        graph, text = graph_and_text(alone)
        item_type = torch.from_numpy(graph.item_node["type_index"].to_numpy().astype(np.int64))
        same = fitting.to_hetero_graph(item_type, 3, graph.co_interaction)
        assert torch.equal(fold.graph.rowptr, same.rowptr)
        assert torch.equal(fold.graph.col, same.col)
        user, node = (graph.folds.user_set[name].to_numpy() for name in ("user_index", "node"))
        known = torch.from_numpy(what_is_known(user, node, len(NAMES), 6, CONFIG.seed))
        np.testing.assert_array_equal(fold.text[:, :8], text)
        torch.testing.assert_close(fold.known[:, 6], known[:, 6])  # counts
        own, theirs = fold.known[:, :6], known[:, :6]  # the same but for a rotation
        torch.testing.assert_close(own @ own.T, theirs @ theirs.T, atol=1e-3, rtol=1e-3)
        mine = {user: set() for user, *_ in touches() if fold_of(user) == number}
        for user, item, *_ in touches():
            if user in mine:
                mine[user].add(NAMES.index(item))
        sets = fold.sets.node.split(fold.sets.user_ptr.diff().tolist())
        assert [set(nodes.tolist()) for nodes in sets] == [mine[user] for user in sorted(mine)]


@pytest.mark.parametrize("days", [0, 12, 30, 45])
def test_vectors_at_a_moment_are_those_of_a_world_cut_there(root, fitted, tmp_path, days):
    before = [event for event in touches() if event[3] < ago(days)]
    cut = make_warehouse(tmp_path / "cut", ITEMS, before)
    found = vectors_of(fitted.encoder, root, ago(days))
    np.testing.assert_array_equal(found, vectors_of(fitted.encoder, cut, ago(days)))
    touched = np.isin(NAMES, [item for _, item, *_ in before])
    assert_unit(found[touched])
    assert (np.linalg.norm(found[~touched], axis=1) < 0.99).all()
    if days:
        assert len(before) < len(touches())
        assert np.abs(found - vectors_of(fitted.encoder, root)).max() > 1e-2


def test_events_after_a_moment_change_nothing(fitted, tmp_path):
    world = make_warehouse(tmp_path, ITEMS, touches())
    before = vectors_of(fitted.encoder, world, ago(20))
    add_events(world, [stream(user, item, 20 - i) for user in USERS for i, item in enumerate(NAMES[:3])])
    np.testing.assert_array_equal(vectors_of(fitted.encoder, world, ago(20)), before)
    add_events(world, [stream(user, NAMES[0], 20.001) for user in USERS])
    assert np.abs(vectors_of(fitted.encoder, world, ago(20)) - before).max() > 1e-3


def test_before_anything_was_touched_the_text_alone_speaks(root, fitted):
    _, text, _ = read_known(fitted.encoder, root)
    np.testing.assert_allclose(
        vectors_of(fitted.encoder, root, ago(100)), fitted.encoder.newcomers(text), atol=1e-6
    )


def test_a_newcomer_is_an_item_without_coordinates_and_edges(fitted):
    text = fitted.encoder.read(np.eye(8, dtype=np.float32)[:3], ["Of a thing", "", "of"])
    encoder = fitted.encoder.numbered(np.full(3, -1))
    types = pa.chunked_array([["song", "book", "song"]])
    found = fitted.encoder.newcomers(text)
    np.testing.assert_allclose(encoder.embed(types, text, nothing_known()).vectors, found, atol=1e-6)
    assert_unit(found)
    assert np.abs(found[0] - found[1]).max() > 1e-2
    np.testing.assert_array_equal(fitted.encoder.newcomers(np.zeros((0, 10), np.float32)), np.zeros((0, 8)))


def test_items_that_came_later_and_of_types_unknown_to_training(root, fitted, tmp_path):
    later = [*catalogue("a0", title="Of a0"), *catalogue("p9", title="Of p9"), *catalogue("x1")]
    world = add_items(make_warehouse(tmp_path, ITEMS, touches()), later)
    add_events(world, [stream(user, item, 5) for user in USERS[::2] for item in ("a0", "p9")])
    item_node, text, known = read_known(fitted.encoder, world)
    ids = item_node["item_id"].to_pylist()
    assert ids == ["a0", *NAMES[:12], "p9", *NAMES[12:], "x1"]
    assert item_node["item_type"][0].as_py() == "other"
    ends = set(known.co_interaction["src"].to_pylist())
    assert {0, ids.index("p9")} <= ends  # both have edges
    encoder = fitted.encoder.numbered(np.array([NAMES.index(i) if i in NAMES else -1 for i in ids]))
    found = encoder.embed(item_node["item_type"], text, known).vectors
    alone = encoder.newcomers(text)
    told = KnownTexts.of(text[:-1]).tell(alone[-1:], text[-1:], found[:-1])
    np.testing.assert_allclose(found[-1:], told, atol=1e-6)  # nobody touched x1
    assert_unit(found[:-1])
    for item in ("a0", "p9"):  # who touched them speaks beside their text
        assert np.abs(found - alone)[ids.index(item)].max() > 1e-2
    # Edges of a strange type carry no message: without them everything is as it was.
    edges = known.co_interaction.filter(
        pa.array(
            [
                0 not in ends
                for ends in zip(*(known.co_interaction[e].to_pylist() for e in ("src", "dst")), strict=True)
            ]
        )
    )
    assert edges.num_rows < known.co_interaction.num_rows
    without = Interactions(edges, known.user_set)
    np.testing.assert_array_equal(encoder.embed(item_node["item_type"], text, without).vectors, found)


def test_the_numbering_of_items_changes_nothing(root, fitted):
    item_node, text, known = read_known(fitted.encoder, root)
    order = np.random.default_rng(3).permutation(len(NAMES))
    new = np.argsort(order)

    def renumbered(table, *names):
        for name in names:
            column = pa.array(new[table[name].to_numpy()].astype(np.int32))
            table = table.set_column(table.schema.get_field_index(name), name, column)
        return table

    elsewhere = Interactions(
        renumbered(known.co_interaction, "src", "dst"), renumbered(known.user_set, "node")
    )
    encoder = fitted.encoder.numbered(order)
    found = encoder.embed(item_node["item_type"].take(pa.array(order)), text[order], elsewhere).vectors
    expected = fitted.encoder.embed(item_node["item_type"], text, known).vectors
    # Another numbering starts the decomposition elsewhere; the coordinates are the same to its accuracy.
    np.testing.assert_allclose(found, expected[order], atol=2e-2)
    np.testing.assert_array_equal(encoder.numbered(new).frame, fitted.encoder.frame)


def test_a_saved_encoder_gives_the_same_bits(root, fitted, tmp_path):
    one = fitted.encoder
    facts = (one.item_types, one.graph, one.window_days, one.min_users, one.seed)
    one.save(tmp_path)
    loaded = ItemEncoder.load(tmp_path, *facts)
    np.testing.assert_array_equal(loaded.frame, one.frame)
    for moment in (AS_OF, ago(25)):
        np.testing.assert_array_equal(vectors_of(loaded, root, moment), vectors_of(one, root, moment))
    assert (loaded.item_types, loaded.graph, loaded.window_days, loaded.min_users, loaded.seed) == facts
    assert not loaded.hgnn.training
    again = ItemEncoder.from_tensors(one.tensors(), *facts)
    np.testing.assert_array_equal(vectors_of(again, root), vectors_of(one, root))


def test_two_layers_are_read_back_as_two(root, tmp_path):
    hgnn = CONFIG.hgnn.model_copy(update={"fanout": (3, 3), "steps_per_epoch": 2})
    one = fit_static(*graph_and_text(root), CONFIG.model_copy(update={"hgnn": hgnn})).encoder
    one.save(tmp_path)
    loaded = ItemEncoder.load(tmp_path, one.item_types, one.graph, 40, 2, 0)
    assert len(loaded.hgnn.convs) == 2
    np.testing.assert_array_equal(vectors_of(loaded, root), vectors_of(one, root))


@pytest.mark.parametrize(("share", "most", "steps"), [(0.0, 50, 2), (1.0, 50, 9), (1.0, 7, 7), (1.0, 1, 2)])
def test_an_epoch_has_more_steps_where_sets_are_many(share, most, steps, root):
    graph, text = graph_and_text(root)
    entries = graph.folds.user_set.num_rows
    update = {"epoch_share": share, "max_steps_per_epoch": most, "batch_size": -(-entries // 9), "epochs": 1}
    hgnn = CONFIG.hgnn.model_copy(update=update | {"steps_per_epoch": 2, "early_epochs": 1})
    recorder = Recorder()
    with progress.reporting(recorder):
        fit_static(graph, text, CONFIG.model_copy(update={"hgnn": hgnn}))
    assert (
        recorder.advanced["HGNN"] == 2 * steps
    )  # nothing is held out here, so the early epoch is one with everything


def test_without_sets_there_is_a_clear_message_and_vectors_from_text(tmp_path):
    events = [stream(user, NAMES[i % len(NAMES)], 3) for i, user in enumerate(USERS)]  # one item each
    recorder = Recorder()
    with progress.reporting(recorder):
        model = fit_static(*graph_and_text(make_warehouse(tmp_path, ITEMS, events)), CONFIG)
    assert [text for text in recorder.said if text.startswith("HGNN")] == [
        "HGNN: no user has two items with events that make edges (graph.edge_signals), so there is nothing to learn "
        "from; item vectors come from text alone."
    ]
    assert_unit(model.vectors)
    assert model.epochs == []


def test_without_any_interaction_vectors_come_from_text_alone(tmp_path):
    events = [(user, NAMES[0], "follow", ago(1)) for user in USERS]
    graph, text = graph_and_text(make_warehouse(tmp_path, ITEMS, events))
    model = fit_static(graph, text, CONFIG)
    text = model.encoder.read(text, graph.item_text["text"].to_pylist())
    np.testing.assert_allclose(model.vectors, model.encoder.newcomers(text), atol=1e-6)
    assert_unit(model.vectors)


def test_a_fold_that_holds_everybody_leaves_nothing_to_read(tmp_path):
    """The only user there is: the fold's features and graph are empty, and training goes on."""
    events = [stream(USERS[0], item, 3) for item in NAMES[:6]]
    model = fit_static(*graph_and_text(make_warehouse(tmp_path, ITEMS, events)), CONFIG)
    assert len(model.epochs) == 2
    assert_unit(model.vectors)


# Weights that have not seen the last days.

HELD_OUT = 7
EARLY = Config.model_validate(
    CONFIG.model_dump() | {"hgnn": CONFIG.hgnn.model_dump() | {"early_epochs": 1, "epochs": 2}}
)


def early_fit(root, checkpoint=None):
    return fit_static(*graph_and_text(root, EARLY, HELD_OUT), EARLY, checkpoint)


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.fixture(scope="module")
def early(root):
    return early_fit(root)


def test_without_held_out_days_there_are_no_early_weights(root, fitted):
    assert fitted.encoder.early is None
    found = embedded_by(fitted.encoder, root)
    assert found.early is found.vectors
    assert not [name for name in fitted.encoder.tensors() if name.startswith("early.")]


@pytest.mark.parametrize(("users_before", "expected"), [(0, False), (3, False), (4, True)])
def test_early_weights_need_half_of_what_was_touched_before_the_held_out_days(
    tmp_path, users_before, expected
):
    events = [stream(user, item, 3) for user in USERS[:4] for item in NAMES[:3]]
    events += [stream(user, item, 30) for user in USERS[4 : 4 + users_before] for item in NAMES[:3]]
    model = early_fit(make_warehouse(tmp_path, ITEMS, events))
    assert (model.encoder.early is not None) == expected
    assert len(model.epochs) == 3


def test_what_happens_in_the_last_days_changes_nothing_of_early_weights(root, early, tmp_path):
    """The same world with another week at its end, in which users of both tastes touch the other one's items."""
    before = [event for event in touches() if event[3] < ago(HELD_OUT)]
    assert len(before) < len(touches()) - 10
    assert {item for _, item, _, _ in before} == set(NAMES)
    week = [
        stream(user, NAMES[(3 * i + 1 - number % 2) % len(NAMES)], HELD_OUT - i)
        for number, user in enumerate(["a newcomer", *USERS])
        for i in range(5)
    ]
    other = early_fit(make_warehouse(tmp_path, ITEMS, before + week))
    assert same_weights(other.encoder.early, early.encoder.early)
    np.testing.assert_array_equal(other.encoder.frame, early.encoder.frame)
    moment = ago(HELD_OUT)
    mine, theirs = (embedded_by(one.encoder, root, moment) for one in (early, other))
    np.testing.assert_array_equal(mine.early, theirs.early)
    assert not same_weights(other.encoder.hgnn, early.encoder.hgnn)
    assert np.abs(mine.vectors - theirs.vectors).max() > 1e-3


def test_early_weights_see_the_day_before_the_held_out_ones(early, tmp_path):
    more = [stream(user, NAMES[0], HELD_OUT + 0.01) for user in USERS]
    other = early_fit(make_warehouse(tmp_path, ITEMS, touches() + more))
    assert not same_weights(other.encoder.early, early.encoder.early)


def test_training_goes_on_from_early_weights_in_their_frame(root, monkeypatch):
    trainers = []
    remember_trainers(monkeypatch, trainers)
    monkeypatch.setattr(HGNNTrainer, "fit", lambda self: self.model.eval())  # no step
    encoder = early_fit(root).encoder
    first, second = trainers
    assert (first.config.epochs, second.config.epochs) == (1, 2)
    assert first.initial is None
    assert second.initial is encoder.early
    assert same_weights(encoder.hgnn, encoder.early)
    with open_warehouse(root) as warehouse:
        graph = read_graph(warehouse, ago(HELD_OUT), EARLY.graph)
    user, node = (graph.folds.user_set[name].to_numpy() for name in ("user_index", "node"))
    frame = structural_coordinates(user, node, len(NAMES), 6, EARLY.seed)
    np.testing.assert_array_equal(encoder.frame, frame)
    for one, other in zip(first.folds, second.folds, strict=True):
        assert one.sets.node.numel() < other.sets.node.numel()
        assert one.known[:, 6].sum() < other.known[:, 6].sum()  # counts


def test_items_that_came_in_the_last_days_are_no_candidates_of_early_training(tmp_path, monkeypatch):
    trainers = []
    remember_trainers(monkeypatch, trainers)
    more = catalogue("a1", "z7", published_at=None) + catalogue("a2", published_at=ago(HELD_OUT - 1))
    more += catalogue("a3", "p8", "z9", published_at=ago(500))
    more += catalogue("z8", published_at=ago(500), withdrawn_at=ago(1))
    last = [stream(user, item, 3) for user in USERS[:3] for item in ("a1", "a2", "a3", NAMES[0])]
    events = [*touches(), *last, stream("u", "p8", HELD_OUT + 1)]
    root = make_warehouse(tmp_path, [*ITEMS, *more], events)
    early_fit(root)
    with open_warehouse(root) as warehouse:
        item_node = read_item_nodes(warehouse, AS_OF)
    ids = np.array(item_node["item_id"].to_pylist())
    early, whole = (set(ids[one.candidates.numpy()]) for one in trainers)
    assert whole == {*NAMES, "a1", "a2", "a3", "p8", "z7", "z9"}
    # a3 was there before, though nobody touched it; nobody ever touched z7, which has no date.
    assert early == whole - {"a1", "a2"}


def test_a_saved_encoder_keeps_its_early_weights(root, early, tmp_path):
    one = early.encoder
    facts = (one.item_types, one.graph, one.window_days, one.min_users, one.seed)
    one.save(tmp_path)
    for again in (ItemEncoder.load(tmp_path, *facts), ItemEncoder.from_tensors(one.tensors(), *facts)):
        assert same_weights(one.early, again.early)
        assert same_weights(one.hgnn, again.hgnn)
        assert not again.early.training
        for found, expected in zip(embedded_by(again, root), embedded_by(one, root), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert not same_weights(one.early, one.hgnn)
    found = embedded_by(one, root)
    assert_unit(found.early)
    assert np.abs(found.early - found.vectors).max() > 1e-2


def test_early_vectors_are_turned_and_numbered_as_the_others(root, early):
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0].astype(np.float32)
    before, after = (embedded_by(one, root) for one in (early.encoder, early.encoder.rotated(rotation)))
    for found, expected in zip(after, before, strict=True):
        np.testing.assert_allclose(found, expected @ rotation, atol=1e-5)
    assert early.encoder.numbered(np.arange(len(NAMES))).early is early.encoder.early


def test_both_trainings_go_on_after_an_interruption(root, early, tmp_path):
    path = tmp_path / "hgnn.safetensors"
    assert fitting.checkpoints(path) == (tmp_path / "hgnn-early.safetensors", path)
    for stop in (5, 15):  # in early training, then in the second epoch of the whole
        with progress.reporting(Recorder(stop_after=stop)), pytest.raises(KeyboardInterrupt):
            early_fit(root, path)
    assert all(one.exists() for one in fitting.checkpoints(path))
    recorder = Recorder()
    with progress.reporting(recorder):
        again = early_fit(root, path)
    assert [text for text in recorder.said if text.startswith("HGNN")] == [
        "HGNN: going on after epoch 1, where the last run was interrupted."
    ]
    assert same_weights(again.encoder.early, early.encoder.early)
    np.testing.assert_array_equal(again.vectors, early.vectors)
    assert again.epochs == early.epochs
    assert len(early.epochs) == 3
