"""The graph as CSR, neighbour sampling, and the balanced edge sampler."""

from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import graph_of, random_graph

from gfm_store.static_layer.sampling import (
    BalancedEdgeSampler,
    HeteroGraph,
    is_member,
    relation_table,
    sample_blocks,
    sample_neighbours,
)

NO_KEYS = torch.empty(0, dtype=torch.int64)


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

    once, relation = graph.undirected_edges()
    assert sorted(map(tuple, once.T.tolist())) == sorted(pairs)
    table = relation_table(3)
    assert relation.tolist() == [int(table[node_type[a], node_type[b]]) for a, b in once.T.tolist()]
    assert graph.edge_keys().tolist() == sorted(a * n + b for a, b in edges.T.tolist())


def test_membership_in_sorted_keys():
    keys = torch.tensor([[0, 3], [9, 5]])
    assert is_member(torch.tensor([3, 5, 8]), keys).tolist() == [[False, True], [False, True]]
    assert is_member(NO_KEYS, keys).tolist() == [[False, False], [False, False]]


def sampled(graph, nodes, fanout, excluded=NO_KEYS, seed=0):
    """{(node, relation): (all places in order, those that are not masked)} by node number; and the sources."""
    sources, block = sample_neighbours(graph, torch.tensor(nodes), fanout, rng(seed), excluded)
    found = {}
    for dst, relation, places, mask in zip(
        block.dst, block.relation, block.neighbours, block.mask, strict=True
    ):
        drawn = sources[places]
        found[nodes[int(dst)], int(relation)] = (drawn.tolist(), drawn[mask].tolist())
    return found, sources.tolist()


def test_a_node_with_few_neighbours_gives_all_of_them():
    graph = graph_of([0, 0, 0, 1, 1], [(0, 1), (0, 2), (0, 3), (3, 4)])
    found, sources = sampled(graph, [3, 0], fanout=3)
    table = relation_table(2)
    assert found == {
        (3, int(table[1, 0])): ([0, 0, 0], [0, 0, 0]),
        (3, int(table[1, 1])): ([4, 4, 4], [4, 4, 4]),
        (0, int(table[0, 0])): ([1, 2, 1], [1, 2, 1]),
        (0, int(table[0, 1])): ([3, 3, 3], [3, 3, 3]),
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
    for key, (drawn, _) in found.items():
        assert set(drawn) - expected[key] == set()
        if len(expected[key]) <= 4:
            assert set(drawn) == expected[key]


def test_large_neighbourhoods_are_drawn_uniformly():
    graph = graph_of([0] * 9, [(0, i) for i in range(1, 9)])
    generator, drawn = rng(), Counter()
    for _ in range(500):
        sources, block = sample_neighbours(graph, torch.tensor([0]), 4, generator, NO_KEYS)
        drawn.update(sources[block.neighbours[0]].tolist())
    # 2000 draws of 8 neighbours: 250 each, standard deviation 15.
    assert sorted(drawn) == list(range(1, 9))
    assert min(drawn.values()) > 250 - 5 * 15
    assert max(drawn.values()) < 250 + 5 * 15


def test_excluded_edges_are_masked_in_their_direction():
    graph = graph_of([0, 0, 0], [(0, 1), (0, 2)])
    found, _ = sampled(graph, [0, 1], fanout=2, excluded=torch.tensor([0 * 3 + 1]))
    assert found[0, 0] == ([1, 2], [2])
    assert found[1, 0] == ([0, 0], [0, 0])


def test_blocks_reach_one_hop_further_a_layer():
    graph = graph_of([0] * 5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    inputs, (far, near) = sample_blocks(graph, torch.tensor([0]), (2, 2), rng(), NO_KEYS)
    assert inputs.tolist() == [0, 1, 2]
    assert (near.num_dst, far.num_dst) == (1, 2)


def test_a_graph_without_edges_gives_empty_blocks():
    graph = graph_of([0, 1], [])
    inputs, (block,) = sample_blocks(graph, torch.tensor([1, 0]), (3,), rng(), NO_KEYS)
    assert inputs.tolist() == [1, 0]
    assert block.neighbours.shape == (0, 3)
    assert graph.undirected_edges()[0].shape == (2, 0)


SIZES = [3, 20, 100]
EDGES = torch.stack([torch.arange(123), torch.arange(123) + 1000])
RELATION = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))


def edge_sampler(**settings):
    given = {"batch_size": 16, "balanced": True, "min_edges": 1, "max_edges": 10_000, "generator": rng()}
    return BalancedEdgeSampler(EDGES, RELATION, **(given | settings))


def epoch(sampler):
    """The numbers of the edges of one epoch, in order."""
    batches = [edges.sort(dim=0).values for edges in sampler]
    return torch.cat(batches, dim=1)[0].tolist()


def by_relation(edges):
    counts = Counter(RELATION[edges].tolist())
    return [counts[r] for r in range(3)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [3, 3, 3]),
        ({"min_edges": 20}, [20, 20, 20]),  # the smallest does not pull the others below 20
        ({"min_edges": 500}, [100, 100, 100]),  # nor is anything raised above the largest
        ({"balanced": False}, SIZES),
        ({"min_edges": 20, "max_edges": 30}, [10, 10, 10]),
        ({"balanced": False, "max_edges": 41}, [1, 6, 33]),
    ],
)
def test_edges_per_relation_and_epoch(settings, expected):
    sampler = edge_sampler(**settings)
    edges = epoch(sampler)
    assert by_relation(edges) == expected
    assert sampler.edges_per_epoch == sum(expected)
    assert len(sampler) == len(list(sampler)) == -(-sum(expected) // 16)


def test_edges_differ_where_there_are_enough_and_repeat_evenly_where_not():
    edges = epoch(edge_sampler(min_edges=20))
    counts = Counter(edges)
    assert sorted(counts[e] for e in range(3)) == [6, 7, 7]
    assert [counts[e] for e in range(3, 23)] == [1] * 20
    assert {counts[e] for e in range(23, 123)} == {0, 1}


def test_edges_are_redrawn_each_epoch_and_fixed_by_the_seed():
    sampler, again = edge_sampler(), edge_sampler()
    first, second = epoch(sampler), epoch(sampler)
    assert set(first) != set(second)
    assert [epoch(again), epoch(again)] == [first, second]


def test_every_edge_comes_in_either_direction():
    sampler = edge_sampler(balanced=False)
    forward = sum(int((edges[0] < edges[1]).sum()) for _ in range(20) for edges in sampler)
    assert abs(forward - 1230) < 5 * 25  # of 2460; the standard deviation is 25


def test_without_edges_there_are_no_steps():
    empty = torch.empty(2, 0, dtype=torch.int64)
    settings = {"batch_size": 4, "balanced": True, "min_edges": 5, "max_edges": 9, "generator": rng()}
    assert len(BalancedEdgeSampler(empty, empty[0], **settings)) == 0
