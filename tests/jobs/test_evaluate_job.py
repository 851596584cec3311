"""The evaluation as a person meets it: files, table, notes, and data that hardly allows one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

from gfm_store.evaluation.baselines import BASELINES
from gfm_store.locks import exclusive
from jobs import evaluate

ROOT = Path(__file__).parents[2]
QUICK = """
threads = 1
[text]
max_tokens = 16
[hgnn]
hidden_dim = 16
fanout = [4]
early_epochs = 1
epochs = 1
steps_per_epoch = 20
[two_tower]
layers = [32, 16]
max_epochs = 1
min_pairs = 50
min_validation_pairs = 10
[blend]
steps = 20
max_snapshots = 3
"""


@pytest.fixture
def run(tmp_path, capsys):
    """Run the job on a warehouse; returns exit code, what was printed, and the figures."""
    config = tmp_path / "quick.toml"
    config.write_text(QUICK, encoding="utf-8")

    def call(root, *argv):
        code = evaluate.main(["--warehouse", str(root), "--config", str(config), *map(str, argv)])
        path = Path(root) / "report" / "metrics.json"
        return code, capsys.readouterr(), _strict(path.read_text()) if path.exists() else None

    return call


def _strict(text):
    """JSON as others read it: Python alone takes Infinity and NaN."""

    def refuse(name):
        raise AssertionError(f"metrics.json holds {name}")

    return json.loads(text, parse_constant=refuse)


def find(found, system, view, metric):
    """The figure's estimate, difference and ratio."""
    figures = [f for f in found["figures"] if (f["system"], f["view"], f["metric"]) == (system, view, metric)]
    assert len(figures) == 1
    return figures[0]


def test_not_while_somebody_is_forgotten(tmp_path, run):
    root = make_warehouse(tmp_path / "warehouse", catalogue("p1"), [stream("u", "p1", 1)])
    with exclusive(root, "evaluation"):
        code, printed, found = run(root)
    assert (code, found) == (2, None)
    assert "what the evaluation reads" in printed.err


@pytest.mark.slow
def test_everything_is_measured_written_and_reused(world, run):
    before = {path: path.stat().st_mtime_ns for path in (world / "publications").rglob("*")}
    code, printed, found = run(world, "--horizon-days", 7, "--ablations")
    assert code == 0, printed.err
    systems = {system["name"]: system for system in found["systems"]}
    baselines = {kind.name for kind in BASELINES}
    assert {"gfm-store", "HGNN vectors", "two-tower without graph", "oracle"} | baselines <= set(systems)
    assert {name for name, system in systems.items() if system["kind"] == "ablation"} == {
        "without HGNN",
        "linear coordinates for the HGNN",
        "without text",
        "homogeneous graph",
        "without the balanced sampler",
        "without weak signals",
        "without text and HGNN",
        "papers' form",
        "one model per type",
        "HGNN without audiobook",
        "HGNN frozen",
    }
    assert [series["name"] for series in found["series"]] == [
        "Cold start of audiobook: HR@10",
        "Frozen HGNN: NDCG@10",
    ]
    for name in baselines - {"popularity"}:
        assert len(systems[name]["grid"]) > 1
        assert systems[name]["settings"] in [point["settings"] for point in systems[name]["grid"]]
    model = find(found, "gfm-store", "headline", "NDCG@10")["estimate"]
    other = find(found, "popularity", "headline", "NDCG@10")
    assert other["difference"]["value"] == pytest.approx(model["value"] - other["estimate"]["value"])
    assert other["ratio"]["value"] == pytest.approx(model["value"] / other["estimate"]["value"])
    # The truth knows more than anybody.
    truth = find(found, "oracle", "headline", "HR@10")["estimate"]
    assert truth["low"] > max(find(found, n, "headline", "HR@10")["estimate"]["value"] for n in baselines)
    # One model per type ranks within types only; the same change under two names has the same figures.
    assert find(found, "one model per type", "headline", "NDCG@10")["estimate"] is None
    assert find(found, "one model per type", "type:music", "NDCG@10")["estimate"] is not None
    assert (
        find(found, "without HGNN", "headline", "NDCG@10")["estimate"]
        == find(found, "two-tower without graph", "headline", "NDCG@10")["estimate"]
    )
    assert len(found["examples"]) == 10
    assert "<html" in (world / "report" / "report.html").read_text(encoding="utf-8")
    assert "gfm-store / system" in printed.out
    assert before == {path: path.stat().st_mtime_ns for path in (world / "publications").rglob("*")}

    code, printed, again = run(world, "--horizon-days", 7, "--ablations")
    assert code == 0
    assert all(system["reused"] for system in again["systems"])
    assert again["figures"] == found["figures"]
    assert again["examples"] == found["examples"]


