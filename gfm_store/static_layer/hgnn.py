"""The heterogeneous graph neural network: item features and co-interactions in, item vectors out.

Modules only. The operator is the papers' (arXiv 2403.07478, section 3.1; arXiv 2403.05185, section 3.2).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.utils import scatter

from gfm_store.static_layer.sampling import Block, HeteroGraph, distinct_positions, relation_table


class HeteroMaxConv(nn.Module):
    r"""One round of message passing over all relations.

    .. math::
        a_i^r = \max_{j \in N_r(i)} \sigma(P_r h_j + b_r), \qquad
        h_i' = \sigma\Bigl(W h_i + \sum_r L_r a_i^r + c\Bigr)

    with :math:`\sigma` = ReLU. A node without neighbours under a relation gets zero from it. `W` is shared by
    all types, so a type that was not there in training has one.

    Shapes:
        h: (S, dim) sources, of which the first `num_dst` are the destinations; out: (num_dst, dim).
    """

    def __init__(self, dim: int, num_relations: int) -> None:
        super().__init__()
        self.root = nn.Linear(dim, dim)
        self.message = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_relations))
        self.update = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(num_relations))

    def forward(self, h: Tensor, block: Block) -> Tensor:
        """Message passing along sampled neighbours."""
        out = self.root(h[: block.num_dst])
        for r in block.relation.unique().tolist():
            rows = (block.relation == r).nonzero().squeeze(1)
            distinct, position = distinct_positions(block.neighbours[rows], h.shape[0])
            message = functional.relu(self.message[r](h[distinct]))  # (distinct, dim): each node once
            pooled = _max_pool(message, position)  # (rows, dim)
            out = out.index_add(0, block.dst[rows], self.update[r](pooled))
        return functional.relu(out)

    def full(self, h: Tensor, graph: HeteroGraph, nodes_per_block: int) -> Tensor:
        """Message passing along all edges of the graph, in blocks of destinations. (N, dim) -> (N, dim)."""
        relations = relation_table(graph.num_types).to(h.device)
        out = []
        for begin in range(0, graph.num_nodes, nodes_per_block):
            nodes = torch.arange(begin, min(begin + nodes_per_block, graph.num_nodes), device=h.device)
            new = self.root(h[nodes])
            first, last = begin * graph.num_types, (begin + nodes.numel()) * graph.num_types
            degree = graph.rowptr[first : last + 1].diff()
            row = torch.repeat_interleave(torch.arange(degree.numel(), device=h.device), degree)
            col = graph.col[graph.rowptr[first] : graph.rowptr[last]]
            dst = row // graph.num_types
            relation = relations[graph.node_type[nodes[dst]], row % graph.num_types]
            for r in relation.unique().tolist():
                edges = relation == r
                distinct, position = distinct_positions(col[edges], graph.num_nodes)
                message = functional.relu(self.message[r](h[distinct]))
                pooled = scatter(message[position], dst[edges], dim_size=nodes.numel(), reduce="max")
                new = new + self.update[r](pooled)
            out.append(functional.relu(new))
        return torch.cat(out)


def _max_pool(message: Tensor, position: Tensor) -> Tensor:
    """Maximum over the neighbours, per dimension.

    The winners are found without gradients and gathered with them, so that the backward pass touches
    (rows, dim) values and not (rows, fanout, dim).

    Shapes:
        message: (distinct, dim); position: (rows, fanout); out: (rows, dim).
    """
    with torch.no_grad():
        # Neighbour by neighbour: never a (rows, fanout, dim) block, and several times faster than argmax.
        best = message[position[:, 0]]
        place = torch.zeros_like(best, dtype=torch.int16)
        for f in range(1, position.shape[1]):
            value = message[position[:, f]]
            place.masked_fill_(value > best, f)
            torch.maximum(best, value, out=best)
        winner = position.gather(1, place.long())  # (rows, dim)
    return message.gather(0, winner)


class HGNN(nn.Module):
    """Item features to item vectors: a projection, `num_layers` of `HeteroMaxConv`, a projection, unit length.

    Features are projected to the hidden width before anything else, which is where the time goes otherwise. A second
    projection leads from the features straight to the output, so that message passing adds to what an item tells of
    itself and need not carry it. An item without any edge gets a vector too.

    Shapes:
        features: (S, in_dim); out: (num_seeds, dim), L2-normalised.
    """

    def __init__(self, in_dim: int, dim: int, num_types: int, num_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_types = num_types
        num_relations = num_types * (num_types + 1) // 2
        self.input = nn.Linear(in_dim, dim)
        self.convs = nn.ModuleList(HeteroMaxConv(dim, num_relations) for _ in range(num_layers))
        self.output = nn.Linear(dim, dim)
        self.direct = nn.Linear(in_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def _layers(self) -> list[HeteroMaxConv]:
        return [conv for conv in self.convs if isinstance(conv, HeteroMaxConv)]

    def _out(self, h: Tensor, features: Tensor) -> Tensor:
        return functional.normalize(
            self.output(self.dropout(h)) + self.direct(self.dropout(features)), dim=-1
        )

    def forward(self, features: Tensor, blocks: list[Block]) -> Tensor:
        """Vectors of the seeds, along sampled blocks (farthest first)."""
        h = self.input(self.dropout(features))
        for conv, block in zip(self._layers(), blocks, strict=True):
            h = conv(h, block)
        return self._out(h, features[: h.shape[0]])

    @torch.no_grad()
    def embed(self, features: Tensor, graph: HeteroGraph, nodes_per_block: int = 16_384) -> Tensor:
        """Vectors of all nodes along all edges. (N, in_dim) -> (N, dim)."""
        h = self.input(features)
        for conv in self._layers():
            h = conv.full(h, graph, nodes_per_block)
        return self._out(h, features)

    @torch.no_grad()
    def embed_isolated(self, features: Tensor) -> Tensor:
        """Inductive vectors of items without edges, of known or new types. (M, in_dim) -> (M, dim)."""
        h = self.input(features)
        for conv in self._layers():
            h = functional.relu(conv.root(h))
        return self._out(h, features)
