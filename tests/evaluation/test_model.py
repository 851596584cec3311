"""The model under evaluation: what it knows, what a change does to it, and that it is what is served."""

import json
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import QUICK
from worlds import (
    AS_OF,
    MADE_DAYS,
    add_events,
    add_items,
    ago,
    catalogue,
    made_world,
    make_warehouse,
    split_at,
    stream,
    text_vectors,
)

import gfm_store
from gfm_store.config import BlendConfig, Config
from gfm_store.evaluation import model as model_module
from gfm_store.evaluation.ablations import ABLATIONS
from gfm_store.evaluation.model import (
    NO_GRAPH,
    NOTHING,
    Change,
    Space,
    StandIn,
    StaticAt,
    fit_space,
    fit_static_at,
    standing_in,
)
from gfm_store.evaluation.ranking import rank
from gfm_store.evaluation.split import Split
from gfm_store.evaluation.views import candidate_sets
from gfm_store.lifecycle import refresh
from gfm_store.static_layer.newcomers import KnownTexts
from gfm_store.static_layer.structure import unit
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes

TINY = Config.model_validate(QUICK | {"threads": 1, "device": "cpu"})
TOWERS = Change(
    "towers", configure=lambda config: config.model_copy(update={"blend": BlendConfig(enabled=False)})
)
"""The papers' in place of the blend."""


@dataclass(frozen=True)
class Fitted:
    split: Split
    static: StaticAt
    space: Space


