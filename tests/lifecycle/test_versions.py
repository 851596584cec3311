"""Keeping several versions, and changing which one readers see."""

import errno
import os
import re
import time
from datetime import timedelta
from pathlib import Path

import lancedb
import pytest
from clones import clone, disk_bytes, plain_versions

import gfm_store
from gfm_store.errors import NotPublishedError, UsageError
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.versions import (
    find_version,
    prune_versions,
    publish_version,
    read_versions,
    roll_back,
)
from gfm_store.vectors.publication import dynamic_folder, published_folder
from gfm_store.warehouse.connection import newest_event, open_warehouse


def names(root):
    return [one.record.version for one in read_versions(root)]


def served(root):
    return [one.record.version for one in read_versions(root) if one.is_served]


@pytest.fixture
def three(world):
    """A world with its own version and two clones of it; their names, oldest first."""
    first = names(world)[0]
    clone(world, "d-b", stretch=2)
    clone(world, "d-c", stretch=1.5)
    return world, [first, "d-b", "d-c"]


def test_versions_are_kept_in_order_and_each_can_be_opened(three):
    root, versions = three
    assert names(root) == versions
    assert served(root) == ["d-c"]
    scores = []
    for version in versions:
        with gfm_store.open(root, version=version) as store:
            lists = store.recommend(store.users()[0].as_py(), k=1)
            assert set(lists["embedding_version"].to_pylist()) == {store.version} == {version}
            scores.append(lists["score"][0].as_py())
    assert scores == pytest.approx([scores[0], 2 * scores[0], 3 * scores[0]])


def test_a_rollback_is_seen_by_plain_readers_within_a_second(three):
    root, versions = three
    for expected in reversed(versions[:-1]):
        begin = time.monotonic()
        assert roll_back(root).version == expected
        assert time.monotonic() - begin < 1
        assert plain_versions(root) == {expected}
        assert served(root) == [expected]
    with pytest.raises(
        UsageError, match=r"is the oldest version that is kept in .*: there is none to roll back to"
    ):
        roll_back(root)
    assert names(root) == versions


def test_a_rollback_changes_nothing_of_what_was_published(three):
    root, versions = three
    before = lancedb.connect(str(root / "vectors")).open_table("retrieval").to_arrow()
    roll_back(root)
    publish_version(root, "d-c")
    assert lancedb.connect(str(root / "vectors")).open_table("retrieval").to_arrow().equals(before)
    assert names(root) == versions


def test_a_rollback_copies_no_data(three):
    root, _ = three
    before = disk_bytes(root)
    roll_back(root)
    assert disk_bytes(root) - before < 20_000  # manifests


def test_an_open_store_notices_a_rollback_and_a_pinned_one_stays(three):
    root, _ = three
    with gfm_store.open(root) as following, gfm_store.open(root, version="d-c") as pinned:
        roll_back(root)
        assert following.version == "d-b"
        assert pinned.version == "d-c"
        assert following.recommend("nobody", k=1)["embedding_version"].to_pylist() == ["d-b"]


def test_a_handle_opened_before_goes_on_after_rollback_and_publish(three):
    root, _ = three
    handle = lancedb.connect(str(root / "vectors")).open_table("user_vector")
    roll_back(root)
    publish_version(root, "d-c")
    assert set(handle.to_arrow()["embedding_version"].to_pylist()) == {"d-c"}


def test_what_is_published_after_a_rollback_comes_last(three):
    root, versions = three
    roll_back(root)
    clone(root, "d-d")
    assert names(root) == [*versions, "d-d"]
    assert roll_back(root).version == "d-b"  # d-d took over from it; d-c had been rolled back


def test_what_was_served_last_is_kept_however_old_it_is(three):
    root, versions = three
    publish_version(root, versions[0])
    clone(root, "d-d", keep=2)
    assert names(root) == [versions[0], "d-d"]
    assert roll_back(root).version == versions[0]


def test_a_rollback_undoes_a_publication(three):
    root, versions = three
    publish_version(root, versions[0])
    assert roll_back(root).version == "d-c"
    assert roll_back(root).version == "d-b"


def test_publishing_a_version_that_is_not_kept(three):
    root, _ = three
    with pytest.raises(
        NotPublishedError, match=r"version 'd-x' is not kept in .*; there are: .*, d-b, d-c\."
    ):
        publish_version(root, "d-x")


def test_pruning_frees_space_and_leaves_the_rest_whole(three):
    root, versions = three
    before = disk_bytes(root)
    assert prune_versions(root, 2) == versions[:1]
    assert names(root) == ["d-b", "d-c"]
    assert disk_bytes(root) < before
    assert not dynamic_folder(root, versions[0]).exists()
    with pytest.raises(NotPublishedError, match="is not kept"):
        gfm_store.open(root, version=versions[0])
    with gfm_store.open(root, version="d-b") as store:
        assert store.recommend("nobody", k=1).num_rows == 1


