"""Lexical factors: what shared words say of items, known and new."""

import numpy as np
import pytest

from gfm_store.static_layer.lexical import LexicalFactors


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


def test_factors_come_back_whole_from_their_tensors():
    texts = ["sea salt", "salt snack", "Gärten", "gärten und stühle", "sea snack 東京 東京", "東京"]
    lexical = LexicalFactors.fit(texts, 3, seed=0)
    tensors = lexical.tensors()
    again = LexicalFactors.from_tensors(tensors)
    asked = [*texts, "", "salt and gärten", "東京"]
    np.testing.assert_array_equal(again.of(asked), lexical.of(asked))
    assert again.of(asked).any()
    assert bytes(tensors["words"].tolist()).decode().split() == ["gärten", "salt", "sea", "snack", "東京"]
    for none in (LexicalFactors.fit(["one", "two"], 4, seed=0), LexicalFactors.fit(texts, 0, seed=0)):
        back = LexicalFactors.from_tensors(none.tensors())
        assert back.dim == none.dim
        np.testing.assert_array_equal(back.of(asked), np.zeros((len(asked), none.dim)))


def test_of_many_texts_some_are_read_from_all_over(monkeypatch):
    texts = [word for word in ("sea salt", "garden chair", "blue note") for _ in range(100)]
    whole = LexicalFactors.fit(texts, 3, seed=0)
    monkeypatch.setattr("gfm_store.static_layer.lexical.MAX_TEXTS", 30)
    some = LexicalFactors.fit(texts, 3, seed=0)
    asked = ["sea", "chair", "note blue"]
    for one, other in zip(some.tensors()["words"], whole.tensors()["words"], strict=True):
        assert one == other
    np.testing.assert_allclose(
        np.abs(some.of(asked) @ some.of(texts).T), np.abs(whole.of(asked) @ whole.of(texts).T), atol=1e-5
    )
