"""One call is one step: all of it or nothing, whatever ends it, and nothing at all when nothing is new."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gfm_store.errors import SourceError, WarehouseLockedError
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse, warehouse_file
from gfm_store.warehouse.ingest import ingest

REPOSITORY = Path(__file__).resolve().parents[2]


def digest(root: Path) -> tuple[str, int]:
    """The file's bytes and its inode: a rename of an equal file would differ."""
    file = warehouse_file(root)
    return hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_ino


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,item_type\ni1,music\ni2,music\n,music\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,event_type,event_ts\nu1,i1,stream,2024-01-01\nu1,i9,stream,2024-01-01\n"
        "u1,i1,stream,2024-01-01\n"
    )
    (tmp_path / "users.csv").write_text("user_id,plan\nu1,free\nu1,paid\n")
    return {kind: [str(tmp_path / f"{kind}.csv")] for kind in ("items", "events", "users")}


def test_the_same_again_leaves_the_file_untouched(tmp_path, sources):
    root = tmp_path / "warehouse"
    first = ingest(root, **sources)
    before = digest(root)
    again = ingest(root, **sources)
    assert (first.changed, again.changed) == (True, False)
    assert [(one.n_stored, one.n_rejected) for one in again.sources] == [(2, 1), (1, 1), (1, 2)]
    assert digest(root) == before
    assert sorted(path.name for path in root.iterdir()) == [".ingest.lock", "gfm.duckdb"]


def test_a_change_in_what_is_rejected_is_a_change(tmp_path, sources):
    root = tmp_path / "warehouse"
    ingest(root, **sources)
    with Path(sources["events"][0]).open("a") as file:
        file.write("u2,,stream,2024-01-01\n")
    assert ingest(root, **sources).changed
    with open_warehouse(root) as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM rejected_row") == 5
        assert warehouse.scalar("SELECT count(*) FROM ingest_run WHERE n_new = 0") == 3


def test_a_later_source_that_breaks_takes_the_earlier_ones_back(tmp_path, sources):
    root = tmp_path / "warehouse"
    ingest(root, items=sources["items"])
    before = digest(root)
    more = tmp_path / "more.csv"
    more.write_text("item_id,item_type\ni3,music\n")
    with pytest.raises(SourceError, match="no such file"):
        ingest(root, items=[str(more)], events=[str(tmp_path / "nowhere.csv")])
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        ingest(root, items=[str(more), str(cut)])
    assert digest(root) == before


@pytest.mark.slow
def test_killed_half_way_the_old_warehouse_is_whole(tmp_path, sources):
    root = tmp_path / "warehouse"
    ingest(root, **sources)
    before = digest(root)
    n_rows = 300_000
    big = tmp_path / "big.csv"
    with big.open("w") as file:
        file.write("user_id,item_id,event_type,event_ts\n")
        file.writelines(f"u{row},i2,stream,{1_700_000_000 + row}\n" for row in range(n_rows))
    command = [sys.executable, "-m", "jobs.ingest", "--warehouse", str(root), "--events", str(big)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL
    )
    copy = root / ".gfm.duckdb.new"
    deadline = time.monotonic() + 30
    while not copy.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert copy.exists(), "the ingest was not at work yet"
    assert digest(root) == before
    assert ingest(root, events=[str(big)]).n_events == n_rows + 1
    assert not copy.exists()


def test_two_at_once_the_second_leaves(tmp_path, sources):
    root = tmp_path / "warehouse"
    with rewrite_warehouse(root), pytest.raises(WarehouseLockedError, match="Another ingest is writing"):
        ingest(root, **sources)
    assert ingest(root, **sources).n_events == 1


def test_a_reader_keeps_what_it_sees(tmp_path, sources):
    root = tmp_path / "warehouse"
    ingest(root, items=sources["items"])
    with open_warehouse(root) as reader:
        ingest(root, events=sources["events"])
        assert reader.scalar("SELECT count(*) FROM interaction_event") == 0
    with open_warehouse(root) as reader:
        assert reader.scalar("SELECT count(*) FROM interaction_event") == 1