def test_pruning_never_takes_the_served_version(three):
    root, versions = three
    publish_version(root, versions[0])
    assert prune_versions(root, 1) == ["d-b"]
    assert names(root) == [versions[0], "d-c"]
    assert served(root) == [versions[0]]
    with pytest.raises(UsageError, match="at least 1"):
        prune_versions(root, 0)


def test_with_one_version_kept_an_open_handle_outlives_one_refresh(three):
    root, _ = three
    handle = lancedb.connect(str(root / "vectors")).open_table("retrieval")
    clone(root, "d-d", keep=1)
    assert set(handle.to_arrow()["embedding_version"].to_pylist()) == {"d-c"}
    assert names(root) == ["d-d"]


@pytest.mark.slow
def test_a_year_of_daily_refreshes_stays_bounded(world):
    """Of the same data every day: nothing may grow with the number of publications."""
    one = disk_bytes(published_folder(world))
    sizes, files = [], []
    for day in range(365):
        clone(world, f"d-{day}", keep=3)
        sizes.append(disk_bytes(world / "publications"))
        files.append(sum(path.is_file() for path in (world / "publications").rglob("*")))
    assert max(sizes) <= (3 + 3) * one
    assert sizes[-1] <= 1.02 * sizes[9]
    assert len(list((world / "dynamic").iterdir())) == 3
    assert files[-1] <= 1.02 * files[9]


def test_the_record_names_all_that_a_version_follows_from(world, quick):
    with open_warehouse(world) as warehouse:
        newest = newest_event(warehouse)
    static = refresh_static(world, quick, newest - timedelta(days=1))
    record = refresh_dynamic(world, quick, newest - timedelta(days=1))
    one = find_version(world, record.version)
    assert one.is_served
    assert one.record == record
    assert one.static == static
    assert record.as_of == static.as_of == newest - timedelta(days=1)
    assert record.static_version == static.version
    assert record.follows == names(world)[0]
    assert record.origin.newest_event == newest
    assert record.origin.threads == quick.threads
    assert set(record.origin.settings) == {"seed", "two_tower", "blend", "serving"}
    assert set(static.origin.settings) == {"seed", "graph", "text", "hgnn"}
    assert len(record.origin.sql) == len(record.origin.config) == 64
    assert set(record.seconds) == {"read", "two-tower", "vectors", "index", "quality", "staleness"}
    assert one.n_bytes > sum(one.table_bytes.values()) > 0


def test_a_refresh_from_the_same_inputs_publishes_a_kept_version_again(three, quick):
    root, versions = three
    made = refresh_dynamic(root, quick)
    assert made.version == versions[0]
    assert plain_versions(root) == {versions[0]}
    assert names(root) == versions


def test_names_from_a_foreign_warehouse_are_never_paths(world, tmp_path):
    """A record or a tag may say anything; what it says is checked before it becomes a folder's name."""
    for name in ("../../etc", "d-1/../../x", "d-", "s-1", "/etc/passwd", "d-1\n"):
        with pytest.raises(NotPublishedError, match="is no name of a version"):
            dynamic_folder(world, name)
    record = dynamic_folder(world, names(world)[0]) / "record.json"
    text = record.read_text()
    for field in ("version", "static_version"):
        record.write_text(re.sub(rf'"{field}": "[^"]+"', f'"{field}": "../outside"', text))
        with pytest.raises(NotPublishedError, match="is not a whole version"):
            read_versions(world)


def test_a_version_that_may_not_be_read_is_not_taken_for_a_torn_one(world, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(NotPublishedError) as error:
        read_versions(world)
    assert str(error.value).endswith("cannot be read: Permission denied.")


def test_what_a_version_holds_is_data_and_nothing_that_runs(published):
    """Everything can be opened without running anything from it: tables, safetensors, JSON."""
    endings = {path.suffix for path in published.rglob("*") if path.is_file()}
    assert endings <= {
        ".lance",
        ".manifest",
        ".txn",
        ".json",
        ".safetensors",
        ".duckdb",
        ".parquet",
        ".lock",
        "",
    }


def test_pruning_nothing_leaves_readers_where_they_are(three):
    root, versions = three
    before = published_folder(root)
    assert prune_versions(root, 3) == []
    assert published_folder(root) == before
    assert names(root) == versions


def test_a_link_that_a_killed_refresh_left_is_in_nobodys_way(three):
    root, versions = three
    (root / "static" / ".current.new").symlink_to((root / "static" / "current").readlink())
    assert prune_versions(root, 2) == versions[:1]


def test_a_store_that_stays_on_a_version_outlives_publications(three):
    root, versions = three
    with gfm_store.open(root, version=versions[0]) as store:
        item = store.recommend("user-001", 1)["item_id"][0].as_py()
        before = store.similar_items(item)
        for version in ("d-d", "d-e", "d-f"):
            clone(root, version, keep=9)
        assert store.similar_items(item).equals(before)
        assert store.sql("SELECT DISTINCT embedding_version AS v FROM retrieval")["v"].to_pylist() == [
            versions[0]
        ]
        prune_versions(root, 1)
        with pytest.raises(NotPublishedError, match="is not kept"):
            store.recommend("user-001")
