"""Turning a new space into the position of the one before: an orthogonal map changes no cosine and no dot product.

A vector that somebody kept from the version before still finds what it found (orthogonal Procrustes: Schönemann 1966).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.linalg import orthogonal_procrustes

from gfm_store.vectors.version import Alignment


def align(
    version: str, item_id: pa.ChunkedArray, vectors: np.ndarray, old_id: pa.ChunkedArray, old: np.ndarray
) -> tuple[np.ndarray, Alignment] | None:
    """The rotation that brings new vectors closest to those of `version`, and how close; None where none is shared.

    Args:
        item_id: (n,); vectors: (n, dim) of the new version.
        old_id: (m,); old: (m, dim) of the version before.

    Returns:
        (dim, dim) float32, to be multiplied with from the right, and what it does.
    """
    place = pc.index_in(item_id, old_id.combine_chunks())
    shared = pc.is_valid(place).to_numpy()
    if not shared.any() or old.shape[1] != vectors.shape[1]:
        return None
    new = vectors[shared].astype(np.float64)
    old = old[place.drop_null().to_numpy()].astype(np.float64)
    rotation = orthogonal_procrustes(new, old)[0]
    return rotation.astype(np.float32), Alignment(
        version=version,
        n_items=int(shared.sum()),
        cosine_before=_cosine(new, old),
        cosine_after=_cosine(new @ rotation, old),
    )


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over rows."""
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / np.maximum(scale, 1e-12)).mean())
