"""A new space lies as the one before did, and ranks as it would have anyway."""

import subprocess
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.lifecycle import comparison
from gfm_store.lifecycle.alignment import align
from gfm_store.lifecycle.comparison import compare
from gfm_store.lifecycle.frozen import FrozenLayer
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.versions import read_versions
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import dynamic_folder, open_table, published_folder
from gfm_store.vectors.static_version import current_static, read_table, static_folder
from gfm_store.warehouse.connection import newest_event, open_warehouse
from gfm_store.warehouse.graph import read_item_nodes


def ids(*numbers):
    return pa.chunked_array([[f"i{n}" for n in numbers]])


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_turned_space_is_turned_back():
    old = random(40, 8)
    turn = np.linalg.qr(random(8, 8))[0]
    rotation, found = align("s-1", ids(*range(40)), old @ turn, ids(*range(40)), old)
    assert np.allclose(old @ turn @ rotation, old, atol=1e-5)
    assert found.n_items == 40
    assert found.cosine_before < 0.6
    assert found.cosine_after == pytest.approx(1, abs=1e-5)


def test_only_shared_items_count_whatever_their_order():
    old = random(40, 4)
    new = np.concatenate([old[::-1][:30], 100 * random(5, 4)])
    rotation, found = align("s-1", ids(*range(39, 9, -1), 50, 51, 52, 53, 54), new, ids(*range(40)), old)
    assert np.allclose(rotation, np.eye(4), atol=1e-5)
    assert found.n_items == 30


def test_nothing_to_align_to():
    assert align("s-1", ids(1, 2), random(2, 4), ids(3, 4), random(2, 4)) is None
    assert align("s-1", ids(1, 2), random(2, 4), ids(1, 2), random(2, 8)) is None


@pytest.fixture(scope="module")
def moved(published, quick, tmp_path_factory):
    """A world with an earlier version and, on a new static version, a later one aligned to it; the names of both."""
    root = tmp_path_factory.mktemp("moved") / "warehouse"
    subprocess.run(["cp", "-a", published, root], check=True)
    with open_warehouse(root) as warehouse:
        as_of = newest_event(warehouse) - timedelta(days=2)
    other = quick.model_copy(update={"seed": 9})
    first = read_versions(root)[0].record.version
    static = refresh_static(root, other, as_of)
    return root, first, refresh_dynamic(root, other, as_of), static


def test_both_layers_are_aligned_and_it_is_reported(moved):
    root, first, record, static = moved
    assert record.aligned.version == first
    assert record.follows == first
    assert static.aligned.version == read_versions(root)[0].static.version
    for turn in (record.aligned, static.aligned):
        assert turn.cosine_after > turn.cosine_before
        assert turn.n_items > 100


def test_user_vectors_of_the_version_before_stay_usable(moved):
    root, first, record, _ = moved
    found = compare(root, first, record.version)
    assert found.stale_overlap > 0.6
    unaligned = _stale_overlap_unaligned(root, first, record.version)
    assert found.stale_overlap > unaligned + 0.2


def _stale_overlap_unaligned(root, first, second):
    """The same overlap, had the new space not been turned."""
    folder = published_folder(root)
    rotation = DynamicModel.load(dynamic_folder(root, second)).rotation.numpy()
    tables = [open_table(folder, "retrieval", v).to_table() for v in (first, second)]
    users = [open_table(folder, "user_vector", v).to_table() for v in (first, second)]
    _, items = comparison._shared(tables, "item_id")
    _, vectors = comparison._shared(users, "user_id")
    back = [np.column_stack([one[:, :-1] @ rotation.T, one[:, -1:]]) for one in (items[1], vectors[1])]
    return comparison._overlap(comparison._best(vectors[0], back[0]), comparison._best(back[1], back[0]))


def test_later_vectors_enter_the_turned_space(moved, quick):
    """The weights are turned, too: they give again what was published, and newcomers a place beside it."""
    root, _, _, static = moved
    table = read_table(static_folder(root, static.version), "item_embedding")
    vectors = to_numpy(table["vector"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with open_warehouse(root) as warehouse:
        item_node = read_item_nodes(warehouse, static.as_of)
        layer = FrozenLayer(warehouse, item_node, static, quick)
        again = layer.vectors_at(static.as_of).vectors
    assert item_node["item_id"].to_pylist() == table["item_id"].to_pylist()
    touched = np.linalg.norm(again, axis=1) > 0.999
    assert touched.mean() > 0.9
    assert np.allclose(again[touched], vectors[touched], atol=1e-4)
    # What nobody touched is told from its text beside the others, and so in the turned space, too.
    assert ((again * vectors).sum(axis=1)[~touched] > 0.4).all()
    # As if nothing but their text were known, items are near where they are: in the turned space, and only there.
    assert (layer._encoder.newcomers(layer._read) * vectors).sum(axis=1).mean() > 0.5


def test_turning_changes_no_score(moved):
    root, _, record, _ = moved
    model = DynamicModel.load(dynamic_folder(root, record.version))
    rotation = model.rotation.numpy()
    assert np.allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-5)
    users, items = random(5, model.dim), random(7, model.dim)
    users[:, -1] = 0
    before = users @ items.T
    assert np.allclose(model._turned(users.copy()) @ model._turned(items.copy()).T, before, atol=1e-4)
    assert (model._turned(users.copy())[:, -1] == 0).all()


def test_the_same_inputs_are_not_built_again_though_they_would_be_aligned_otherwise(moved, quick):
    root, _, record, static = moved
    other = quick.model_copy(update={"seed": 9})
    assert refresh_static(root, other, static.as_of) == static
    assert refresh_dynamic(root, other, record.as_of) == record
    assert current_static(root) == static
    assert static.inputs != static.version
    assert record.inputs != record.version
