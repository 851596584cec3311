"""What a text tells of an item that nobody has touched."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from gfm_store.static_layer import newcomers
from gfm_store.static_layer.newcomers import PENALTIES, KnownTexts


def told_by_text(own, text, known_text, vectors):
    return KnownTexts.of(known_text).tell(own, text, vectors)


@pytest.fixture
def world():
    """Forty texts and vectors that follow them, with noise."""
    rng = np.random.default_rng(0)
    text = rng.standard_normal((40, 12)).astype(np.float32)
    vectors = text @ rng.standard_normal((12, 5)) + rng.standard_normal((40, 5))
    return text, vectors.astype(np.float32)


def test_it_is_the_mean_of_both_answers(world):
    """The ridge by scikit-learn, its penalty by the definition of generalised cross-validation."""
    text, vectors = world
    known, new = slice(0, 30), slice(30, 40)

    def error(penalty):
        x = text[known].astype(float)
        hat = x @ np.linalg.inv(x.T @ x + penalty * np.eye(12)) @ x.T
        return ((vectors[known] - hat @ vectors[known]) ** 2).sum() / (1 - np.trace(hat) / 30) ** 2

    penalty = min(PENALTIES, key=error)
    assert PENALTIES[0] < penalty < PENALTIES[-1]
    ridge = Ridge(penalty, fit_intercept=False).fit(text[known], vectors[known]).predict(text[new])
    own = np.random.default_rng(1).standard_normal((10, 5)).astype(np.float32)
    told = told_by_text(own, text[new], text[known], vectors[known])
    np.testing.assert_allclose(told, (own + ridge) / 2, atol=1e-4)
    assert told.dtype == np.float32


def test_a_text_that_is_like_no_other_tells_nothing():
    """Only what the HGNN says is left, and that by half."""
    known = np.eye(4, dtype=np.float32)[[0, 1, 2] * 20]
    own = np.array([[0.6, 0.8]], dtype=np.float32)
    told = told_by_text(own, np.eye(4, dtype=np.float32)[3:], known, known[:, :2])
    np.testing.assert_allclose(told, own / 2, atol=1e-6)


def test_what_texts_do_not_tell_shortens_the_answer():
    """Alike texts whose items lie anywhere tell little; alike texts whose items lie together tell all."""
    rng = np.random.default_rng(0)
    text = np.repeat(np.eye(2, dtype=np.float32), 200, axis=0)
    apart = rng.standard_normal((200, 8)).astype(np.float32)
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    together = np.repeat(apart[:1], 200, axis=0)
    nothing = np.zeros((2, 8), dtype=np.float32)
    told = told_by_text(nothing, np.eye(2, dtype=np.float32), text, np.concatenate([apart, together]))
    lengths = 2 * np.linalg.norm(told, axis=1)
    assert lengths[0] < 0.2 and lengths[1] > 0.95


def test_the_unsure_are_penalised_most(world, monkeypatch):
    """Vectors that have nothing to do with texts get the greatest penalty."""
    text, _ = world
    noise = np.random.default_rng(2).standard_normal((40, 5)).astype(np.float32)
    own = np.zeros((40, 5), dtype=np.float32)
    chosen = told_by_text(own, text, text, noise)
    monkeypatch.setattr(newcomers, "PENALTIES", PENALTIES[:1])
    assert np.linalg.norm(chosen) < np.linalg.norm(told_by_text(own, text, text, noise)) / 2


@pytest.mark.parametrize("known", [0, 1])
def test_with_few_known_items_it_stands(known):
    own = np.array([[0.6, 0.8]], dtype=np.float32)
    one = np.ones((1, 3), dtype=np.float32)
    told = told_by_text(own, one, one[:known], own[:known])
    assert np.isfinite(told).all()
    if not known:
        np.testing.assert_array_equal(told, own)


def test_without_newcomers_or_texts_nothing_breaks():
    own = np.zeros((0, 2), dtype=np.float32)
    empty = np.zeros((0, 3), dtype=np.float32)
    assert told_by_text(own, empty, np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)).shape == (0, 2)
    blank = np.zeros((4, 3), dtype=np.float32)
    own = np.ones((1, 2), dtype=np.float32)
    np.testing.assert_allclose(told_by_text(own, blank[:1], blank, np.ones((4, 2), np.float32)), own / 2)
