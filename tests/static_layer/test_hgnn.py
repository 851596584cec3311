"""The HGNN against PyTorch Geometric's own operators, and what must not change its vectors."""

import pytest
import torch
from torch.nn import functional
from torch_geometric.nn import HeteroConv, SAGEConv
from worlds import graph_of, random_graph

from gfm_store.static_layer.hgnn import HGNN, HeteroMaxConv
from gfm_store.static_layer.sampling import HeteroGraph, relation_table, sample_blocks, sample_neighbours

DIM = 8
EVERYTHING = 1000
"""A fan-out that takes all neighbours."""


def vectors(num_nodes, dim=DIM, seed=1):
    return torch.randn(num_nodes, dim, generator=torch.Generator().manual_seed(seed))


def hgnn(num_types, num_layers):
    torch.manual_seed(3)
    return HGNN(12, DIM, num_types, num_layers)


def conv_of(num_types, seed=2):
    torch.manual_seed(seed)
    return HeteroMaxConv(DIM, num_types * (num_types + 1) // 2)


def sampled_conv(conv, h, graph, nodes, fanout=EVERYTHING):
    sources, block = sample_neighbours(graph, nodes, fanout, torch.Generator().manual_seed(0))
    return conv(h[sources], block)


def edge_lists(graph):
    row = torch.repeat_interleave(torch.arange(graph.rowptr.numel() - 1), graph.rowptr.diff())
    return row // graph.num_types, graph.col


def pyg_conv(conv, h, graph):
    """The same round by PyG: one SAGEConv per ordered pair of types, those of a relation sharing weights."""
    src, dst = edge_lists(graph)  # src is where the message goes: both directions are there
    table, num_types = relation_table(graph.num_types), graph.num_types
    members = [(graph.node_type == t).nonzero()[:, 0] for t in range(num_types)]
    place = torch.zeros(graph.num_nodes, dtype=torch.int64)
    for nodes in members:
        place[nodes] = torch.arange(len(nodes))
    convs, edges = {}, {}
    for a in range(num_types):
        for b in range(num_types):
            sage = SAGEConv((DIM, DIM), DIM, aggr="max", project=True)
            r = int(table[a, b])
            with torch.no_grad():
                sage.lin.weight.copy_(conv.message[r].weight)
                sage.lin.bias.copy_(conv.message[r].bias)
                sage.lin_l.weight.copy_(conv.update[r].weight)
                # HeteroConv adds what the num_types relations into b give: the root's share of each.
                sage.lin_l.bias.copy_(conv.root.bias / num_types)
                sage.lin_r.weight.copy_(conv.root.weight / num_types)
            mine = (graph.node_type[dst] == a) & (graph.node_type[src] == b)
            convs[str(a), "to", str(b)] = sage
            edges[str(a), "to", str(b)] = torch.stack([place[dst[mine]], place[src[mine]]])
    by_type = {str(t): h[nodes] for t, nodes in enumerate(members)}
    out = torch.empty(graph.num_nodes, DIM)
    for t, rows in HeteroConv(convs, aggr="sum")(by_type, edges).items():
        out[members[int(t)]] = rows
    return functional.relu(out)


@pytest.mark.parametrize("num_types", [1, 2, 3])
@torch.no_grad()
def test_a_round_is_pygs_max_sage_summed_over_relations(num_types):
    graph = random_graph(num_nodes=30, num_types=num_types, num_pairs=70, seed=num_types)
    conv, h = conv_of(num_types), vectors(30)
    expected = pyg_conv(conv, h, graph)
    assert float(expected.max()) > 0.1
    nodes = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(sampled_conv(conv, h, graph, nodes), expected[nodes])
    torch.testing.assert_close(conv.full(h, graph, nodes_per_block=7), expected)
    torch.testing.assert_close(conv.full(h, graph, nodes_per_block=30), expected)


def test_gradients_are_those_of_message_passing_along_all_edges():
    graph = random_graph(num_nodes=20, num_types=2, num_pairs=60, seed=7)
    conv, weight = conv_of(2), vectors(20, seed=9)

    def gradients(forward):
        h = vectors(20).requires_grad_()
        return torch.autograd.grad((forward(h) * weight).sum(), [h, *conv.parameters()])

    along_all = gradients(lambda h: conv.full(h, graph, nodes_per_block=20))
    sampled = gradients(lambda h: sampled_conv(conv, h, graph, torch.arange(20)))
    for one, other in zip(sampled, along_all, strict=True):
        assert float(other.abs().max()) > 1e-3
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_the_strongest_neighbour_wins_in_each_dimension_however_often_it_is_drawn():
    graph = graph_of([0] * 4, [(0, 1), (0, 2), (0, 3)])
    conv, h = conv_of(1), vectors(4)
    message = functional.relu(conv.message[0](h[1:])).amax(dim=0)
    expected = functional.relu(conv.root(h[0]) + conv.update[0](message))
    for fanout in (3, 5):
        torch.testing.assert_close(sampled_conv(conv, h, graph, torch.tensor([0]), fanout)[0], expected)


@torch.no_grad()
def test_the_order_of_edges_changes_nothing():
    graph = random_graph(num_nodes=30, num_types=2, num_pairs=70, seed=3)
    edges = torch.stack(edge_lists(graph))
    order = torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(8))
    permuted = HeteroGraph.from_edges(graph.node_type, 2, edges[:, order])
    model, text = hgnn(2, 2), vectors(30, 12)
    assert torch.equal(model.embed(text, permuted), model.embed(text, graph))


