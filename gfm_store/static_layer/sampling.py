"""The co-interaction graph as CSR, and sampling from it with tensor operations alone.

The CSR has one row per (node, type of the neighbour), so one slice holds a node's neighbours under one
relation. Relations are unordered pairs of item types (arXiv 2403.05185, section 3.1).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


def relation_table(num_types: int) -> Tensor:
    """(T, T) int64: the relation of each pair of types; symmetric, T (T + 1) / 2 relations in all."""
    table = torch.zeros(num_types, num_types, dtype=torch.int64)
    low, high = torch.triu_indices(num_types, num_types)
    table[low, high] = table[high, low] = torch.arange(low.numel())
    return table


@dataclass(frozen=True)
class HeteroGraph:
    """Item nodes of several types and their co-interactions.

    Shapes: N nodes, T types, E directed edges (both directions of each co-interaction).
    """

    node_type: Tensor
    """(N,) int64."""
    num_types: int
    rowptr: Tensor
    """(N * T + 1,) int64: row `node * T + t` holds the neighbours of type t."""
    col: Tensor
    """(E,) int64: neighbours."""

    @classmethod
    def from_edges(cls, node_type: Tensor, num_types: int, edge_index: Tensor) -> Self:
        """Build from `edge_index` (2, E), which must hold both directions."""
        src, dst = edge_index
        row = src * num_types + node_type[dst]
        order = torch.argsort(row * node_type.numel() + dst)
        counts = torch.bincount(row, minlength=node_type.numel() * num_types)
        rowptr = torch.zeros(counts.numel() + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=rowptr[1:])
        return cls(node_type, num_types, rowptr, dst[order])

    @property
    def num_nodes(self) -> int:
        return self.node_type.numel()

    def to(self, device: torch.device) -> "HeteroGraph":
        """The same graph on another device."""
        return HeteroGraph(
            self.node_type.to(device), self.num_types, self.rowptr.to(device), self.col.to(device)
        )


@dataclass(frozen=True)
class Block:
    """Message passing into `num_dst` nodes; R rows are the non-empty (node, neighbour type) pairs.

    Nodes are positions: destinations are the first `num_dst` of the source nodes.
    """

    num_dst: int
    dst: Tensor
    """(R,) int64: position of the row's destination."""
    relation: Tensor
    """(R,) int64."""
    neighbours: Tensor
    """(R, fanout) int64: positions among the source nodes."""


def sample_neighbours(
    graph: HeteroGraph, nodes: Tensor, fanout: int, generator: torch.Generator
) -> tuple[Tensor, Block]:
    """Sample up to `fanout` neighbours of each of `nodes` (M,) under each relation.

    A node with at most `fanout` neighbours gives all of them; others are drawn uniformly, with replacement.

    Returns:
        The distinct source nodes (S,), beginning with `nodes`, and the block.
    """
    types = torch.arange(graph.num_types, device=nodes.device)
    rows = (nodes[:, None] * graph.num_types + types).flatten()
    start = graph.rowptr[rows]
    degree = graph.rowptr[rows + 1] - start
    filled = (degree > 0).nonzero().squeeze(1)
    start, degree = start[filled, None], degree[filled, None]
    dst = filled // graph.num_types
    in_turn = torch.arange(fanout, device=nodes.device) % degree
    # Drawn on the generator's device, so that a seed means the same draw.
    random = torch.rand(filled.numel(), fanout, generator=generator, device=generator.device).to(nodes.device)
    drawn = (random * degree).long().clamp_max(degree - 1)
    neighbours = graph.col[start + torch.where(degree <= fanout, in_turn, drawn)]
    relation = relation_table(graph.num_types).to(nodes.device)[
        graph.node_type[nodes[dst]], filled % graph.num_types
    ]
    sources, positions = distinct_positions(neighbours, graph.num_nodes, first=nodes)
    return sources, Block(nodes.numel(), dst, relation, positions)


def distinct_positions(values: Tensor, bound: int, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The distinct numbers below `bound` in `values`, and where each value stands among them.

    Like `Tensor.unique`, without sorting; `first` (distinct numbers) come before all others.
    """
    seen = torch.zeros(bound, dtype=torch.bool, device=values.device)
    seen[values.flatten()] = True
    if first is not None:
        seen[first] = False
    distinct = seen.nonzero().squeeze(1)
    if first is not None:
        distinct = torch.cat([first, distinct])
    position = torch.empty(bound, dtype=torch.int64, device=values.device)
    position[distinct] = torch.arange(distinct.numel(), device=values.device)
    return distinct, position[values]


def sample_blocks(
    graph: HeteroGraph,
    seeds: Tensor,
    fanout: tuple[int, ...],
    generator: torch.Generator,
) -> tuple[Tensor, list[Block]]:
    """Sample one block a layer for distinct `seeds`.

    Args:
        fanout: neighbours per node and relation, nearest layer first.

    Returns:
        The input nodes (S,), and the blocks in the order in which they are applied (farthest first).
    """
    nodes, blocks = seeds, []
    for width in fanout:
        nodes, block = sample_neighbours(graph, nodes, width, generator)
        blocks.append(block)
    return nodes, blocks[::-1]
