"""Audits that a version must pass before it is published: counts, duplicate ids, NaN, norms, coverage, recall."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.errors import GateError
from gfm_store.serving.ranking import top_k
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import TABLES, nearest, open_table
from gfm_store.vectors.version import DynamicRecord
from gfm_store.warehouse.history import HistoryTables

ASKED = 20
"""Users whose lists a plain search must find."""
SEARCHED = 10
"""Length of these lists."""
MIN_RECALL = 0.95
TIE = 1e-5
"""Scores that differ by this share of the greatest are equal: sums are rounded in another order."""


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


def check_coverage(
    retrieval: pa.Table, item_node: pa.Table, user_vector: pa.Table, history: HistoryTables
) -> None:
    """Every available item can be recommended, and whoever has a history has a vector.

    Raises:
        GateError: it is not so.
    """
    available = item_node["item_id"].filter(item_node["is_available"])
    missing = pc.sum(pc.invert(pc.is_in(available, retrieval["item_id"].combine_chunks()))).as_py() or 0
    _require(missing == 0, f"{missing:,} available items are not in retrieval")
    begin = history.as_of - timedelta(days=history.history_days)
    recent = history.user_event.filter(pc.greater_equal(history.user_event["event_ts"], pa.scalar(begin)))
    without = pc.count_distinct(recent["user_index"]).as_py() - user_vector.num_rows
    _require(without == 0, f"{without:,} users with a history lack a vector")


def check_written(folder: Path, record: DynamicRecord) -> None:
    """What was written is what was meant, and a search without options finds it.

    Args:
        folder: a publication that nobody reads yet.

    Raises:
        GateError: it is not so.
    """
    counts = {name: open_table(folder, name).count_rows() for name in TABLES}
    wanted = {"retrieval": record.n_items, "item_search": record.n_items, "user_vector": record.n_users}
    for name, count in wanted.items():
        _require(counts[name] == count, f"{name} holds {counts[name]:,} rows, not {count:,}")
    for name in ("retrieval", "user_vector", "item_embedding", "item_search"):
        versions = (
            open_table(folder, name).to_table(columns=["embedding_version"])["embedding_version"].unique()
        )
        _require(versions.to_pylist() in ([record.version], []), f"{name} holds rows of other versions")
    recall = search_recall(folder)
    _require(recall >= MIN_RECALL, f"a search finds {recall:.0%} of the best items, not {MIN_RECALL:.0%}")


def search_recall(folder: Path) -> float:
    """Share of the best items by dot product that a plain search finds, over some users of a publication.

    Of items with one score any is as good as another.
    """
    users = to_numpy(open_table(folder, "user_vector").head(ASKED, columns=["vector"])["vector"])
    items = open_table(folder, "retrieval").to_table(columns=["item_id", "vector"])
    if not len(users):
        return 1.0
    vectors = to_numpy(items["vector"])
    best = top_k(users, vectors, SEARCHED)
    ids = items["item_id"].combine_chunks()
    shares = []
    for user, found, rows, scores in zip(
        users, nearest(folder, users, SEARCHED), best.row, best.score, strict=True
    ):
        there = pc.index_in(pa.array(found, ids.type), ids).to_numpy()
        scores = scores[rows >= 0]
        enough = scores.min() - TIE * np.abs(scores).max()
        shares.append((vectors[there] @ user >= enough).sum() / len(scores))
    return float(np.mean(shares))