@pytest.mark.slow
def test_further_seeds_move_what_is_ours_alone_and_are_told(world, run):
    code, printed, one = run(world, "--horizon-days", 7)
    assert code == 0, printed.err
    code, printed, two = run(world, "--horizon-days", 7, "--seeds", 2)
    assert code == 0, printed.err
    assert two["facts"]["seeds"] == [0, 1]
    by_seed = {system["name"]: system["by_seed"] for system in two["systems"]}
    assert {name for name, found in by_seed.items() if len(found) == 2} == {
        "gfm-store",
        "two-tower without graph",
    }
    mean = find(two, "gfm-store", "headline", "NDCG@10")["estimate"]["value"]
    assert mean == pytest.approx(sum(by_seed["gfm-store"]) / 2)
    assert by_seed["gfm-store"][:1] == pytest.approx(
        [find(one, "gfm-store", "headline", "NDCG@10")["estimate"]["value"]]
    )
    assert (
        find(one, "EASE", "headline", "NDCG@10")["estimate"]
        == find(two, "EASE", "headline", "NDCG@10")["estimate"]
    )
    assert "are fitted with 2 seeds" in printed.out


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(world, run, tmp_path):
    argv = ["-m", "jobs.evaluate", "--warehouse", world, "--config", tmp_path / "quick.toml"]
    argv += ["--horizon-days", "7"]
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(list((world / "evaluation").glob("*.npz"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    made = {path: path.stat().st_ino for path in (world / "evaluation").glob("*.npz")}
    code, printed, _ = run(world, "--horizon-days", 7)
    assert code == 0, printed.err
    assert made.items() <= {path: path.stat().st_ino for path in (world / "evaluation").glob("*.npz")}.items()
    assert not list((world / "evaluation").glob("*.npz.*"))


@pytest.mark.slow
def test_leave_one_out_says_what_it_is(world, run):
    code, printed, found = run(world, "--protocol", "loo-999")
    assert code == 0, printed.err
    assert found["protocol"] == "loo-999"
    assert "only to stand beside published tables" in found["protocol_about"]
    assert "only to stand beside published tables" in (world / "report" / "report.html").read_text()
    assert found["views"][0]["num_candidates"] == 150  # the world has no 999 others
    assert {view["name"] for view in found["views"]} == {
        "headline",
        "type:audiobook",
        "type:music",
        "type:podcast",
    }
    # One target a user among few: recall and hit rate are the same.
    assert (
        find(found, "gfm-store", "headline", "HR@50")["estimate"]
        == find(found, "gfm-store", "headline", "Recall@50")["estimate"]
    )


def few_users(count, days=range(1, 40)):
    """Users who go round eight podcasts, and on after the cut."""
    return [stream(f"u{u}", f"p{(u + d) % 8}", d) for u in range(count) for d in days if (u + d) % 3] + [
        stream(f"u{u}", f"p{8 + u % 2}", -1 - u % 3) for u in range(count)
    ]


OLD = [stream("old", f"p{i}", 50 + i) for i in range(12)]


def test_one_item_type_and_notes_on_what_cannot_be_computed(tmp_path, run):
    events = few_users(30) + OLD
    make_warehouse(tmp_path / "w", catalogue(*[f"p{i}" for i in range(12)], published_at=ago(90)), events)
    code, printed, found = run(tmp_path / "w", "--as-of", f"{AS_OF:%Y-%m-%d}", "--horizon-days", 14)
    assert code == 0, printed.err
    assert not [view for view in found["views"] if view["name"].startswith("type:")]
    # The last event is on the third day after the cut.
    assert any("The data ends at" in note and "inside the horizon" in note for note in found["notes"])
    assert found["tuning_as_of"] is None
    assert any("could not be tuned" in note for note in found["notes"])
    cold = find(found, "gfm-store", "cold", "HR@10")
    assert cold["estimate"] is None  # every item has an event: there is no cold one, and no zero
    assert "not computable" in (tmp_path / "w" / "report" / "report.html").read_text()


def test_one_user_with_one_target(tmp_path, run):
    events = [*OLD, stream("u", "p1", 3), stream("u", "p2", -1)]
    make_warehouse(tmp_path / "w", catalogue(*[f"p{i}" for i in range(12)], published_at=ago(90)), events)
    code, printed, found = run(tmp_path / "w", "--as-of", f"{AS_OF:%Y-%m-%d}")
    assert code == 0, printed.err
    estimate = find(found, "gfm-store", "headline", "HR@50")["estimate"]
    assert estimate == {"value": 1.0, "low": 1.0, "high": 1.0}  # eleven items are ranked


def test_a_type_with_two_items(tmp_path, run):
    items = catalogue(*[f"p{i}" for i in range(12)], "b0", "b1", published_at=ago(90))
    books = [stream(f"u{u}", f"b{u % 2}", 5) for u in range(10)]
    books += [stream(f"u{u}", f"b{(u + 1) % 2}", -2) for u in range(10)]
    make_warehouse(tmp_path / "w", items, few_users(30) + OLD + books)
    code, printed, found = run(
        tmp_path / "w", "--as-of", f"{AS_OF:%Y-%m-%d}", "--horizon-days", 7, "--ablations"
    )
    assert code == 0, printed.err
    books = next(view for view in found["views"] if view["name"] == "type:book")
    assert (books["num_users"], books["num_candidates"]) == (10, 2)
    # Who had heard one of two books finds the other first.
    assert find(found, "gfm-store", "type:book", "HR@10")["estimate"]["value"] == 1.0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--as-of", "2024-07-01"], "Nobody newly streams an item in the 14 days after 2024-07-01"),
        (["--as-of", "2020-01-01"], "holds no event before 2020-01-01"),
        (["--horizon-days", "0"], "--horizon-days is 0; it must be at least 1"),
        (["--protocol", "loo-999", "--ablations"], "belong to the temporal protocol"),
        (["--protocol", "loo-999", "--as-of", "2024-01-01"], "belong to the temporal protocol"),
        (["--protocol", "loo"], "'loo' is not one of"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_message(tmp_path, run, argv, message):
    make_warehouse(tmp_path / "w", catalogue("p0", "p1"), [stream("u", "p0", 3), stream("v", "p1", 2)])
    code, printed, found = run(tmp_path / "w", *argv)
    assert code == 2
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert found is None
