"""The benchmark's world is whole, its peers answer the same question, and its table says who took how long."""

import csv

import numpy as np
import pytest

import gfm_store
from gfm_store.benchmark import measure, requests, world
from gfm_store.benchmark.everybody import measure_everybody
from gfm_store.benchmark.graph import measure_graph
from gfm_store.benchmark.measure import MEASUREMENT, OURS, Measurement, as_table, median_ms
from gfm_store.warehouse.sample import SampleSettings
from jobs import benchmark


@pytest.fixture(scope="module")
def big(published, tmp_path_factory):
    """Four copies of each item and two of each user."""
    root = tmp_path_factory.mktemp("big") / "world"
    world.multiply_world(root, published, copies=4, user_copies=2, seed=0)
    return root


def test_a_multiplied_world_is_whole(big, published):
    with gfm_store.open(big) as store, gfm_store.open(published) as small:
        for table, factor in (
            ("item", 4),
            ("retrieval", 4),
            ("item_search", 4),
            ("user_profile", 2),
            ("interaction_event", 2),
        ):
            counts = [one.sql(f"SELECT count(*) AS n FROM {table}")["n"][0].as_py() for one in (store, small)]
            assert counts[0] == factor * counts[1], table
        orphans = "SELECT count(*) AS n FROM interaction_event ANTI JOIN item USING (item_id)"
        assert store.sql(orphans)["n"][0].as_py() == 0
        user = small.users()[5].as_py() + "-000001"
        lists = store.recommend(user, 10)
        assert set(lists["source"].to_pylist()) == {"model"}
        norms = np.linalg.norm(store._session.bound.retrieval_vector, axis=1)
        assert np.ptp(norms) < 1e-3 * norms.max()
        assert store.search("sea", 3).num_rows == 3


def test_all_systems_answer_the_same_question(big, tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "REQUESTS", 3)
    with gfm_store.open(big) as store:
        measured = requests.measure_requests(store, big, tmp_path)
    assert len({one.task for one in measured}) == 3
    for task in {one.task for one in measured}:
        systems = {one.system: one for one in measured if one.task == task}
        assert set(systems) >= {OURS, "NumPy exact", "torch exact", "LanceDB flat", "LanceDB IVF_FLAT"}
        for name in (OURS, "NumPy exact", "torch exact", "LanceDB flat"):
            assert systems[name].recall == pytest.approx(1.0), (task, name)
            assert systems[name].milliseconds > 0


def test_everybody_and_the_graph(big, published):
    with gfm_store.open(big) as store:
        ours, product = measure_everybody(store, 100)
    assert ours.task == product.task == "lists for 100 users over 592 items"
    assert ours.milliseconds > product.milliseconds
    edges = measure_graph(published)  # raises where SQL and SciPy disagree
    assert [one.system for one in edges] == [OURS, "SciPy X'X", OURS, "PyG NeighborLoader"]


def test_ratios_are_to_our_time_at_the_same_task():
    table = as_table(
        [
            Measurement("a", OURS, 6.0),
            Measurement("a", "x", 3.0),
            Measurement("b", "x", 1.0),
            Measurement("a", "y"),
        ]
    )
    assert table.schema == MEASUREMENT
    assert table["ours_to_it"].to_pylist() == [None, 2.0, None, None]


def test_the_first_call_does_not_count(monkeypatch):
    moments = iter([0, 9, 10, 11, 12, 13])  # nine seconds, then one each
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(moments))
    assert median_ms(lambda i: i, times=2) == 1_000


@pytest.mark.slow
def test_the_job(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(world, "SMALL", SampleSettings(users=300, items=150, days=60, events=15_000))
    monkeypatch.setattr(requests, "REQUESTS", 3)
    out = tmp_path / "measured.csv"
    argv = [
        "--items",
        "1000",
        "--events",
        "60000",
        "--users",
        "50",
        "--warehouse",
        str(tmp_path / "w"),
        "--out",
        str(out),
    ]
    assert benchmark.main(argv) == 0
    assert list((tmp_path / "w").iterdir()) == []
    assert "NumPy exact" in capsys.readouterr().out
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} >= {OURS, "SciPy X'X", "BLAS product alone"}
