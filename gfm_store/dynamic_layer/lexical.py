"""Lexical item factors: truncated singular vectors of the words of titles, descriptions and genres.

A user's side is the mean of the factors of the items in the history (latent semantic analysis). Names and other
languages, which a sentence transformer blurs, stay apart here.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from gfm_store.static_layer.structure import truncated_svd, unit


@dataclass(frozen=True)
class LexicalFactors:
    """Word statistics and singular vectors of a catalogue, for its texts and for later ones."""

    vectorizer: TfidfVectorizer | None
    """None where no word stands in two texts."""
    projection: np.ndarray
    """(words, dim) float32: left singular vectors."""

    @classmethod
    def fit(cls, texts: list[str], dim: int, seed: int) -> Self:
        """From the texts of the items that may be recommended."""
        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
        try:
            words = sparse.csr_array(vectorizer.fit_transform(texts))  # (n, words)
        except ValueError:
            return cls(None, np.zeros((0, dim), dtype=np.float32))
        scaled = truncated_svd(words, dim, seed)  # (words, dim)
        return cls(vectorizer, unit(scaled.T).T)

    def of(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, unit length; zero for a text without known words."""
        if self.vectorizer is None or not texts:
            return np.zeros((len(texts), self.projection.shape[1]), dtype=np.float32)
        return unit(sparse.csr_array(self.vectorizer.transform(texts)) @ self.projection)
