"""How far the world has moved since the static version was built, and whether to build a new one."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import GateConfig, GraphConfig
from gfm_store.vectors.static_version import read_table, static_folder
from gfm_store.vectors.version import Staleness, StaticRecord
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import read_edges

ASKED = 4_096
"""Edges that the frozen vectors are asked for, at most."""
NEGATIVES = 128
"""Random items of the same type beside the true one."""


def measure_staleness(
    warehouse: Warehouse,
    as_of: datetime,
    item_node: pa.Table,
    vectors: np.ndarray,
    static: StaticRecord,
    config: GateConfig,
) -> Staleness:
    """Compare items and graph as of a moment with those of the static version; says so when a new one is due.

    Args:
        item_node: the items known at `as_of`, numbered as in the warehouse's `item_node`.
        vectors: (N, dim) frozen HGNN vectors by node.
    """
    folder = static_folder(warehouse.root, static.version)
    embedded = read_table(folder, "item_embedding", ["item_id"])["item_id"].combine_chunks()
    is_new = pc.invert(pc.is_in(item_node["item_id"], embedded)).to_numpy()
    available = item_node["is_available"].to_numpy()
    then = _nodes(read_table(folder, "co_interaction_edge", ["src_item_id", "dst_item_id"]), item_node)
    now = then
    if as_of != static.as_of:
        graph = GraphConfig.model_validate(static.origin.settings["graph"])
        read = read_edges(warehouse, as_of, graph, static.window_days, static.min_users)
        now = np.stack([read[name].to_numpy().astype(np.int64) for name in ("src", "dst")])
    found = Staleness(
        new_items=float(is_new[available].mean()) if available.any() else 0.0,
        edge_churn=_churn(then, now, item_node.num_rows),
        hgnn_mrr=_mrr(now, vectors, item_node),
        hgnn_mrr_then=_mrr(then, vectors, item_node),
    )
    found = found.model_copy(update={"reasons": _reasons(found, config)})
    if found.reasons:
        progress.say(f"A static refresh is due: {'; '.join(found.reasons)}.")
    return found


def _reasons(found: Staleness, config: GateConfig) -> list[str]:
    reasons = []
    if found.new_items > config.max_new_items:
        reasons.append(f"{found.new_items:.0%} of the items are new")
    if found.edge_churn > config.max_edge_churn:
        reasons.append(f"{found.edge_churn:.0%} of the edges changed")
    if found.hgnn_mrr < config.min_hgnn_share * found.hgnn_mrr_then:
        reasons.append(
            f"the HGNN finds linked items with MRR {found.hgnn_mrr:.3f}, {found.hgnn_mrr_then:.3f} when it was built"
        )
    return reasons


def _nodes(edges: pa.Table, item_node: pa.Table) -> np.ndarray:
    """(2, E) nodes of today; -1 where an item is not known any more."""
    ids = item_node["item_id"].combine_chunks()
    ends = [pc.fill_null(pc.index_in(edges[name], ids), -1) for name in edges.column_names]
    return np.stack([end.to_numpy().astype(np.int64) for end in ends])


def _churn(then: np.ndarray, now: np.ndarray, num_nodes: int) -> float:
    """Share of the edges of then and now together that are not in both."""
    keys = [edges[0] * (num_nodes + 1) + edges[1] for edges in (then, now)]
    together = len(np.union1d(*keys))
    return 1 - len(np.intersect1d(*keys)) / together if together else 0.0


def _mrr(edges: np.ndarray, vectors: np.ndarray, item_node: pa.Table) -> float:
    """MRR of the true end of edges, by cosine, among random available items of its type."""
    edges = edges[:, (edges >= 0).all(axis=0)]
    random = np.random.default_rng(0)
    edges = edges[:, random.permutation(edges.shape[1])[:ASKED]]
    type_index = item_node["type_index"].to_numpy()
    available = item_node["is_available"].to_numpy()
    ranks = []
    for kind in np.unique(type_index[edges[1]]):
        src, dst = edges[:, type_index[edges[1]] == kind]
        pool = np.flatnonzero(available & (type_index == kind))
        if not len(pool):
            continue
        drawn = random.choice(pool, (len(dst), NEGATIVES))
        true = (vectors[src] * vectors[dst]).sum(axis=1, keepdims=True)
        others = np.einsum("ed,end->en", vectors[src], vectors[drawn])
        ranks.append(1 + ((others > true) & (drawn != dst[:, None]) & (drawn != src[:, None])).sum(axis=1))
    return float((1 / np.concatenate(ranks)).mean()) if ranks else 0.0
