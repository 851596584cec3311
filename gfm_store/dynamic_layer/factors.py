"""Linear item factors: truncated singular vectors of interactions and of title words.

Both stand for item-item similarities, so a user's side is the mean of the factors of the items in the history
(PureSVD: Cremonesi, Koren, Turrin, RecSys 2010; latent semantic analysis for the words). A rotation of the factors
changes no score, which is why the weight that one moment's factors earn holds for the factors of a later moment.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

POWER_ITERATIONS = 3
OVERSAMPLING = 10


def truncated_svd(matrix: sparse.csr_array, dim: int, seed: int) -> np.ndarray:
    """(n, dim) float32: right singular vectors of `matrix` (m, n), each times its singular value.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011). Columns beyond the rank are zero.
    """
    out = np.zeros((matrix.shape[1], dim), dtype=np.float32)
    width = min(dim + OVERSAMPLING, *matrix.shape)
    if not width or not matrix.nnz:
        return out
    start = np.random.default_rng(seed).standard_normal((matrix.shape[1], width), dtype=np.float32)
    basis = np.linalg.qr(matrix @ start)[0]
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    _, values, right = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    kept = min(dim, len(values))
    out[:, :kept] = right[:kept].T * values[:kept]
    return out


def interaction_factors(
    user: np.ndarray, node: np.ndarray, num_items: int, dim: int, seed: int
) -> np.ndarray:
    """(num_items, dim) float32, unit length, from who streamed what; zero for items that nobody streamed.

    Each user and each item counts by the inverse root of how much is known of it.

    Args:
        user, node: (E,) distinct users and items, one entry a stream.
    """
    num_users = int(user.max(initial=-1)) + 1
    ones = np.ones(len(user), dtype=np.float32)
    matrix = sparse.csr_array((ones, (user, node)), shape=(num_users, num_items))
    matrix.data[:] = 1.0  # streamed or not, however often
    by_user, by_item = (np.maximum(np.asarray(matrix.sum(axis=axis)).ravel(), 1.0) for axis in (1, 0))
    rows = np.repeat(np.arange(num_users), np.diff(matrix.indptr))
    matrix.data = (1.0 / np.sqrt(by_user[rows] * by_item[matrix.indices])).astype(np.float32)
    return unit(truncated_svd(matrix, dim, seed))


@dataclass(frozen=True)
class LexicalFactors:
    """Word statistics and singular vectors of a catalogue, for its texts and for later ones."""

    vectorizer: TfidfVectorizer | None
    """None where no word stands in two texts."""
    projection: np.ndarray
    """(words, dim) float32: left singular vectors."""

    @classmethod
    def fit(cls, texts: list[str], dim: int, seed: int) -> Self:
        """From the texts of the items that may be recommended.

        Names and other languages, which a sentence transformer blurs, stay apart here.
        """
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


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; zero rows stay zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 1e-8)
