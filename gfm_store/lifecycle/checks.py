"""Audits that a version must pass before it is published: counts, duplicate ids, NaN, norms."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.errors import GateError
from gfm_store.vectors.arrow import to_numpy


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise GateError(f"Not published: {what}. What is served is unchanged.")


def _unique(table: pa.Table, name: str) -> bool:
    return bool(pc.count_distinct(table[name]).as_py() == table.num_rows)


def check_item_embedding(table: pa.Table) -> None:
    """Every item once, with a finite vector of unit length.

    Raises:
        GateError: it is not so.
    """
    _require(table.num_rows > 0, "there are no items")
    _require(_unique(table, "item_id"), "an item_id stands twice in item_embedding")
    vectors = to_numpy(table["vector"])
    _require(bool(np.isfinite(vectors).all()), "an item vector holds NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    _require(bool((np.abs(norms - 1) < 1e-3).all()), "an item vector is not of unit length")


def check_retrieval(table: pa.Table) -> None:
    """Every available item once, with a finite vector, all of the same norm.

    Raises:
        GateError: it is not so.
    """
    _require(table.num_rows > 0, "no item is available at this moment")
    _require(_unique(table, "item_id"), "an item_id stands twice in retrieval")
    vectors = to_numpy(table["vector"])
    _require(bool(np.isfinite(vectors).all()), "a retrieval vector holds NaN or infinity")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    _require(bool(np.ptp(norms) <= 1e-3 * norms.max()), "retrieval vectors differ in norm")


def check_user_vector(table: pa.Table, retrieval: pa.Table) -> None:
    """Every user once, with a finite vector of the length of the retrieval vectors.

    Raises:
        GateError: it is not so.
    """
    _require(_unique(table, "user_id"), "a user_id stands twice in user_vector")
    _require(
        table.schema.field("vector").type == retrieval.schema.field("vector").type, "vectors differ in length"
    )
    _require(bool(np.isfinite(to_numpy(table["vector"])).all()), "a user vector holds NaN or infinity")
