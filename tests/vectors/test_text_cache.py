"""The text cache: looked up by hash, only ever appended to, compacted when it grows many parts."""

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfm_store.vectors import text_cache
from gfm_store.vectors.text_cache import TextCache

FINGERPRINT = "0123456789abcdef" + "f" * 48


def hashes(*names):
    return pa.array(names, pa.string())


def row(name):
    return np.array([ord(name[0]), len(name)], dtype=np.float32)


def test_nothing_is_known_at_first(tmp_path):
    known, vectors = TextCache(tmp_path, FINGERPRINT).lookup(hashes("a", "b"))
    assert known.tolist() == [False, False]
    assert vectors.shape == (2, 0)


def test_known_hashes_give_their_vectors_and_others_zero(tmp_path):
    cache = TextCache(tmp_path, FINGERPRINT)
    cache.append(hashes("a", "bb"), np.stack([row("a"), row("bb")]))
    cache.append(hashes("ccc"), row("ccc")[None])
    known, vectors = cache.lookup(hashes("ccc", "new", "a", "ccc"))
    assert known.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(vectors, [row("ccc"), [0, 0], row("a"), row("ccc")])
    assert vectors.dtype == np.float32


def test_the_cache_outlives_its_object_and_models_do_not_mix(tmp_path):
    TextCache(tmp_path, FINGERPRINT).append(hashes("a"), row("a")[None])
    assert TextCache(tmp_path, FINGERPRINT).lookup(hashes("a"))[0].tolist() == [True]
    assert TextCache(tmp_path, "e" * 64).lookup(hashes("a"))[0].tolist() == [False]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    cache = TextCache(tmp_path_factory.mktemp("cache"), FINGERPRINT)
    names = [chr(97 + i) * (i + 1) for i in range(6)]
    for name in names:
        cache.append(hashes(name), row(name)[None])
    return cache, names


@given(asked=st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "x", "yy"]), max_size=10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lookup_agrees_with_a_dictionary(filled, asked):
    cache, names = filled
    known, vectors = cache.lookup(hashes(*asked))
    assert known.tolist() == [name in names for name in asked]
    expected = [row(name) if name in names else np.zeros(2) for name in asked]
    np.testing.assert_array_equal(vectors, np.reshape(expected, (-1, 2)))


def test_many_small_writes_are_compacted_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_FRAGMENTS", 3)
    cache = TextCache(tmp_path, FINGERPRINT)
    names = [chr(97 + i) for i in range(5)]
    for name in names:
        cache.append(hashes(name), row(name)[None])
    (path,) = (tmp_path / "cache" / "text").iterdir()
    dataset = lance.dataset(str(path))
    assert len(dataset.get_fragments()) == 2  # the fourth write compacted, the fifth came after
    assert len(list((path / "data").iterdir())) == 2
    known, vectors = cache.lookup(hashes(*names))
    assert known.tolist() == [True] * 5
    np.testing.assert_array_equal(vectors, [row(name) for name in names])
