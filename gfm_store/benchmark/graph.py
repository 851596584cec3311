"""The co-interaction graph: SQL beside SciPy's sparse product, and sampling from it beside PyG's loader."""

import importlib.util
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from gfm_store.benchmark.measure import OURS, Measurement, median_ms, memory_above
from gfm_store.config import GraphConfig
from gfm_store.static_layer.sampling import HeteroGraph, sample_blocks
from gfm_store.warehouse.connection import newest_event, open_warehouse
from gfm_store.warehouse.graph import NOBODY, read_item_nodes

ALL = 10**9
FANOUT = (10, 10)
SEEDS = 128


def measure_graph(root: Path) -> list[Measurement]:
    """Edges of the same interactions, all neighbours kept: the same edges come out, or it is an error."""
    settings = GraphConfig()
    with open_warehouse(root) as warehouse:
        as_of = newest_event(warehouse)
        item_node = read_item_nodes(warehouse, as_of)
        warehouse.create(
            "graph/graph_interaction",
            as_of=as_of,
            window_start=as_of - timedelta(days=settings.window_days),
            edge_signals=list(settings.edge_signals),
            newest_items_per_user=settings.newest_items_per_user,
            folds=settings.folds,
        )
        touched = warehouse.arrow("SELECT user_index, node FROM graph_interaction")
        with memory_above() as ours_mb:
            ours = median_ms(
                lambda i: warehouse.create(
                    "graph/co_interaction",
                    min_users=settings.min_users,
                    strongest_neighbours=ALL,
                    left_out_fold=NOBODY,
                ),
                1,
            )
        edges = warehouse.arrow("SELECT src, dst FROM co_interaction")
    user, node = (touched[name].to_numpy().astype(np.int64) for name in ("user_index", "node"))

    def product() -> sparse.csr_array:
        ones = np.ones(len(user), dtype=np.int32)
        matrix = sparse.csr_array((ones, (user, node)), shape=(user.max() + 1, item_node.num_rows))
        shared = sparse.csr_array(matrix.T @ matrix)
        shared.setdiag(0)
        shared.data[shared.data < settings.min_users] = 0
        shared.eliminate_zeros()
        return shared

    with memory_above() as theirs_mb:
        theirs = median_ms(lambda i: product(), 1)
    if product().nnz != edges.num_rows:
        raise AssertionError(f"SQL found {edges.num_rows:,} edges, SciPy {product().nnz:,}")
    task = f"co-interactions of {len(user):,} interactions: {edges.num_rows:,} edges"
    graph = HeteroGraph.from_edges(
        torch.from_numpy(item_node["type_index"].to_numpy().astype(np.int64)),
        int(item_node["type_index"].to_numpy().max()) + 1,
        torch.from_numpy(np.stack([edges[name].to_numpy().astype(np.int64) for name in ("src", "dst")])),
    )
    return [
        Measurement(task, OURS, ours, None, ours_mb[0], "SQL, with weights and both ends' types"),
        Measurement(task, "SciPy X'X", theirs, None, theirs_mb[0], "counts alone, held in memory"),
        *_measure_sampling(graph),
    ]


def _measure_sampling(graph: HeteroGraph) -> list[Measurement]:
    task = f"neighbours of {SEEDS:,} seeds, fan-outs {FANOUT}, of {graph.col.numel():,} edges"
    generator = torch.Generator().manual_seed(0)
    linked = graph.col.unique()

    def sample(_: int) -> None:
        seeds = linked[torch.randperm(linked.numel(), generator=generator)[:SEEDS]]
        sample_blocks(graph, seeds, FANOUT, generator)

    ours = Measurement(task, OURS, median_ms(sample, 20), note="per relation")
    if not (importlib.util.find_spec("pyg_lib") or importlib.util.find_spec("torch_sparse")):
        return [ours, Measurement(task, "PyG NeighborLoader", note="needs pyg-lib, which is not installed")]
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader

    row = (
        torch.repeat_interleave(torch.arange(graph.rowptr.numel() - 1), graph.rowptr.diff())
        // graph.num_types
    )
    whole = Data(edge_index=torch.stack([graph.col, row]), num_nodes=graph.num_nodes)
    loader = iter(NeighborLoader(whole, list(FANOUT), batch_size=SEEDS, shuffle=True, input_nodes=linked))
    theirs = median_ms(lambda i: next(loader), min(5, linked.numel() // SEEDS - 1))
    return [ours, Measurement(task, "PyG NeighborLoader", theirs, note="all relations together")]
