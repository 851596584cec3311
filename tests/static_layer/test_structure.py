"""Structural coordinates against dense linear algebra and a world of two tastes."""

import numpy as np
import pytest
from scipy import sparse

from gfm_store.static_layer.structure import structural_coordinates, truncated_svd, turned_to, unit


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_all_singular_vectors_give_the_gram_matrix(shape):
    dense = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    factors = truncated_svd(sparse.csr_array(dense), min(shape), seed=0)
    np.testing.assert_allclose(factors @ factors.T, dense.T @ dense, atol=1e-3)


def test_a_few_singular_vectors_are_the_strongest():
    rng = np.random.default_rng(1)
    dense = (
        rng.normal(size=(60, 4)) @ rng.normal(size=(4, 40)) * 3 + rng.normal(size=(60, 40)) * 0.1
    ).astype(np.float32)
    _, values, right = np.linalg.svd(dense, full_matrices=False)
    best = (right[:4].T * values[:4] ** 2) @ right[:4]
    factors = truncated_svd(sparse.csr_array(dense), 4, seed=0)
    np.testing.assert_allclose(factors @ factors.T, best, atol=1e-2 * np.abs(best).max())


def test_factors_beyond_the_rank_are_zero():
    factors = truncated_svd(sparse.csr_array(np.eye(3, dtype=np.float32)), 8, seed=0)
    assert factors.shape == (3, 8)
    np.testing.assert_array_equal(factors[:, 3:], 0.0)
    assert not truncated_svd(sparse.csr_array((5, 3), dtype=np.float32), 4, seed=0).any()


@pytest.fixture
def tastes():
    """(user, node) of two tastes, the parity; every item of a taste is met by other users, item 8 by nobody."""
    rng = np.random.default_rng(2)
    return np.array([(user, 2 * item + user % 2) for user in range(80) for item in rng.permutation(4)[:3]]).T


def test_items_of_the_same_users_are_alike(tastes):
    coordinates = structural_coordinates(*tastes, 9, 2, seed=0)
    assert coordinates.dtype == np.float32
    cosine = coordinates @ coordinates.T
    same = np.add.outer(np.arange(8), np.arange(8)) % 2 == 0
    assert cosine[:8, :8][same].min() > 0.9
    assert cosine[:8, :8][~same].max() < 0.1
    np.testing.assert_array_equal(coordinates[8], 0.0)
    np.testing.assert_allclose(np.linalg.norm(coordinates[:8], axis=1), 1.0, rtol=1e-5)


def test_coordinates_are_the_singular_vectors_of_counts_weighed_down(tastes):
    user, node = tastes
    matrix = np.zeros((80, 9))
    matrix[user, node] = 1.0
    by_user, by_item = matrix.sum(1, keepdims=True), np.maximum(matrix.sum(0, keepdims=True), 1)
    weighed = matrix / np.sqrt(by_user * by_item)
    _, values, right = np.linalg.svd(weighed, full_matrices=False)
    expected = unit(right[:3].T * values[:3])
    found = structural_coordinates(user, node, 9, 3, seed=0)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


def test_neither_the_order_nor_the_numbers_of_users_matter(tastes):
    user, node = tastes
    order = np.random.default_rng(4).permutation(len(user))
    first, again = (
        structural_coordinates(u, n, 9, 3, seed=0) for u, n in ((user, node), (79 - user[order], node[order]))
    )
    np.testing.assert_allclose(again @ again.T, first @ first.T, atol=1e-3)


def test_nobody_gives_nothing():
    nothing = np.zeros(0, dtype=np.int64)
    np.testing.assert_array_equal(structural_coordinates(nothing, nothing, 3, 4, seed=0), np.zeros((3, 4)))


def test_turning_undoes_a_rotation(tastes):
    reference = structural_coordinates(*tastes, 9, 3, seed=0)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
    turned = turned_to((reference @ rotation).astype(np.float32), reference)
    assert turned.dtype == np.float32
    assert np.abs(reference @ rotation - reference).max() > 0.1
    np.testing.assert_allclose(turned, reference, atol=1e-5)


def test_turning_keeps_lengths_and_angles(tastes):
    random = np.random.default_rng(6).standard_normal((9, 3)).astype(np.float32)
    turned = turned_to(random, structural_coordinates(*tastes, 9, 3, seed=0))
    np.testing.assert_allclose(turned @ turned.T, random @ random.T, atol=1e-4)


def test_half_of_the_users_speak_in_the_frame_of_all(tastes):
    """What the HGNN reads without a fold must mean what it means with everybody."""
    user, node = tastes
    whole = structural_coordinates(user, node, 9, 2, seed=0)
    half = structural_coordinates(user[user < 40], node[user < 40], 9, 2, seed=1)
    assert (turned_to(half, whole) * whole).sum(1)[:8].min() > 0.9
    assert (turned_to(-half[:, ::-1], whole) * whole).sum(1)[:8].min() > 0.9


def test_rows_get_unit_length_and_zero_stays_zero():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])
