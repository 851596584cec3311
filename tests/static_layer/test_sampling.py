"""The graph as CSR, and neighbour sampling."""

from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import graph_of, random_graph

from gfm_store.static_layer.sampling import (
    HeteroGraph,
    distinct_positions,
    relation_table,
    sample_blocks,
    sample_neighbours,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_types", [1, 2, 3, 20])
def test_every_unordered_pair_of_types_has_a_relation_of_its_own(num_types):
    table = relation_table(num_types)
    assert torch.equal(table, table.T)
    low, high = torch.triu_indices(num_types, num_types)
    assert sorted(table[low, high].tolist()) == list(range(num_types * (num_types + 1) // 2))


def neighbours_of(graph):
    """{(node, type): neighbours} read from the CSR."""
    found = {}
    for row in range(graph.rowptr.numel() - 1):
        found[divmod(row, graph.num_types)] = graph.col[graph.rowptr[row] : graph.rowptr[row + 1]].tolist()
    return found


@given(
    node_type=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    pairs=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7))),
    seed=st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_a_graph_holds_each_nodes_neighbours_by_type(node_type, pairs, seed):
    n = len(node_type)
    pairs = {(min(a, b), max(a, b)) for a, b in pairs if a != b and max(a, b) < n}
    edges = (
        torch.tensor(sorted(pairs) + [(b, a) for a, b in sorted(pairs)], dtype=torch.int64).reshape(-1, 2).T
    )
    shuffled = edges[:, torch.randperm(edges.shape[1], generator=rng(seed))]
    graph = HeteroGraph.from_edges(torch.tensor(node_type), 3, shuffled)
    expected = defaultdict(list)
    for a, b in sorted(map(tuple, edges.T.tolist())):
        expected[a, node_type[b]].append(b)
    assert {key: found for key, found in neighbours_of(graph).items() if found} == expected


def test_distinct_numbers_and_where_each_value_stands_among_them():
    values = torch.tensor([[5, 2], [2, 7]])
    distinct, place = distinct_positions(values, 9)
    assert distinct.tolist() == [2, 5, 7]
    assert place.tolist() == [[1, 0], [0, 2]]
    distinct, place = distinct_positions(values, 9, first=torch.tensor([7, 0]))
    assert distinct.tolist() == [7, 0, 2, 5]  # what comes first stays first, drawn or not
    assert torch.equal(distinct[place], values)


def sampled(graph, nodes, fanout, seed=0):
    """{(node, relation): all places in order} by node number; and the sources."""
    sources, block = sample_neighbours(graph, torch.tensor(nodes), fanout, rng(seed))
    found = {
        (nodes[int(dst)], int(relation)): sources[places].tolist()
        for dst, relation, places in zip(block.dst, block.relation, block.neighbours, strict=True)
    }
    return found, sources.tolist()


def test_a_node_with_few_neighbours_gives_all_of_them():
    graph = graph_of([0, 0, 0, 1, 1], [(0, 1), (0, 2), (0, 3), (3, 4)])
    found, sources = sampled(graph, [3, 0], fanout=3)
    table = relation_table(2)
    assert found == {
        (3, int(table[1, 0])): [0, 0, 0],
        (3, int(table[1, 1])): [4, 4, 4],
        (0, int(table[0, 0])): [1, 2, 1],
        (0, int(table[0, 1])): [3, 3, 3],
    }
    assert sources == [3, 0, 1, 2, 4]  # the destinations, then each new source once


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_neighbours_under_their_own_relation(seed):
    graph = random_graph(num_nodes=40, num_types=3, num_pairs=250, seed=seed)
    neighbours, table = neighbours_of(graph), relation_table(3)
    nodes = list(range(5, 25))
    found, _ = sampled(graph, nodes, fanout=4, seed=seed)
    expected = {
        (node, int(table[graph.node_type[node], t])): set(members)
        for (node, t), members in neighbours.items()
        if members and node in nodes
    }
    assert found.keys() == expected.keys()
    for key, drawn in found.items():
        assert set(drawn) - expected[key] == set()
        if len(expected[key]) <= 4:
            assert set(drawn) == expected[key]


def test_large_neighbourhoods_are_drawn_uniformly():
    graph = graph_of([0] * 9, [(0, i) for i in range(1, 9)])
    generator, drawn = rng(), Counter()
    for _ in range(500):
        sources, block = sample_neighbours(graph, torch.tensor([0]), 4, generator)
        drawn.update(sources[block.neighbours[0]].tolist())
    # 2000 draws of 8 neighbours: 250 each, standard deviation 15.
    assert sorted(drawn) == list(range(1, 9))
    assert min(drawn.values()) > 250 - 5 * 15
    assert max(drawn.values()) < 250 + 5 * 15


def test_blocks_reach_one_hop_further_a_layer():
    graph = graph_of([0] * 5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    inputs, (far, near) = sample_blocks(graph, torch.tensor([0]), (2, 2), rng())
    assert inputs.tolist() == [0, 1, 2]
    assert (near.num_dst, far.num_dst) == (1, 2)


def test_a_graph_without_edges_gives_empty_blocks():
    graph = graph_of([0, 1], [])
    inputs, (block,) = sample_blocks(graph, torch.tensor([1, 0]), (3,), rng())
    assert inputs.tolist() == [1, 0]
    assert block.neighbours.shape == (0, 3)