@torch.no_grad()
def test_the_numbering_of_nodes_changes_nothing():
    graph = random_graph(num_nodes=30, num_types=2, num_pairs=70, seed=3)
    model, text = hgnn(2, 2), vectors(30, 12)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(8))
    new = torch.empty(30, dtype=torch.int64)
    new[order] = torch.arange(30)  # node order[i] becomes i
    renumbered = HeteroGraph.from_edges(graph.node_type[order], 2, new[torch.stack(edge_lists(graph))])
    torch.testing.assert_close(model.embed(text[order], renumbered), model.embed(text, graph)[order])


@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_sampling_everything_gives_the_vectors_of_all_edges(num_layers):
    graph = random_graph(num_nodes=30, num_types=3, num_pairs=60, seed=4)
    model, text = hgnn(3, num_layers), vectors(30, 12)
    seeds = torch.tensor([4, 17, 2])
    inputs, blocks = sample_blocks(graph, seeds, (EVERYTHING,) * num_layers, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(text[inputs], blocks), model.embed(text, graph)[seeds])


@torch.no_grad()
def test_vectors_have_unit_length_and_blocks_do_not_matter():
    graph = random_graph(num_nodes=30, num_types=2, num_pairs=60, seed=4)
    model, text = hgnn(2, 2), vectors(30, 12)
    whole = model.embed(text, graph)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(30))
    torch.testing.assert_close(model.embed(text, graph, nodes_per_block=4), whole)


@torch.no_grad()
def test_a_node_without_edges_is_embedded_from_its_text():
    graph = graph_of([0, 0, 1], [(0, 1)])
    model, text = hgnn(2, 2), vectors(3, 12)
    full, isolated = model.embed(text, graph), model.embed_isolated(text)
    torch.testing.assert_close(full[2], isolated[2])
    assert float((full[:2] - isolated[:2]).abs().max()) > 1e-3  # those with an edge hear from each other
    inputs, blocks = sample_blocks(graph, torch.tensor([2]), (3, 3), torch.Generator())
    torch.testing.assert_close(model(text[inputs], blocks)[0], isolated[2])


def test_twenty_types_work():
    graph = random_graph(num_nodes=60, num_types=20, num_pairs=300, seed=6)
    model, text = hgnn(20, 2), vectors(60, 12)
    assert len(model.convs[0].message) == 210
    whole = model.embed(text, graph)
    inputs, blocks = sample_blocks(graph, torch.arange(60), (12, 12), torch.Generator().manual_seed(0))
    out = model(text[inputs], blocks)  # nobody has more than twelve neighbours of one type
    torch.testing.assert_close(out, whole)
    out.sum().backward()
    used = {int(r) for r in blocks[0].relation.unique()}
    grads = {r for r, message in enumerate(model.convs[0].message) if message.weight.grad is not None}
    assert grads == used


@torch.no_grad()
def test_only_neighbours_texts_matter_within_as_many_hops_as_layers():
    graph = graph_of([0] * 5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    model, text = hgnn(1, 2), vectors(5, 12)
    before = model.embed(text, graph)
    text[4] += 1.0
    moved = (model.embed(text, graph) - before).abs().amax(dim=1) > 1e-6
    assert moved.tolist() == [False, False, True, True, True]


@torch.no_grad()
def test_a_direct_path_leads_from_the_features_to_the_output():
    graph = graph_of([0, 0], [(0, 1)])
    model, text = hgnn(1, 2), vectors(2, 12)
    model.output.weight.zero_()
    model.output.bias.zero_()  # whatever message passing says
    alone = functional.normalize(model.direct(text), dim=-1)
    inputs, blocks = sample_blocks(graph, torch.tensor([1, 0]), (3, 3), torch.Generator())
    torch.testing.assert_close(model.embed(text, graph), alone)
    torch.testing.assert_close(model(text[inputs], blocks), alone[[1, 0]])
    torch.testing.assert_close(model.embed_isolated(text), alone)


def test_dropout_is_of_training_alone():
    graph = random_graph(num_nodes=20, num_types=2, num_pairs=40, seed=4)
    torch.manual_seed(3)
    model, text = HGNN(12, DIM, 2, 1, dropout=0.5), vectors(20, 12)
    inputs, blocks = sample_blocks(graph, torch.arange(20), (EVERYTHING,), torch.Generator().manual_seed(0))
    first, again = (model(text[inputs], blocks) for _ in range(2))
    assert float((first - again).detach().abs().max()) > 1e-2
    torch.testing.assert_close(model.eval()(text[inputs], blocks), model.embed(text, graph))
