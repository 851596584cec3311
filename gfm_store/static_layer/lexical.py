"""Lexical item factors: truncated singular vectors of the words of titles, descriptions and genres.

Latent semantic analysis. Names and other languages, which a sentence transformer blurs, stay apart here. The HGNN reads
many of them, and learns which tell what users do; the dynamic layer matches a few as they are.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from gfm_store.static_layer.structure import truncated_svd, unit

MAX_WORDS = 50_000
"""The most frequent ones are read."""
MAX_TEXTS = 100_000
"""Of more, about so many are read, evenly over all, so that time and memory stay bounded."""


@dataclass(frozen=True)
class LexicalFactors:
    """Word statistics and singular vectors of a catalogue, for its texts and for later ones."""

    vectorizer: TfidfVectorizer | None
    """None where no word stands in two texts."""
    projection: np.ndarray
    """(words, dim) float32: right singular vectors of texts by words."""

    @classmethod
    def fit(cls, texts: list[str], dim: int, seed: int) -> Self:
        """From the texts of the items that may be recommended."""
        if not dim:
            return cls(None, np.zeros((0, 0), dtype=np.float32))
        vectorizer = _vectorizer(min_df=2, max_features=MAX_WORDS)
        try:
            read = texts[:: 1 + len(texts) // MAX_TEXTS]
            words = sparse.csr_array(vectorizer.fit_transform(read))  # (n, words)
        except ValueError:
            return cls(None, np.zeros((0, dim), dtype=np.float32))
        scaled = truncated_svd(words, dim, seed)  # (words, dim)
        return cls(vectorizer, unit(scaled.T).T)

    @property
    def dim(self) -> int:
        """Width of the factors."""
        width: int = self.projection.shape[1]
        return width

    def of(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, unit length; zero for a text without known words."""
        if self.vectorizer is None or not texts:
            return np.zeros((len(texts), self.dim), dtype=np.float32)
        return unit(sparse.csr_array(self.vectorizer.transform(texts)) @ self.projection)

    def tensors(self) -> dict[str, Tensor]:
        """All that `from_tensors` needs; words are UTF-8, a line each."""
        words, weight = "", np.zeros(0, dtype=np.float32)
        if self.vectorizer is not None:
            words = "\n".join(self.vectorizer.get_feature_names_out())
            weight = self.vectorizer.idf_.astype(np.float32)
        return {
            "projection": torch.from_numpy(np.ascontiguousarray(self.projection)),
            "weight": torch.from_numpy(weight),
            "words": torch.from_numpy(np.frombuffer(words.encode(), dtype=np.uint8).copy()),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """From what `tensors` gave."""
        projection = tensors["projection"].numpy()
        if not len(projection):
            return cls(None, projection)
        vectorizer = _vectorizer(vocabulary=tensors["words"].numpy().tobytes().decode().split("\n"))
        vectorizer.idf_ = tensors["weight"].numpy()
        return cls(vectorizer, projection)


def _vectorizer(**settings: Any) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **settings)