def fit(root, as_of, change=NOTHING, static_as_of=None):
    split = split_at(root, as_of, MADE_DAYS)
    with open_warehouse(root) as warehouse:
        static = fit_static_at(warehouse, split, static_as_of or as_of, TINY, change)
        return Fitted(split, static, fit_space(warehouse, split, TINY, static, change))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The made world, its cut, and the model fitted at it."""
    root = tmp_path_factory.mktemp("made") / "warehouse"
    as_of = made_world(root)
    return root, as_of, fit(root, as_of)


@pytest.fixture(scope="module")
def planted(made, tmp_path_factory):
    """A copy of the made world with events of all kinds, old and new users and items, planted after the cut."""
    root, as_of, before = made
    copy = tmp_path_factory.mktemp("planted") / "warehouse"
    shutil.copytree(root, copy)
    known = before.split.item.filter(before.split.known)["item_id"].to_pylist()
    new = ("aaa", "zzz")
    add_items(
        copy,
        [
            row
            for name in new
            for row in catalogue(name, title=f"All of {name}", genres=["rare"], language="xx")
        ],
    )
    users = [*before.split.user_id.to_pylist()[::3], "a_new_user", "z_new_user"]
    kinds = ("stream", "follow", "preview", "intent_to_pay", "skip")
    add_events(
        copy,
        [
            (user, item, kind, as_of + timedelta(hours=5 * i + 11 * j))
            for user in users
            for i, item in enumerate((*known[::9], *new))
            for j, kind in enumerate(kinds)
        ],
    )
    return copy


def users_in(after, before):
    """Positions in `after` of the users of `before`."""
    place = {user: i for i, user in enumerate(after.user_id.to_pylist())}
    return np.array([place[user] for user in before.user_id.to_pylist()])


def lists_of(fitted, users):
    sets = [one for one in candidate_sets(fitted.split) if "catalogue known" not in one.name]
    found = rank(fitted.split, sets, [users] * len(sets), fitted.space.scorer())
    return {name: ranked[users] for name, ranked in found.items()}


def assert_same_model(before, after):
    """The same bits for whatever was known at the cut: weights, vectors, scores, lists."""
    known = before.split.known
    count = int(known.sum())
    assert count == after.split.known.sum()
    np.testing.assert_array_equal(after.static.vectors[:count], before.static.vectors[:count])
    assert after.static.curve == before.static.curve
    assert after.space.curves == before.space.curves
    weights, again = (
        (one.towers or one.blended.blend).state_dict() for one in (before.space.model, after.space.model)
    )
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    users, same = np.arange(len(before.split.user_id)), users_in(after.split, before.split)
    # More users go through the model at once, which may move the last bit of a float.
    np.testing.assert_allclose(after.space.users[same], before.space.users, rtol=1e-5, atol=1e-6)
    # The last dimension only makes norms equal; it is 0 for users.
    assert (before.space.users[:, -1] == 0).all()
    np.testing.assert_array_equal(after.space.items[:count, :-1], before.space.items[:count, :-1])
    lists, again = lists_of(before, users), lists_of(after, same)
    assert list(lists) == ["available", "type:audiobook", "type:music", "type:podcast", "cold"]
    for name, ranked in lists.items():
        np.testing.assert_array_equal(again[name], ranked, err_msg=name)


@pytest.mark.parametrize("change", [NOTHING, TOWERS], ids=["blend", "towers"])
def test_events_after_the_cut_change_nothing_of_the_model(made, planted, change):
    root, as_of, before = made
    if change is TOWERS:
        before = fit(root, as_of, change)
    assert (before.space.model.towers is not None) == (change is TOWERS)
    after = fit(planted, as_of, change)
    assert len(after.split.target_node) > len(before.split.target_node) + 100
    assert after.split.item.num_rows == before.split.item.num_rows + 2
    assert np.ptp(before.space.scorer()(np.array([0]))) > 0
    assert len(before.static.curve) >= 2
    assert_same_model(before, after)


def test_the_guard_catches_a_static_layer_that_is_of_a_later_moment(made, planted):
    root, as_of, _ = made
    later = as_of + timedelta(days=4)
    # Items that only come inside the horizon are nodes of both graphs then; it is the edges that tell.
    before, after = (fit(one, as_of, static_as_of=later) for one in (root, planted))
    with pytest.raises(AssertionError):
        assert_same_model(before, after)


def test_shapes_and_what_belongs_to_whom(made):
    _, _, fitted = made
    split, space = fitted.split, fitted.space
    assert fitted.static.vectors.shape == (split.item.num_rows, 32)
    assert space.users.shape == (len(split.user_id), space.model.dim)
    assert space.items.shape == (split.item.num_rows, space.model.dim)
    norms = np.linalg.norm(space.items.astype(np.float64), axis=1)
    assert norms == pytest.approx(np.full(len(norms), norms[0]), rel=1e-4)
    assert np.linalg.norm(fitted.static.vectors, axis=1) == pytest.approx(
        np.ones(split.item.num_rows), rel=1e-5
    )
    users = np.array([5, 0, 7])
    np.testing.assert_array_equal(space.scorer()(users), space.users[users] @ space.items.T)
    assert list(space.curves) == ["HGNN", "two-tower"]
    assert space.curves["HGNN"] == fitted.static.curve
    assert {name for step in space.curves["two-tower"] for name in step} == {"loss"}
    types = np.array(space.model.item_types)[space.item_type]
    assert types.tolist() == split.item["item_type"].to_pylist()


def test_users_without_history_get_one_vector_and_others_their_own(made):
    _, _, fitted = made
    events = fitted.space.histories.user_event["user_index"].to_pylist()
    assert fitted.space.histories.user_node["user_id"].to_pylist() == fitted.split.user_id.to_pylist()
    known = set((fitted.split.known_user >= 0).nonzero()[0].tolist())
    assert set(events) <= known
    vectors = {fitted.space.users[user].tobytes() for user in set(events)}
    assert len(vectors) == len(set(events))


def test_items_of_the_horizon_enter_by_their_text(made):
    root, as_of, fitted = made
    split = fitted.split
    later = (~split.known).nonzero()[0]
    assert len(later) == 4
    # The same text gives the same vector, whoever has it.
    text = split.text_vector.copy()
    text[later] = text[later[0]]
    written = np.array(split.item["text"].to_pylist(), dtype=object)
    written[later] = written[later[0]]
    item = split.item.set_column(
        split.item.schema.get_field_index("text"), "text", pa.array(written, pa.string())
    )
    with open_warehouse(root) as warehouse:
        found = fit_static_at(warehouse, replace(split, item=item, text_vector=text), as_of, TINY)
    np.testing.assert_allclose(found.vectors[later], np.tile(found.vectors[later[0]], (4, 1)), atol=1e-6)
    np.testing.assert_array_equal(found.vectors[: later[0]], fitted.static.vectors[: later[0]])


def test_an_item_number_is_the_same_item_in_both_layers(tmp_path):
    """Names that sort before all others come in the horizon: their numbers are not those of the names' order."""
    items = [
        row
        for name in ("p1", "p2", "b1", "b2", "a0", "a1")
        for row in catalogue(name, title=f"Of {name}", language="en")
    ]
    events = [
        stream(f"u{u}", item, 20 - u / 10 - i)
        for u in range(20)
        for i, item in enumerate(("p1", "p2", "b1", "b2"))
        if (u + i) % 4
    ]
    events += [stream("u0", item, -1) for item in ("a0", "a1", "p1")] + [stream("u1", "a0", -1)]
    make_warehouse(tmp_path, items, events)
    fitted = fit(tmp_path, AS_OF)
    assert fitted.split.item["item_id"].to_pylist() == ["b1", "b2", "p1", "p2", "a0", "a1"]
    # A type that comes later is unknown to the item tower.
    assert fitted.space.item_type.tolist() == [0, 0, 1, 1, 2, 2]
    events = fitted.space.histories.user_event
    named = {fitted.split.item["item_id"][node].as_py() for node in events["node"].to_pylist()}
    assert named == {"p1", "p2", "b1", "b2"}
    with open_warehouse(tmp_path) as warehouse:
        read_item_nodes(warehouse, AS_OF)
        streams = warehouse.select("history/item_day", as_of=AS_OF)
    # Items without streams know no popularity; each of the others has the number that counts its own.
    assert set(streams["node"].to_pylist()) == {0, 1, 2, 3}


