"""How far the space moved: known movements are found."""

from dataclasses import replace

import numpy as np
import pytest
from clones import clone

from gfm_store.errors import NotPublishedError
from gfm_store.lifecycle import comparison
from gfm_store.lifecycle.comparison import compare
from gfm_store.lifecycle.versions import find_version, read_versions
from gfm_store.vectors.static_version import static_folder
from gfm_store.vectors.version import StaticRecord


def test_a_version_and_its_stretched_copy_are_the_same_space(world):
    first = read_versions(world)[0].record.version
    clone(world, "d-b", stretch=2)
    found = compare(world, first, "d-b")
    assert found.item_overlap == found.retrieval_overlap == found.list_overlap == found.stale_overlap == 1
    assert found.rank_correlation == pytest.approx(1)
    assert found.movers == ()
    assert found.settings == {}
    assert found.n_shared_items == found.before.record.n_items
    embedded = find_version(world, first).record.static_version
    assert found.n_shared_known == StaticRecord.read(static_folder(world, embedded)).n_items
    assert found.n_shared_users == found.before.record.n_users


def test_a_mirrored_copy_ranks_the_other_way_round(world):
    first = read_versions(world)[0].record.version
    clone(world, "d-b", stretch=-1)
    found = compare(world, first, "d-b")
    assert found.rank_correlation == pytest.approx(-1)
    assert found.retrieval_overlap == 1  # nearest by cosine: all were mirrored
    assert found.list_overlap < 0.2
    gains = [mover.share_after - mover.share_before for mover in found.movers]
    assert len(gains) == 2 * comparison.MOVERS
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 0 > gains[-1]
    assert all(mover.title for mover in found.movers)


def test_neighbours_among_points_made_by_hand():
    angles = np.linspace(0, 3, 40)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert comparison._neighbour_overlap([circle, circle @ np.array([[0, 1], [-1, 0]], np.float32)]) == 1
    shuffled = circle[np.random.default_rng(0).permutation(40)]
    chance = comparison._neighbour_overlap([circle, shuffled])
    assert 0.1 < chance < 0.5  # 10 of 39
    assert comparison._neighbour_overlap([circle[:10], circle[:10]]) is None


def test_too_little_to_compare():
    nothing = np.zeros((0, 4), np.float32)
    assert comparison._overlap(np.zeros((0, 10), int), np.zeros((0, 10), int)) is None
    assert comparison._rank_correlation([nothing, nothing], [nothing, nothing]) is None


def test_what_made_a_version_is_told_where_it_differs(published):
    one = read_versions(published)[0]
    settings = one.record.origin.settings | {"seed": 7}
    origin = one.record.origin.model_copy(update={"package": "9.0+abc", "settings": settings})
    other = replace(one, record=one.record.model_copy(update={"origin": origin}))
    package = one.record.origin.package
    assert comparison._settings(one, other) == {"program": (package, "9.0+abc"), "seed": (0, 7)}


def test_an_unknown_version(published):
    first = read_versions(published)[0].record.version
    with pytest.raises(NotPublishedError, match="'d-x' is not kept"):
        compare(published, first, "d-x")
