"""Vectors of items that nobody has touched, told from their text.

The HGNN's own answer is sure of itself, also of texts that are like none it has read. A ridge regression from text to
the vectors of touched items knows how little a text tells: the less, the shorter its answer, and with it the score.
Their mean ranks newcomers among each other better than the HGNN alone on food-kitchen and MovieTweetings, and a little
worse on the made world, where more of them come into lists of all items.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

PENALTIES = 10.0 ** np.arange(-1, 3.1, 0.5)
"""From a tenth of one text to a thousand texts."""


@dataclass(frozen=True)
class KnownTexts:
    """The texts of m items that were touched, taken apart once for all that is told from them."""

    text: np.ndarray
    """(m, text_dim) float32."""
    eigenvalue: np.ndarray
    """(text_dim,) float64, of the texts' products, and"""
    basis: np.ndarray
    """(text_dim, text_dim) float64, their directions, by column."""

    @classmethod
    def of(cls, text: np.ndarray) -> Self:
        """From (m, text_dim) float32."""
        eigenvalue, basis = np.linalg.eigh((text.T @ text).astype(np.float64))
        return cls(text, eigenvalue.clip(0), basis)

    def tell(self, own: np.ndarray, text: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """(n, dim) float32: the mean of what the HGNN and the regression tell.

        Args:
            own: (n, dim), what the HGNN makes of n newcomers; text: (n, text_dim).
            vectors: (m, dim), of the items that were touched.
        """
        if not len(own) or not len(self.text):
            return own
        told: np.ndarray = (own + text @ self.projection(vectors)) / 2
        return told

    def projection(self, vectors: np.ndarray) -> np.ndarray:
        """(text_dim, dim) float32: ridge regression from text to vectors (m, dim).

        The penalty is the one of the least generalised cross-validation error (Golub, Heath, Wahba 1979).
        """
        shared = self.basis.T @ (self.text.T @ vectors)  # (text_dim, dim)
        by_direction = (shared**2).sum(axis=1)
        total = float((vectors**2).sum())

        def error(penalty: float) -> float:
            weight = 1 / (self.eigenvalue + penalty)
            left = total - (by_direction * weight * (2 - weight * self.eigenvalue)).sum()
            return float(left / (1 - (weight * self.eigenvalue).sum() / len(self.text)) ** 2)

        penalty = min(PENALTIES.tolist(), key=error)
        projection: np.ndarray = self.basis @ (shared / (self.eigenvalue + penalty)[:, None])
        return projection.astype(np.float32)