def test_what_is_learned_reads_the_vectors_of_its_time(made, monkeypatch):
    """As a world cut at that moment gives them; at the cut, the published ones."""
    root, as_of, fitted = made
    handed, whole = [], model_module.fit_dynamic
    monkeypatch.setattr(model_module, "fit_dynamic", lambda *given: handed.append(given) or whole(*given))
    with open_warehouse(root) as warehouse:
        fit_space(warehouse, fitted.split, TINY, fitted.static)
        item_node, _, vectors_at = handed[0][:3]
        ids = fitted.split.item["item_id"].to_pylist()
        place = [ids.index(item_id) for item_id in item_node["item_id"].to_pylist()]
        read_item_nodes(warehouse, as_of)
        now, before = vectors_at(as_of), vectors_at(as_of - timedelta(days=12))
    np.testing.assert_array_equal(now.vectors, fitted.space.vectors[place])
    warm = fitted.split.warm[place]
    np.testing.assert_allclose(now.vectors[warm], fitted.static.vectors[place][warm], atol=1e-4)
    assert np.abs(before.vectors - now.vectors).max() > 1e-2
    assert np.abs(before.early - before.vectors).max() > 1e-2  # by weights that have not seen the last days


def test_a_static_layer_comes_back_whole_from_its_parts(made):
    _, _, fitted = made
    static = fitted.static
    facts = json.loads(json.dumps(static.facts()))
    again = StaticAt.restored(static.arrays(), facts)
    assert again.fingerprint == static.fingerprint
    assert (again.item_types, again.curve) == (static.item_types, static.curve)
    one, other = static.encoder, again.encoder
    assert (one.graph, one.window_days, one.min_users, one.seed) == (
        other.graph,
        other.window_days,
        other.min_users,
        other.seed,
    )
    np.testing.assert_array_equal(other.frame, one.frame)
    weights, early = one.early.state_dict(), other.early.state_dict()
    assert all(torch.equal(weights[name], early[name]) for name in weights)
    texts = fitted.split.item["text"].to_pylist()
    text = one.read(fitted.split.text_vector, texts)
    np.testing.assert_array_equal(other.read(fitted.split.text_vector, texts), text)
    np.testing.assert_array_equal(other.newcomers(text), one.newcomers(text))
    place = np.array([3, 0])
    np.testing.assert_array_equal(static.numbered(place).vectors, static.vectors[place])
    np.testing.assert_array_equal(static.numbered(place).encoder.frame, one.frame[place])


def test_a_frozen_static_layer_makes_fresh_vectors_of_what_it_has_seen_since(made):
    root, as_of, _ = made
    split = split_at(root, as_of, MADE_DAYS)
    with open_warehouse(root) as warehouse:
        static = fit_static_at(warehouse, split, as_of - timedelta(days=10), TINY)
        space = fit_space(warehouse, split, TINY, static)
    known = split.known
    assert np.abs(space.vectors - static.vectors)[known].max() > 1e-2
    text, warm = static.encoder.read(split.text_vector, split.item["text"].to_pylist()), known & split.warm
    told = KnownTexts.of(text[warm]).tell(static.vectors[~known], text[~known], space.vectors[warm])
    np.testing.assert_allclose(space.vectors[~known], told, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(space.vectors[warm], axis=1), 1.0, rtol=1e-5)


# What a change does.


