"""Snapshots hold what was known at their moment, and never what they are asked for."""

from dataclasses import replace

import pytest
import torch
from fits import ITEMS, NUM_ITEMS, coordinates_at, events_of_tastes, fit, read
from worlds import ago, catalogue, make_warehouse, stream

from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.dynamic_layer.moments import Moments


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
