"""Snapshots never see what they are asked for; the blend learns what they hold; it survives save and load."""

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

from gfm_store.config import BlendConfig, Config, TwoTowerConfig
from gfm_store.dynamic_layer import blend_training, fitting
from gfm_store.dynamic_layer.blend import NUM_TRAITS, Blend, BlendSizes, ItemContext, touched
from gfm_store.dynamic_layer.blend_training import (
    MAX_EPOCHS,
    MIN_STEPS,
    fit_blend,
    read_examples,
)
from gfm_store.dynamic_layer.fitting import fit_dynamic
from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.dynamic_layer.moments import Moments
from gfm_store.static_layer.encoder import Embedded
from gfm_store.static_layer.structure import structural_coordinates, turned_to
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes
from gfm_store.warehouse.history import read_training

TWO_TOWER = TwoTowerConfig(
    layers=(16, 8), min_pairs=1, min_validation_pairs=20, max_epochs=1, categorical_dim=4, train_days=60
)
BLEND = BlendConfig(
    horizon_days=7,
    max_snapshots=6,
    lexical_factors=4,
    steps=150,
    batch_size=64,
    num_negatives=32,
)
NUM_ITEMS = 24
ITEMS = [f"p{i:02}" for i in range(NUM_ITEMS)]


def events_of_tastes(until=0.1):
    """Users of two tastes (parity), each with ten of the twelve items of their own."""
    rng = np.random.default_rng(3)
    events = []
    for user in range(60):
        chosen = rng.permutation(NUM_ITEMS // 2)[:10] * 2 + user % 2
        events += [
            stream(f"u{user:02}", ITEMS[item], float(day))
            for item, day in zip(chosen, rng.uniform(until, 59, 10), strict=True)
        ]
    return events


def read(root, config=TWO_TOWER):
    with open_warehouse(root) as warehouse:
        return read_item_nodes(warehouse, AS_OF), read_training(warehouse, AS_OF, config)


def coordinates_at(events, dim=4):
    """Vectors of ITEMS at any moment, from who touched what before it; in one frame."""

    def coordinates(moment):
        known = [(int(user[1:]), ITEMS.index(item)) for user, item, _, ts in events if ts < moment]
        user, node = np.array(known, dtype=np.int64).reshape(-1, 2).T
        return structural_coordinates(user, node, NUM_ITEMS, dim, seed=0)

    frame = structural_coordinates(np.arange(NUM_ITEMS) % 2, np.arange(NUM_ITEMS), NUM_ITEMS, dim, seed=0)
    return lambda moment: turned_to(coordinates(moment), frame)


def fit(item_node, tables, monkeypatch=None, vectors_at=None, early_at=None, **blend):
    readers = []
    if monkeypatch is not None:
        whole = fitting.read_examples
        monkeypatch.setattr(
            fitting, "read_examples", lambda reader, *rest: readers.append(reader) or whole(reader, *rest)
        )
    count = item_node.num_rows
    nothing = np.zeros((count, 3), dtype=np.float32)
    vectors_at = vectors_at or (lambda moment: nothing)

    def embedded_at(moment):
        vectors = vectors_at(moment)
        return Embedded(vectors, vectors if early_at is None else early_at(moment))

    config = Config(device="cpu", two_tower=TWO_TOWER, blend=BLEND.model_copy(update=blend))
    text = pa.table({"text": pa.array([""] * count)})
    types = sorted(set(item_node["item_type"].to_pylist()))
    fitted = fit_dynamic(item_node, types, embedded_at, nothing, text, tables, config)
    return (fitted, readers[0]) if readers else fitted


def users_of(model, tables, vectors, as_of=AS_OF):
    types = np.zeros(len(vectors), dtype=np.int64)
    return np.concatenate([block for block, _ in model.user_vectors(tables.history, as_of, vectors, types)])


@pytest.fixture(scope="module")
def tastes(tmp_path_factory):
    root = tmp_path_factory.mktemp("tastes")
    return read(make_warehouse(root, catalogue(*ITEMS, published_at=ago(300)), events_of_tastes()))


def test_few_targets_take_few_steps(tastes, monkeypatch):
    _, reader = fit(*tastes, monkeypatch, steps=1)
    examples = read_examples(reader, [6, 20, 34], 7)
    targets = sum(len(one.targets.node) for one in examples)
    assert targets > 60

    def steps(batch_size):
        config = BLEND.model_copy(update={"steps": 100, "batch_size": batch_size})
        return len(fit_blend(examples, 1, config, seed=0)[1])

    assert steps(targets // 10) == 100  # each target is drawn ten times
    assert steps(targets // 2) == MAX_EPOCHS * targets // (targets // 2)
    assert steps(2 * targets) == MIN_STEPS


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


def test_vectors_from_interactions_alone_tell_tastes_apart(tastes):
    fitted = fit(*tastes, vectors_at=coordinates_at(events_of_tastes()))
    scores = users_of(fitted.model, tastes[1], fitted.hgnn_vectors) @ fitted.item_vectors.T
    own = np.add.outer(np.arange(60), np.arange(NUM_ITEMS)) % 2 == 0
    wins = [(row[mine][:, None] > row[~mine]).mean() for row, mine in zip(scores, own, strict=True)]
    assert np.mean(wins) > 0.97  # 0.5 by chance
    norms = np.linalg.norm(fitted.item_vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-5)


@pytest.mark.parametrize("enabled", [True, False], ids=["blend", "towers"])
def test_the_same_seed_gives_the_same_vectors_and_a_saved_model_too(tastes, tmp_path, enabled):
    vectors_at = coordinates_at(events_of_tastes())
    first, again = (fit(*tastes, vectors_at=vectors_at, steps=20, enabled=enabled) for _ in range(2))
    assert (first.model.towers is None) == (first.model.blended is not None) == enabled
    assert (len(first.losses), len(first.epochs)) == ((20, 0) if enabled else (0, 1))
    vectors = vectors_at(AS_OF)
    np.testing.assert_array_equal(first.hgnn_vectors, vectors)
    np.testing.assert_array_equal(first.item_vectors, again.item_vectors)
    first.model.save(tmp_path)
    loaded = DynamicModel.load(tmp_path)
    later = AS_OF + timedelta(days=3)
    for as_of in (AS_OF, later):
        np.testing.assert_array_equal(
            users_of(loaded, tastes[1], vectors, as_of), users_of(first.model, tastes[1], vectors, as_of)
        )
    moved = users_of(loaded, tastes[1], vectors, later) - users_of(loaded, tastes[1], vectors)
    assert np.abs(moved).max() > 1e-4 or not enabled  # towers read no ages
    assert loaded.dim == first.model.dim == first.item_vectors.shape[1]


def test_a_snapshot_is_what_the_same_world_cut_there_would_be(tastes, monkeypatch, tmp_path):
    """All that a snapshot holds of the moment thirteen days ago, against a world without any later event."""
    _, reader = fit(*tastes, monkeypatch, coordinates_at(events_of_tastes()), steps=1)
    before = [event for event in events_of_tastes() if event[3] < ago(13)]
    assert len(before) < 600
    cut = make_warehouse(tmp_path, catalogue(*ITEMS, published_at=ago(300)), before)
    _, other = fit(*read(cut), monkeypatch, coordinates_at(before), steps=1)
    assert 12 in reader.moments.days.tolist() and 12 in other.moments.days.tolist()
    mine, theirs = reader.snapshot(12), other.snapshot(12)
    torch.testing.assert_close(mine.context.features, theirs.context.features)
    torch.testing.assert_close(mine.context.traits, theirs.context.traits)
    assert mine.known.tolist() == theirs.known.tolist()
    for one, same in zip(mine.context.factors, theirs.context.factors, strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(mine.context.factors[1], reader.snapshot(-1).context.factors[1])
    users = torch.arange(60)
    for name in ("node", "slot", "age"):
        torch.testing.assert_close(
            getattr(reader.history(users, 12), name), getattr(other.history(users, 12), name)
        )


def test_each_snapshot_reads_the_vectors_of_its_own_moment(tastes, monkeypatch):
    asked = []

    def vectors_at(moment):
        asked.append((AS_OF - moment).days)
        return np.full((NUM_ITEMS, 3), asked[-1], dtype=np.float32)

    def early_at(moment):
        return np.full((NUM_ITEMS, 3), -(AS_OF - moment).days, dtype=np.float32)

    learned, whole = [], fitting.fit_blend
    monkeypatch.setattr(
        fitting,
        "fit_blend",
        lambda examples, *rest, **how: learned.append(examples) or whole(examples, *rest, **how),
    )
    fitted = fit(*tastes, vectors_at=vectors_at, early_at=early_at, steps=1)
    assert asked == [0, 3, 7, 8, 13, 19, 24, 29]  # snapshots begin three days ago; seven days are held out
    trial, level_first, final = ([example.snapshot for example in examples] for examples in learned)
    assert level_first == trial
    assert [snapshot.day for snapshot in final] == [2, 7, 12, 18, 23, 28]
    assert [snapshot.day for snapshot in trial] == [
        12,
        18,
        23,
        28,
    ]  # three days before those held out, or more
    for snapshots, sign in ((final, 1), (trial, -1)):  # the trial reads early vectors alone
        for snapshot in snapshots:
            read = {float(value) for value in snapshot.context.factors[1].unique()}
            assert read == {sign * (snapshot.day + 1)}
    assert fitted.hgnn_vectors.max() == 0.0
    assert {float(value) for value in fitted.model.blended.context.factors[1].unique()} == {0.0}
    assert set(np.unique(fitted.held_out_vectors)) == {-7.0}


def test_a_snapshot_keeps_all_but_its_vectors_where_early_ones_are_read(tastes, monkeypatch):
    _, reader = fit(*tastes, monkeypatch, coordinates_at(events_of_tastes()), steps=1)
    before, vectors = reader.snapshot(12), torch.randn(NUM_ITEMS, 4)
    early = replace(reader, moments=Moments(torch.tensor([12]), [vectors])).embedded(before)
    assert early.day == 12
    assert early.context.factors[0] is before.context.factors[0]
    assert torch.equal(early.context.factors[1], vectors)
    for name in ("features", "traits", "categories"):
        assert getattr(early.context, name) is getattr(before.context, name)
    assert early.known is before.known


def test_item_features_are_counts_and_ages(tmp_path, monkeypatch):
    events = [stream("u1", "a", 30), stream("u2", "a", 28.5), stream("u3", "a", 10), stream("u1", "b", 4)]
    events += [stream(f"v{i}", "b", 2.5) for i in range(5)] + [("u1", "c", "follow", ago(1))]
    root = make_warehouse(tmp_path, [*catalogue("a", "b"), *catalogue("c", published_at=ago(8))], events)
    item_node, tables = read(root)
    _, reader = fit(item_node, tables, monkeypatch, steps=1)
    traits = reader.snapshot(-1).context.traits
    # The day of the first stream counts whole, so an age is rounded up.
    assert traits[:, 0].tolist() == [30, 4, 0]
    assert traits[:, 1].tolist() == [-1, -1, 8]
    assert traits[:, 2].expm1().round().tolist() == [2, 6, 0]
    assert traits[:, 3].expm1().round().tolist() == [3, 6, 0]
    counts = reader.snapshot(-1).context.features[:, :3].expm1().round()  # 1, 2 and 3 days
    assert counts.tolist() == [[0, 0, 0], [0, 0, 5], [0, 0, 0]]
    early = reader.snapshot(4)  # five days ago: b had not been streamed, c was published
    assert early.known.tolist() == [0, 2]
    assert early.context.traits[:, 0].tolist() == [25, 0, 0]


LOUD, QUIET = ([f"{kind}{i:02}" for i in range(12)] for kind in ("loud", "quiet"))


def arrivals():
    """Every four days one item of either genre is streamed, three days after it was published; the one by twenty users
    at once, the other by two. One more of each was published yesterday, and nobody has streamed it."""
    items, events = [], []
    for names, genre, listeners in ((LOUD, "loud", 20), (QUIET, "quiet", 2)):
        for i, name in enumerate(names):
            items += catalogue(name, published_at=ago(53 - 4 * i), genres=[genre])
            events += [
                stream(f"u{(user * 3 + i) % 30:02}", name, 49.5 - 4 * i + user / 100)
                for user in range(listeners)
            ]
        items += catalogue(f"{genre}-new", published_at=ago(1), genres=[genre])
    return items, events


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory):
    return read(make_warehouse(tmp_path_factory.mktemp("arrivals"), *arrivals()))


def test_newcomers_promise_what_their_like_were_streamed_before(newcomers, monkeypatch):
    item_node, tables = newcomers
    _, reader = fit(item_node, tables, monkeypatch, steps=1)
    place = {name: i for i, name in enumerate(item_node["item_id"].to_pylist())}
    expected = reader.snapshot(-1).context.features[:, -1 - reader.num_types]
    loud, quiet = expected[place["loud-new"]], expected[place["quiet-new"]]
    assert loud.expm1() == pytest.approx(20, rel=0.2) and quiet.expm1() == pytest.approx(2, rel=0.2)
    assert not expected[[place[name] for name in LOUD + QUIET]].any()
    before = reader.snapshot(29).context.features[:, -1 - reader.num_types]  # 30 days ago
    heard = [place[names[i]] for names in (LOUD, QUIET) for i in range(5)]
    assert not before[heard].any() and before[place[LOUD[5]]] != 0
    monkeypatch.setattr("gfm_store.dynamic_layer.snapshots.MAX_READ", 8)  # every fourth is read: six arrivals
    fewer = reader.snapshot(-1).context.features[:, -1 - reader.num_types]
    assert fewer[place["loud-new"]] != loud and fewer[place["loud-new"]] > fewer[place["quiet-new"]] + 0.5


def test_users_without_a_history_are_shown_the_newcomer_that_promises_more(newcomers):
    item_node, tables = newcomers
    blended = fit(item_node, tables).model.blended
    names = item_node["item_id"].to_pylist()
    node = torch.tensor([names.index(f"{genre}-new") for genre in ("loud", "quiet")])
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    nobody = HistoryBatch(nothing, nothing - 1, torch.zeros(1, 1))
    with torch.no_grad():
        profile = torch.zeros(1, blended.blend.sizes.num_profile, dtype=torch.bool)
        user = blended.blend.user_vectors(nobody, profile, blended.context)
        loud, quiet = (user @ blended.blend.item_vectors(blended.context, node).T)[0].tolist()
    assert loud > quiet


def test_targets_are_the_first_new_items_of_the_horizon(tastes, monkeypatch):
    _, reader = fit(*tastes, monkeypatch, steps=1, targets_per_user=2)
    snapshot = reader.snapshot(13)
    targets = reader.targets(snapshot, 7)
    seen = {}
    for user, item, _, moment in sorted(events_of_tastes(), key=lambda event: event[3]):
        if ago(14) <= moment < ago(7):
            seen.setdefault(int(user[1:]), []).append(ITEMS.index(item))
    found = {}
    for row, node in zip(targets.row.tolist(), targets.node.tolist(), strict=True):
        found.setdefault(int(targets.user[row]), []).append(node)
    assert found == {user: items[:2] for user, items in seen.items()}


def test_the_trial_is_asked_for_nothing_of_the_held_out_days(tastes, monkeypatch):
    learned, whole = [], fitting.fit_blend
    monkeypatch.setattr(
        fitting,
        "fit_blend",
        lambda examples, *rest, **how: learned.append(examples) or whole(examples, *rest, **how),
    )
    fitted = fit(*tastes, steps=1)
    assert fitted.held_out_days == 7
    trial, again, _ = learned
    assert again is trial
    days = [example.snapshot.day for example in trial]
    asked = [len(example.targets.node) for example in trial]
    first = {}
    for user, _, _, moment in sorted(events_of_tastes(), key=lambda event: event[3]):
        for day in days:
            if ago(day + 1) <= moment < min(ago(7), ago(day + 1 - 7)):
                first.setdefault((day, user), []).append(moment)
    assert asked == [
        sum(min(len(moments), 5) for (of, _), moments in first.items() if of == day) for day in days
    ]


def test_languages_genres_and_the_profile_meet_in_the_score(tmp_path):
    """Nobody streams twice, so that what a user is and what an item is are all there is to learn from."""
    languages = ["sv", "pt"]
    items = [
        item
        for i, one in enumerate(ITEMS)
        for item in catalogue(one, published_at=ago(300), language=languages[i % 2])
    ]
    rng = np.random.default_rng(4)
    events = [
        stream(f"u{user:03}", ITEMS[int(rng.integers(12)) * 2 + user % 2], float(day))
        for user, day in enumerate(rng.uniform(0.1, 59, 600))
    ]
    users = [{"user_id": f"u{user:03}", "country": ["SE", "BR"][user % 2]} for user in range(600)]
    item_node, tables = read(make_warehouse(tmp_path, items, events, users))
    fitted = fit(item_node, tables)
    model, moment = fitted.model, AS_OF + timedelta(days=1)
    feature = pa.table({"country": ["SE", "BR", None]})
    nobody = HistoryBatch(*(torch.full((3, 1), value) for value in (0, -1, 0.0)))
    profile = model.profile_categories(feature, 32)
    assert profile.sum(1).tolist() == [1, 1, 0]
    vectors = model.blended.user_vectors(nobody, profile, moment)
    scores = vectors @ torch.from_numpy(fitted.item_vectors[:, : vectors.shape[1]]).T
    language = np.array(item_node["language"].to_pylist())
    swedish, brazilian, stranger = (
        float(row[language == "sv"].mean() - row[language == "pt"].mean()) for row in scores
    )
    assert swedish > 1.0 > 0.5 > abs(stranger)
    assert brazilian < -1.0


def test_what_everybody_streams_is_less_of_a_matter_of_taste(tmp_path):
    """Eight items that all stream, and sixteen of which each taste streams its own."""
    rng = np.random.default_rng(5)
    events = []
    for user in range(60):
        own = rng.permutation(8)[:5] * 2 + 8 + user % 2
        chosen = np.concatenate([rng.permutation(8)[:7], own])
        events += [
            stream(f"u{user:02}", ITEMS[item], float(day))
            for item, day in zip(chosen, rng.uniform(0.1, 59, len(chosen)), strict=True)
        ]
    world = read(make_warehouse(tmp_path, catalogue(*ITEMS, published_at=ago(300)), events))
    blended = fit(*world, vectors_at=coordinates_at(events)).model.blended
    blend, context = blended.blend, blended.context
    raw = context.factors[1].norm(dim=1)
    first = blend.sizes.momentum_dim + 1 + blend.sizes.factor_dims[0]
    weighed = blend.item_vectors(context, torch.arange(NUM_ITEMS))[:, first : first + 4].norm(dim=1)
    personal = (weighed / raw).detach()
    assert personal[:8].max() < personal[8:].min()


def test_new_items_are_lifted_but_not_by_the_model_that_gates_ask(tmp_path):
    items = catalogue(*ITEMS, published_at=ago(300)) + catalogue("new", published_at=ago(30))
    item_node, tables = read(make_warehouse(tmp_path, items, events_of_tastes()))
    new = item_node["item_id"].to_pylist().index("new")
    none = fit(item_node, tables, newcomer_cost=0.0, steps=20)
    most = fit(item_node, tables, newcomer_cost=0.99, steps=20)
    lift = float(most.model.blended.blend.lift)
    assert lift == 2.0 > float(none.model.blended.blend.lift)
    assert float(most.early.blended.blend.lift) == 0.0
    scores = [users_of(one.model, tables, one.hgnn_vectors) @ one.item_vectors.T for one in (none, most)]
    raised = scores[1] - scores[0]
    np.testing.assert_allclose(raised[:, new], lift - float(none.model.blended.blend.lift), atol=1e-4)
    np.testing.assert_allclose(np.delete(raised, new, axis=1), 0.0, atol=1e-4)


def test_a_world_without_streams_gets_towers(tmp_path):
    events = [(f"u{i}", "ab"[i % 2], "follow", ago(i + 1)) for i in range(12)]
    fitted = fit(*read(make_warehouse(tmp_path, catalogue("a", "b"), events)))
    assert fitted.model.blended is None
    assert np.isfinite(fitted.item_vectors).all()


def skipped(blend, table, *events):
    """What skips take, of one history of (node, signal), newest first; every factor is `table`."""
    node, signal = (torch.tensor([[event[i] for event in events]]) for i in (0, 1))
    history = HistoryBatch(node, signal, torch.ones(1, len(events)))
    items = len(table)
    context = ItemContext(
        torch.zeros(items, 3), torch.zeros(items, NUM_TRAITS), (table, table), torch.zeros(items, 2).bool()
    )
    nothing = torch.zeros(1, 0, dtype=torch.bool)
    with torch.no_grad():
        trained, served = (
            blend.user_vectors(history, nothing, context, skips=skips)[0] for skips in (False, True)
        )
    return trained - served


def test_a_skip_takes_its_item_s_factors_unless_it_was_streamed_since():
    torch.manual_seed(0)
    blend = Blend(BlendSizes(3, 1, 2, (4, 4), num_categories=2, num_profile=0, category_dim=5)).eval()
    table = torch.eye(4)
    assert skipped(blend, table, (1, 0), (2, 1)).abs().sum() == 0
    assert skipped(blend, table, (2, 0), (2, 2)).abs().sum() == 0
    taken = skipped(blend, table, (2, 2), (2, 0), (1, 0))
    assert (taken > 0).nonzero()[:, 0].tolist() == [3 + 2, 3 + 4 + 2]  # momentum and the general part stay
    one, two = (skipped(blend, table, *[(2, 2)] * n, (1, 0))[5] for n in (1, 4))
    assert one < two < 4 * one


# What was touched: each item once, and what waits.

STREAM, WEAK, SKIP = 0, 1, 2


def history_of(*events, length=None):
    """One history of (node, slot, age), newest first, with empty places behind it."""
    rows = [*events, *[(0, -1, 0.0)] * ((length or len(events)) - len(events))]
    node, slot, age = zip(*rows, strict=True)
    return HistoryBatch(torch.tensor([node]), torch.tensor([slot]), torch.tensor([age], dtype=torch.float32))


@pytest.mark.parametrize(
    ("events", "heard", "waits", "skips"),
    [
        (
            [(4, STREAM), (4, STREAM), (5, STREAM), (4, STREAM)],
            [0, 2],
            [],
            [],
        ),  # each once, by its newest stream
        ([(4, WEAK), (5, WEAK), (4, WEAK), (5, WEAK)], [], [0, 1], []),
        ([(4, STREAM), (5, STREAM), (4, WEAK)], [0, 1], [], []),  # streamed since
        ([(4, WEAK), (5, STREAM), (4, STREAM)], [1, 2], [], []),  # streamed before
        ([(4, SKIP), (4, WEAK), (5, SKIP), (6, SKIP), (6, STREAM)], [4], [], [0, 2, 3]),  # skipped since
        ([(4, WEAK), (4, SKIP)], [], [0], [1]),
        ([(4, STREAM), (4, SKIP), (5, SKIP), (5, SKIP)], [0], [], [2, 3]),  # streamed since it was skipped
        ([(0, WEAK)], [], [0], []),  # what empty places name was not touched by them
        ([(4, WEAK), (0, STREAM)], [1], [0], []),
        ([], [], [], []),
    ],
)
def test_each_item_is_touched_once(events, heard, waits, skips):
    for item_type in (0, 1):
        given = [(node, 3 * item_type + signal, 1.0) for node, signal in events]
        found = touched(history_of(*given, length=6))
        assert [one[0].nonzero()[:, 0].tolist() for one in found] == [heard, waits, skips]


def test_histories_do_not_touch_each_other_s_items():
    node, slot = torch.tensor([[4, 4], [4, 0], [0, 0]]), torch.tensor([[0, 1], [1, -1], [-1, -1]])
    heard, waits, _ = touched(HistoryBatch(node, slot, torch.zeros(3, 2)))
    assert heard.tolist() == [[True, False], [False, False], [False, False]]
    assert waits.tolist() == [[False, False], [True, False], [False, False]]


@pytest.fixture
def one_factor():
    """A blend of two item types; items are the four axes of its only factor."""
    torch.manual_seed(0)
    return Blend(BlendSizes(3, 2, 2, (4,), num_categories=2, num_profile=0, category_dim=5)).eval()


@torch.no_grad()
def asked(blend, *events, weak=None):
    """(4,): how much the factor of each item is asked for by a history of (node, slot, age), newest first."""
    if weak is not None:
        blend.weak.fill_(weak)
    context = ItemContext(
        torch.zeros(4, 3), torch.zeros(4, NUM_TRAITS), (torch.eye(4),), torch.zeros(4, 2, dtype=torch.bool)
    )
    profile = torch.zeros(1, 0, dtype=torch.bool)
    return blend.user_vectors(history_of(*events, length=5), profile, context)[0, 3:7].double()


def test_what_waits_is_asked_for_the_more_the_newer_it_is(one_factor):
    """Apart from the mean, by (1 + age) to the power of -softplus(fall), times a level of factor and type."""
    with torch.no_grad():
        one_factor.wait_fall.fill_(0.5)
        one_factor.wait_level.fill_(0.25)
        one_factor.wait_type.copy_(torch.tensor([0.0, -1.0, 1.0]))
    fall = np.log1p(np.exp(0.5))
    for item_type, level in ((0, 0.25), (1, -0.75), (2, 1.25), (7, 1.25)):  # 2 and more: unknown to training
        slot = 3 * item_type + WEAK
        found = [asked(one_factor, (1, STREAM, 1.0), (2, slot, age), weak=-50.0) for age in (1.5, 30.0)]
        expected = [np.exp(level) * (1 + age) ** -fall for age in (1.5, 30.0)]
        assert [float(one[2]) for one in found] == pytest.approx(expected, rel=1e-5)
        assert torch.equal(found[0][[0, 1, 3]], found[1][[0, 1, 3]])
        assert found[0][2] > found[1][2]


def test_what_was_streamed_waits_no_longer(one_factor):
    weak, first = (2, WEAK, 4.0), (1, STREAM, 3.0)
    before, after = asked(one_factor, first, weak), asked(one_factor, (2, STREAM, 1.0), first, weak)
    mean, waiting = before[1].clone(), 5.0 ** -np.log(2)
    # The mean leans to what waits by softplus(-1), and the item is asked for besides.
    assert before[2] == pytest.approx(float(mean) * np.log1p(np.exp(-1)) + waiting, rel=1e-5)
    assert after[1] == pytest.approx(float(after[2]), rel=1e-6)  # both in the mean, neither beside it
    same = asked(one_factor, (2, STREAM, 1.0), first, (3, WEAK, 4.0))
    assert same[3] > waiting


def test_a_stream_once_more_does_not_change_the_taste(one_factor):
    """What it says of the kind of history may: how much the taste counts."""
    streams = [(1, STREAM, 2.0), (2, STREAM, 3.0)]
    once, again = (asked(one_factor, *more, *streams) for more in ([], [(2, STREAM, 0.5), (2, STREAM, 1.0)]))
    expected = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64).sqrt()
    for found in (once, again):
        torch.testing.assert_close(found / found.norm(), expected, atol=1e-6, rtol=0)


def test_categories_are_counted_once_an_item(one_factor):
    context = ItemContext(
        torch.zeros(4, 3), torch.zeros(4, NUM_TRAITS), (torch.eye(4),), torch.eye(4, 2, dtype=torch.bool)
    )
    often = [(0, STREAM, 2.0), (0, STREAM, 3.0), (1, STREAM, 4.0), (2, WEAK, 5.0)]
    with torch.no_grad():
        found = one_factor.user_vectors(history_of(*often), torch.zeros(1, 0, dtype=torch.bool), context)
        expected = one_factor.user_categories.sum(0) / 2
    torch.testing.assert_close(found[0, 7:], expected)


def test_users_are_as_they_were_when_only_their_own_items_are_looked_at(tastes):
    """Items grow older between a refresh and a request; only those of the history are."""
    fitted = fit(*tastes)
    blended = fitted.model.blended
    later = AS_OF + timedelta(days=3)
    node = torch.tensor([[3, 1, 3], [0, 5, 0]])
    slot, age = torch.tensor([[0, 0, 2], [0, -1, -1]]), torch.tensor([[1.0, 5.0, 9.0], [2.0, 0.0, 0.0]])
    history = HistoryBatch(node, slot, age)
    context = blended.context.rows(torch.arange(len(ITEMS)))
    context.traits[:, :2] += 3 * (context.traits[:, :2] >= 0)
    profile = torch.zeros(2, 0, dtype=torch.bool)
    with torch.no_grad():
        expected = blended.blend.user_vectors(history, profile, context, skips=True)
    assert torch.allclose(blended.user_vectors(history, profile, later), expected, atol=1e-6)


@pytest.mark.parametrize("last", [True, False])
def test_the_hgnn_weighs_what_its_vectors_tell_of_days_that_it_has_not_seen(tastes, last):
    """Vectors of the past know users' tastes. Those of the last days, which nothing has seen, know them or do not."""
    known = np.zeros((NUM_ITEMS, 3), dtype=np.float32)
    known[np.arange(NUM_ITEMS), np.arange(NUM_ITEMS) % 2] = 1.0
    unknown = known[np.random.default_rng(0).permutation(NUM_ITEMS)]

    def early_at(moment):
        return known if last or moment < ago(8) else unknown

    fitted = fit(*tastes, vectors_at=lambda _: known, early_at=early_at)
    blend = fitted.model.blended.blend
    *_, hgnn, _ = (float(part.mean()) for part in blend.get_buffer("scale").split(blend.part_dims))
    assert hgnn > 0.8 if last else hgnn < 0.6


def test_parts_are_weighed_for_those_who_have_a_history(tastes):
    fitted = fit(*tastes, steps=5)
    blended = fitted.model.blended
    known, nobody = history_of((3, 0, 2.0)), history_of(length=1)
    both = HistoryBatch(
        *(torch.cat(pair) for pair in zip(*(vars(h).values() for h in (known, nobody)), strict=True))
    )
    profile = torch.zeros(2, 0, dtype=torch.bool)
    parts = blended.blend.part_dims
    blended.blend.set_weights(torch.ones(len(parts)))
    before = blended.user_vectors(both, profile, AS_OF)
    blended.blend.set_weights(torch.arange(1.0, len(parts) + 1))
    after = blended.user_vectors(both, profile, AS_OF)
    assert before[0, : parts[0]].any() and before[1, : parts[0]].any()
    for k, (one, other) in enumerate(zip(before[0].split(parts), after[0].split(parts), strict=True)):
        assert torch.allclose(other, (k + 1) * one)
    assert torch.equal(after[1], before[1])


def waves():
    """Forty users hear of one item after the other: half of them stream it within a week of its day."""
    rng = np.random.default_rng(5)
    return [
        stream(f"u{user:02}", item, max(float(59 - 2.5 * i - rng.uniform(0, 7)), 0.01))
        for user in range(40)
        for i, item in enumerate(ITEMS)
        if rng.random() < 0.5
    ]


@pytest.fixture(scope="module")
def rising(tmp_path_factory):
    root = tmp_path_factory.mktemp("rising")
    return read(make_warehouse(root, catalogue(*ITEMS, published_at=ago(300)), waves()))


def test_the_general_level_is_learned_first_where_the_last_days_are_likelier_so(tastes, rising):
    """Where all stream what is rising, which vectors of the past have seen coming; not where all is taste."""

    def vectors_at(moment, days=5):
        soon = 59 - 2.5 * np.arange(NUM_ITEMS) > (AS_OF - moment).days - days
        return np.eye(2, dtype=np.float32)[soon.astype(int)]

    def early_at(moment):
        return vectors_at(moment, days=5 if moment < ago(8) else 0)

    assert fit(*rising, vectors_at=vectors_at, early_at=early_at).model.blended.blend.sizes.level_first
    assert not fit(*tastes).model.blended.blend.sizes.level_first


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