def test_without_hgnn_the_vectors_are_the_text(made):
    root, as_of, _ = made
    fitted = fit(root, as_of, NO_GRAPH)
    words = fitted.static.vectors[:, 8:]
    assert words.shape[1] == TINY.hgnn.lexical_dim and words.any()
    read = np.hstack([fitted.split.text_vector, unit(words)])
    np.testing.assert_allclose(fitted.static.vectors, unit(read), atol=1e-6)
    assert fitted.static.curve == []
    assert list(fitted.space.curves) == ["two-tower"]
    assert fitted.space.model.sizes.dim == 8 + TINY.hgnn.lexical_dim


def test_without_text_what_the_text_says_does_not_matter(made):
    root, as_of, whole = made
    with open_warehouse(root) as warehouse:
        found = []
        for text in (whole.split.text_vector, np.roll(whole.split.text_vector, 7, axis=0)):
            split = replace(whole.split, text_vector=text)
            static = fit_static_at(warehouse, split, as_of, TINY, Change("no text", text=False))
            found.append((static, fit_space(warehouse, split, TINY, static, Change("no text", text=False))))
    np.testing.assert_array_equal(found[0][0].vectors, found[1][0].vectors)
    np.testing.assert_array_equal(found[0][1].users, found[1][1].users)
    assert not np.array_equal(found[0][0].vectors, whole.static.vectors)
    assert len({row.tobytes() for row in found[0][0].vectors}) == whole.split.item.num_rows


def test_a_homogeneous_graph_has_one_relation_and_the_two_tower_keeps_all_types(made):
    root, as_of, whole = made
    change = next(one.change for one in ABLATIONS if one.name == "homogeneous graph")
    fitted = fit(root, as_of, change)
    assert fitted.static.encoder.hgnn.num_types == 1
    assert fitted.space.model.item_types == ["audiobook", "music", "podcast"]
    assert not np.array_equal(fitted.static.vectors, whole.static.vectors)


def test_settings_are_changed_for_both_layers(made):
    root, as_of, _ = made

    def smaller(config):
        hgnn = config.hgnn.model_copy(update={"hidden_dim": 16})
        return config.model_copy(
            update={"hgnn": hgnn, "two_tower": config.two_tower.model_copy(update={"layers": (16,)})}
        )

    fitted = fit(root, as_of, Change("smaller", configure=smaller))
    assert fitted.static.vectors.shape[1] == 16
    assert fitted.space.model.sizes.layers == (16,)


def test_towers_take_the_place_of_the_blend(made):
    root, as_of, _ = made
    space = fit(root, as_of, TOWERS).space
    assert list(space.curves) == ["HGNN", "towers"]
    assert [set(epoch) for epoch in space.curves["towers"]] == [{"loss", "validation"}] * 3
    sizes = space.model.sizes
    assert 0 < space.model.dim - sizes.layers[-1] - sizes.num_windows <= 8  # padding


STRONG = StandIn("interaction_event", "evaluation/strong_event")


def test_stand_ins_are_read_by_both_layers_and_gone_afterwards(made):
    root, as_of, _ = made
    fitted = fit(root, as_of, Change("strong", stand_ins=(STRONG,)))
    assert set(fitted.space.histories.user_event["signal"].to_pylist()) == {0, 2}
    with open_warehouse(root) as warehouse:
        count = warehouse.scalar("SELECT count(*) FROM interaction_event")
        split = fitted.split
        none = StandIn("interaction_event", "evaluation/event_of_type", {"item_type": "no such type"})
        with pytest.raises(gfm_store.errors.EmptyWarehouseError):
            fit_static_at(warehouse, split, as_of, TINY, Change("none", static_stand_ins=(none,)))
        assert warehouse.scalar("SELECT count(*) FROM interaction_event") == count


def test_what_the_static_layer_alone_reads_leaves_the_dynamic_one_its_events(made):
    root, as_of, whole = made
    fitted = fit(root, as_of, Change("withheld", static_stand_ins=(withheld("music", 0, as_of),)))
    assert fitted.space.histories.user_event.equals(whole.space.histories.user_event)
    assert not np.array_equal(fitted.static.vectors, whole.static.vectors)


def withheld(item_type, per_item, as_of):
    parameters = {"item_type": item_type, "per_item": per_item, "as_of": as_of}
    return StandIn("interaction_event", "evaluation/event_but_few", parameters)


