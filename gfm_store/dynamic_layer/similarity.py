"""The space of items alone: what is like what, and what a text means.

    similarity(a, b) = (cosine of their text vectors + cosine of their HGNN vectors) / 2

Retrieval vectors are made for users: much of them is about how an item is doing, which says nothing of what it is like.
Text keeps what is particular to an item, the HGNN what those who touch it touch besides.
"""

import numpy as np

from gfm_store.static_layer.structure import unit


def similarity_vectors(text: np.ndarray, hgnn: np.ndarray) -> np.ndarray:
    """(n, dim) float32 of unit length; the last dimension pads, so that L2, cosine and dot product rank alike.

    Args:
        text: (n, text_dim) and hgnn: (n, dim), rows of unit length or zero.
    """
    parts = np.concatenate([unit(text), unit(hgnn)], axis=1) / np.sqrt(2, dtype=np.float32)
    vectors = np.zeros((len(parts), -(-(parts.shape[1] + 1) // 8) * 8), dtype=np.float32)
    vectors[:, : parts.shape[1]] = parts
    vectors[:, -1] = np.sqrt(np.maximum(1 - np.einsum("nd,nd->n", parts, parts), 0))
    return vectors


def as_query(vectors: np.ndarray) -> np.ndarray:
    """Similarity vectors of items as what is searched with: without padding, the dot product is the similarity."""
    query = vectors.copy()
    query[..., -1] = 0
    return query


def text_query(text: np.ndarray, dim: int) -> np.ndarray:
    """(dim,) float32: a text vector (text_dim,) as what is searched with, so that the dot product with an item is
    the cosine of both texts."""
    query = np.zeros(dim, dtype=np.float32)
    query[: len(text)] = text * np.sqrt(2, dtype=np.float32)
    return query
