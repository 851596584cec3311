"""Publishing: all tables in one step, old handles go on, killed writers harm nobody."""

import multiprocessing
import os
import signal
from datetime import datetime

import lancedb
import pyarrow as pa
import pytest

from gfm_store.errors import NotPublishedError, WarehouseLockedError
from gfm_store.locks import exclusive
from gfm_store.vectors import publication
from gfm_store.vectors.publication import (
    TABLES,
    kept_versions,
    open_table,
    publish,
    published_folder,
)
from gfm_store.vectors.version import DynamicRecord, Origin, Staleness

MOMENT = datetime(2026, 1, 1)


ORIGIN = Origin(
    n_events=1,
    event_digest="",
    item_digest="",
    profile_digest="",
    newest_event=MOMENT,
    last_ingest_id=1,
    sql="",
    config="",
    settings={},
    package="",
    threads=1,
    device="cpu",
)


def record(version):
    return DynamicRecord(
        version=version,
        inputs=version,
        aligned=None,
        staleness=Staleness(new_items=0, edge_churn=0, hgnn_mrr=0, hgnn_mrr_then=0),
        static_version="s-1",
        origin=ORIGIN,
        follows=None,
        as_of=MOMENT,
        built_at=MOMENT,
        n_items=1,
        n_users=0,
        n_pairs=0,
        held_out=None,
        seconds={},
    )


def publish_version(root, version, keep=3):
    rows = pa.table({"item_id": ["a", "b"], "embedding_version": [version] * 2})
    publish(root, record(version), dict.fromkeys(TABLES, rows), keep)


def seen_by_plain_readers(root):
    database = lancedb.connect(str(root / "vectors"))
    return {
        version
        for name in TABLES
        for version in database.open_table(name).to_arrow()["embedding_version"].to_pylist()
    }


def test_an_empty_table_is_no_reason_to_begin_anew(tmp_path):
    rows = pa.table({"item_id": ["a"]})
    tables = dict.fromkeys(TABLES, rows) | {"co_interaction_edge": rows.slice(0, 0)}
    for version in ("d-1", "d-2"):
        publish(tmp_path, record(version), tables, 3)
    assert kept_versions(published_folder(tmp_path)) == ["d-1", "d-2"]


def test_plain_readers_see_each_version_in_all_tables(tmp_path):
    for version in ("d-1", "d-2", "d-3"):
        publish_version(tmp_path, version)
        assert seen_by_plain_readers(tmp_path) == {version}
        assert DynamicRecord.read(published_folder(tmp_path)) == record(version)


def test_a_handle_opened_before_goes_on_reading_the_old_version(tmp_path):
    publish_version(tmp_path, "d-1")
    handle = lancedb.connect(str(tmp_path / "vectors")).open_table("retrieval")
    publish_version(tmp_path, "d-2")
    assert handle.to_arrow()["embedding_version"].to_pylist() == ["d-1", "d-1"]


def test_the_newest_versions_are_kept_and_the_others_are_gone(tmp_path):
    for number in range(1, 7):
        publish_version(tmp_path, f"d-{number}")
    folder = published_folder(tmp_path)
    assert kept_versions(folder) == ["d-4", "d-5", "d-6"]
    assert open_table(folder, "retrieval", "d-4").to_table()["embedding_version"][0].as_py() == "d-4"
    with pytest.raises(NotPublishedError, match=r"'d-3' is not kept in .*; there are: d-4, d-5, d-6\."):
        open_table(folder, "retrieval", "d-3")
    assert len(list((folder / "retrieval.lance" / "data").iterdir())) == 3
    assert len(list((tmp_path / "publications").iterdir())) == 3


def test_the_same_version_again_replaces_itself(tmp_path):
    publish_version(tmp_path, "d-1")
    publish_version(tmp_path, "d-1")
    assert kept_versions(published_folder(tmp_path)) == ["d-1"]


def test_nothing_published_yet(tmp_path):
    with pytest.raises(NotPublishedError, match="no published version yet"):
        published_folder(tmp_path)


def test_a_damaged_table_is_one_clear_error(tmp_path):
    publish_version(tmp_path, "d-1")
    folder = published_folder(tmp_path)
    for manifest in (folder / "retrieval.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"torn")
    with pytest.raises(NotPublishedError, match="retrieval cannot be read"):
        open_table(folder, "retrieval")


def _die_at(root, step):
    """Publish d-2 and be killed just before the named call."""
    calls = {"write": "lance.write_dataset", "tag": "_tagged", "clean": "_clean"}

    def die(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "write":
        publication.lance.write_dataset = die
    elif step in calls:
        setattr(publication, calls[step], die)
    elif step == "rename":
        publication.Path.rename = die
    elif step == "link":
        publication.Path.symlink_to = die
    elif step == "swap":
        publication.Path.replace = die
    publish_version(root, "d-2")


@pytest.mark.parametrize("step", ["write", "tag", "clean", "rename", "link", "swap"])
def test_killed_at_any_step_readers_stay_on_the_old_version_and_the_next_run_succeeds(tmp_path, step):
    publish_version(tmp_path, "d-1")
    process = multiprocessing.get_context("spawn").Process(target=_die_at, args=(tmp_path, step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert seen_by_plain_readers(tmp_path) == {"d-1"}
    publish_version(tmp_path, "d-2")
    assert seen_by_plain_readers(tmp_path) == {"d-2"}
    names = {path.name for path in (tmp_path / "publications").iterdir()}
    assert names == {"1", "2"}


def test_two_refreshes_at_once(tmp_path):
    with (
        exclusive(tmp_path, "refresh"),
        pytest.raises(WarehouseLockedError, match="Another refresh"),
        exclusive(tmp_path, "refresh"),
    ):
        pass
