"""When the static layer is due for a refresh."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from worlds import add_items

from gfm_store.config import Config, GateConfig
from gfm_store.lifecycle.refresh import refresh_dynamic
from gfm_store.lifecycle.staleness import _churn, _mrr, _reasons
from gfm_store.lifecycle.status import read_status
from gfm_store.lifecycle.versions import read_versions
from gfm_store.vectors.version import Staleness
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse


def test_right_after_a_static_refresh_nothing_is_stale(published):
    found = read_versions(published)[0].record.staleness
    assert (found.new_items, found.edge_churn) == (0, 0)
    assert found.hgnn_mrr == found.hgnn_mrr_then > 0.05
    assert found.reasons == []


def test_new_items_make_a_static_refresh_due(world, quick):
    add_items(world, [{"item_id": f"new-{i}", "item_type": "music", "title": f"New {i}"} for i in range(30)])
    found = refresh_dynamic(world, quick).staleness
    assert found.new_items == pytest.approx(30 / 178, abs=0.01)
    assert found.reasons == ["17% of the items are new"]
    assert read_status(world).due == ["jobs.refresh_static: 17% of the items are new"]


def test_other_company_makes_a_static_refresh_due(world, quick):
    """All that is streamed afterwards is streamed by others: the graph turns over."""
    with open_warehouse(world) as warehouse:
        end = newest_event(warehouse)
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute(
            "INSERT INTO interaction_event SELECT 'late-' || (row_number() OVER () % 60), item_id, 'stream', "
            "$end + INTERVAL 1 DAY * (row_number() OVER () % 90), NULL, 2 "
            "FROM (SELECT item_id FROM item CROSS JOIN range(20) ORDER BY hash(item_id || range))",
            {"end": end},
        )
    found = refresh_dynamic(world, quick, end + timedelta(days=90)).staleness
    assert found.edge_churn > 0.5
    assert any("of the edges changed" in reason for reason in found.reasons)


def test_churn_counts_what_is_not_in_both():
    then, now = np.array([[0, 1, 2], [1, 2, 3]]), np.array([[0, 1, 5], [1, 2, 6]])
    assert _churn(then, now, 10) == 0.5
    assert _churn(then, then, 10) == 0
    assert _churn(np.zeros((2, 0), int), np.zeros((2, 0), int), 10) == 0
    gone = np.array([[-1], [3]])
    assert _churn(gone, np.array([[2], [3]]), 10) == 1


def test_mrr_of_vectors_that_know_the_edges_and_of_some_that_do_not():
    item_node = pa.table({"type_index": [0] * 100, "is_available": [True] * 100})
    pair = np.repeat(np.random.default_rng(0).standard_normal((50, 16)), 2, axis=0).astype(np.float32)
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    edges = np.array([np.arange(0, 100, 2), np.arange(1, 100, 2)])
    assert _mrr(edges, pair, item_node) > 0.9
    assert _mrr(edges, pair[np.random.default_rng(1).permutation(100)], item_node) < 0.2
    assert _mrr(np.array([[-1], [3]]), pair, item_node) == 0


def test_reasons():
    fine = Staleness(new_items=0.1, edge_churn=0.5, hgnn_mrr=0.4, hgnn_mrr_then=0.5)
    assert _reasons(fine, GateConfig()) == []
    worse = fine.model_copy(update={"hgnn_mrr": 0.39})
    assert _reasons(worse, GateConfig()) == [
        "the HGNN finds linked items with MRR 0.390, 0.500 when it was built"
    ]
    assert len(_reasons(worse.model_copy(update={"new_items": 0.2, "edge_churn": 0.6}), GateConfig())) == 3


def test_the_limits_are_settings(world, quick):
    add_items(world, [{"item_id": "new-1", "item_type": "music", "title": "New"}])
    strict = Config.model_validate(quick.model_dump() | {"gates": {"max_new_items": 0.0}})
    assert refresh_dynamic(world, strict).staleness.reasons == ["1% of the items are new"]
