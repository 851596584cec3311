"""Linear factors against dense linear algebra and plain counting."""

import numpy as np
import pytest
from gfm_store.dynamic_layer.factors import LexicalFactors, interaction_factors, truncated_svd
from scipy import sparse


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


def test_items_of_the_same_users_are_alike():
    """Users of two tastes; every item of a taste is met by other users, item 8 by nobody."""
    rng = np.random.default_rng(2)
    pairs = [(user, 2 * item + user % 2) for user in range(80) for item in rng.permutation(4)[:3]]
    user, node = np.array(pairs * 2).T  # streams repeat
    factors = interaction_factors(user, node, 9, 2, seed=0)
    cosine = factors @ factors.T
    same = np.add.outer(np.arange(8), np.arange(8)) % 2 == 0
    assert cosine[:8, :8][same].min() > 0.9
    assert cosine[:8, :8][~same].max() < 0.1
    np.testing.assert_array_equal(factors[8], 0.0)
    np.testing.assert_array_equal(interaction_factors(user[::2], node[::2], 9, 2, seed=0)[8], 0.0)
    once = sorted(set(pairs))
    again = interaction_factors(*np.array(once).T, 9, 2, seed=0)
    np.testing.assert_allclose(again @ again.T, cosine, atol=1e-4)


def test_shared_words_make_items_alike():
    texts = ["sea salt snack", "salt snack", "garden chair", "garden chair blue", "", "unseen"]
    factors = LexicalFactors.fit(texts, 3, seed=0).of(texts)
    cosine = factors @ factors.T
    assert cosine[0, 1] > 0.9 and cosine[2, 3] > 0.9
    assert abs(cosine[0, 2]) < 0.1
    np.testing.assert_array_equal(factors[4:], 0.0)
    np.testing.assert_allclose(np.linalg.norm(factors[:4], axis=1), 1.0, rtol=1e-5)


def test_a_later_text_has_the_factors_of_its_words():
    lexical = LexicalFactors.fit(["sea salt", "salt snack", "garden chair", "blue garden chair"], 4, seed=0)
    same, near, unknown = lexical.of(["garden chair", "a chair, never seen", "quantum"])
    assert same @ lexical.of(["garden chair"])[0] == pytest.approx(1.0, rel=1e-5)
    assert near @ same > 0.5
    assert not unknown.any()


def test_without_shared_words_there_are_no_factors():
    lexical = LexicalFactors.fit(["one", "two"], 4, seed=0)
    np.testing.assert_array_equal(lexical.of(["one", "three"]), np.zeros((2, 4)))
    assert lexical.of([]).shape == (0, 4)
