"""A fitted model holds what its world holds, decides by days that it has not seen, and survives save and load."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from fits import ITEMS, NUM_ITEMS, coordinates_at, events_of_tastes, fit, read, users_of
from threadpoolctl import threadpool_info
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

from gfm_store.dynamic_layer import fitting
from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.dynamic_layer.model import DynamicModel


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


@pytest.fixture
def learned(monkeypatch):
    """Examples of each blend that is fitted, as they come: without the last days by both recipes, then with them."""
    seen, whole = [], fitting.fit_blend
    monkeypatch.setattr(
        fitting, "fit_blend", lambda examples, *how: seen.append(examples) or whole(examples, *how)
    )
    return seen


def test_each_snapshot_reads_the_vectors_of_its_own_moment(tastes, learned):
    asked = []

    def vectors_at(moment):
        asked.append((AS_OF - moment).days)
        return np.full((NUM_ITEMS, 3), asked[-1], dtype=np.float32)

    def early_at(moment):
        return np.full((NUM_ITEMS, 3), -(AS_OF - moment).days, dtype=np.float32)

    fitted = fit(*tastes, vectors_at=vectors_at, early_at=early_at, steps=1)
    assert asked == [0, 3, 7, 8, 13, 19, 24, 29]  # snapshots begin three days ago; seven days are held out
    trial, level_first, final = ([example.snapshot for example in examples] for examples in learned)
    assert level_first == trial
    assert [snapshot.day for snapshot in final] == [2, 7, 12, 18, 23, 28]
    # Three days before those held out, or more.
    assert [snapshot.day for snapshot in trial] == [12, 18, 23, 28]
    for snapshots, sign in ((final, 1), (trial, -1)):  # the trial reads early vectors alone
        for snapshot in snapshots:
            read = {float(value) for value in snapshot.context.factors[1].unique()}
            assert read == {sign * (snapshot.day + 1)}
    assert fitted.hgnn_vectors.max() == 0.0
    assert {float(value) for value in fitted.model.blended.context.factors[1].unique()} == {0.0}
    assert set(np.unique(fitted.held_out_vectors)) == {-7.0}


def test_the_trial_is_asked_for_nothing_of_the_held_out_days(tastes, learned):
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


def test_the_general_level_is_learned_first_where_the_last_days_are_likelier_so(tastes, rising):
    """Where all stream what is rising, which vectors of the past have seen coming; not where all is taste."""

    def vectors_at(moment, days=5):
        soon = 59 - 2.5 * np.arange(NUM_ITEMS) > (AS_OF - moment).days - days
        return np.eye(2, dtype=np.float32)[soon.astype(int)]

    def early_at(moment):
        return vectors_at(moment, days=5 if moment < ago(8) else 0)

    assert fit(*rising, vectors_at=vectors_at, early_at=early_at).model.blended.blend.sizes.level_first
    assert not fit(*tastes).model.blended.blend.sizes.level_first


def test_threads_and_repeatable_sums_hold_for_the_whole_fit(tastes, learned, monkeypatch):
    settings, whole, before = [], fitting.fit_blend, torch.get_num_threads()

    def told(*arguments):
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        settings.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), blas))
        return whole(*arguments)

    monkeypatch.setattr(fitting, "fit_blend", told)
    fit(*tastes, vectors_at=coordinates_at(events_of_tastes()), steps=5, threads=3)
    assert settings and all(one == (3, True, {3}) for one in settings)
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
