"""Structural coordinates of items: who touched what, in a few dimensions, for the whole and without each fold of users.

Truncated singular vectors of the interaction matrix (PureSVD: Cremonesi, Koren, Turrin, RecSys 2010). A message
passing network cannot tell apart two items with alike texts and alike neighbourhoods; with coordinates it can.
"""

import numpy as np
from scipy import sparse
from scipy.linalg import orthogonal_procrustes

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


def structural_coordinates(
    user: np.ndarray, node: np.ndarray, num_items: int, dim: int, seed: int
) -> np.ndarray:
    """(num_items, dim) float32, unit length, from who touched what; zero for items that nobody touched.

    Each user and each item counts by the inverse root of how much is known of it.

    Args:
        user, node: (E,) users and items, each pair once.
    """
    num_users = int(user.max(initial=-1)) + 1
    by_user = np.bincount(user, minlength=num_users)
    by_item = np.bincount(node, minlength=num_items)
    weight = (1.0 / np.sqrt(by_user[user] * by_item[node])).astype(np.float32)
    matrix = sparse.csr_array((weight, (user, node)), shape=(num_users, num_items))
    return unit(truncated_svd(matrix, dim, seed))


def turned_to(coordinates: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`coordinates` (N, dim) after the rotation that brings them closest to `reference` (N, dim).

    Singular vectors are told only up to a rotation; a network that reads several sets of them needs one frame.
    """
    rotation, _ = orthogonal_procrustes(coordinates, reference)
    turned: np.ndarray = (coordinates @ rotation).astype(np.float32)
    return turned


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; zero rows stay zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 1e-8)