def test_events_after_the_cut_change_nothing_of_a_model_from_which_a_type_is_withheld(made, planted):
    _, as_of, _ = made
    change = Change("few", stand_ins=(withheld("music", 5, as_of),))
    assert_same_model(*(fit(root, as_of, change) for root in (made[0], planted)))


@pytest.fixture
def undated(tmp_path):
    """Items without dates: b9 comes inside the horizon, b8 after it; the evaluation stands before the newest event."""
    names = [f"{kind}{i}" for kind in "pb" for i in range(6)]
    events = [
        stream(f"u{u}", names[(u * 5 + i * i) % 12], 30 - u / 2 - i) for u in range(20) for i in range(4)
    ]
    events += [("u3", "p6", "preview", ago(-40)), stream("u1", "b9", -2), stream("u2", "b8", -40)]
    make_warehouse(
        tmp_path,
        [row for name in (*names, "b8", "b9", "p6") for row in catalogue(name, title=f"Of {name}")],
        events,
    )
    return tmp_path


@pytest.mark.parametrize("change", [withheld("book", 0, AS_OF), STRONG], ids=["withheld", "strong"])
def test_an_item_that_comes_after_the_horizon_is_not_known_by_its_missing_events(undated, change):
    fitted = fit(undated, AS_OF, Change("other events", stand_ins=(change,)))
    ids = fitted.split.item["item_id"].to_pylist()
    assert ids[-1] == "b9"
    assert not {"b8", "p6"} & set(ids)
    assert len(fitted.static.vectors) == len(fitted.space.items) == len(ids)


def test_an_item_of_the_horizon_is_not_known_to_the_model_by_its_missing_events(undated):
    known = split_at(undated, AS_OF, 60)  # the horizon holds all of them
    assert known.item["item_id"].to_pylist()[-3:] == ["b8", "b9", "p6"]
    change = withheld("book", 0, AS_OF)
    with open_warehouse(undated) as warehouse:
        whole = read_item_nodes(warehouse, AS_OF)["item_id"].to_pylist()
        with standing_in(warehouse, AS_OF, (change,)):
            assert warehouse.scalar("SELECT count(*) FROM interaction_event WHERE item_id LIKE 'b%'") == 0
            assert read_item_nodes(warehouse, AS_OF)["item_id"].to_pylist() == whole


# What is measured is what is served.


def test_the_model_under_evaluation_recommends_what_is_served(made, tmp_path, monkeypatch):
    root, as_of, fitted = made
    copy = tmp_path / "warehouse"
    shutil.copytree(root, copy)
    monkeypatch.setattr(refresh, "encode_items", lambda item_text, *_: text_vectors(item_text))
    refresh.refresh_dynamic(copy, TINY, as_of)
    split, space = fitted.split, fitted.space
    everybody = np.arange(len(split.user_id))
    has_history = np.isin(everybody, space.histories.user_event["user_index"].to_numpy())
    users = everybody[has_history]
    with gfm_store.open(copy) as store:
        names = split.user_id.to_pylist()
        served = store.recommend([names[user] for user in users], k=10, as_of=as_of).to_pylist()
        fixed = store.recommend(
            [names[user] for user in users[:5]], k=5, as_of=as_of, item_type="music"
        ).to_pylist()
        strangers = store.recommend([names[user] for user in everybody[~has_history]], k=10, as_of=as_of)
    ids = split.item["item_id"].to_pylist()
    sets = [one for one in candidate_sets(split) if one.name in ("available", "type:music")]
    lists = rank(split, sets, [everybody] * 2, space.scorer())
    for rows, ranked, length in ((served, lists["available"], 10), (fixed, lists["type:music"], 5)):
        assert {row["source"] for row in rows} == {"model"}
        mine = [
            (split.user_id[user].as_py(), place + 1, ids[node], float(space.users[user] @ space.items[node]))
            for user in users[: len(rows) // length]
            for place, node in enumerate(ranked[user][:length])
        ]
        assert [(row["user_id"], row["rank"], row["item_id"]) for row in rows] == [one[:3] for one in mine]
        assert [row["score"] for row in rows] == pytest.approx([one[3] for one in mine], abs=1e-4)
    assert len(users) > 30
    assert set(strangers["source"].to_pylist()) == {"popular"}
    shown = [[ids[node] for node in lists["available"][user][:10]] for user in everybody[~has_history]]
    assert strangers["item_id"].to_pylist() == [item for one in shown for item in one]
    assert len({tuple(one) for one in shown}) > 1  # by country
