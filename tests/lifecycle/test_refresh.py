"""The two refreshes: versions named by their inputs, nothing from the future, readers undisturbed."""

import json
import shutil
from datetime import datetime, timedelta

import lancedb
import numpy as np
import pytest
import torch
from clones import clone
from safetensors.torch import load_file
from worlds import Recorder

import gfm_store
from gfm_store import program, progress
from gfm_store.config import Config, GateConfig
from gfm_store.errors import (
    EmptyWarehouseError,
    GateError,
    NotPublishedError,
    SchemaVersionError,
    UsageError,
)
from gfm_store.lifecycle import refresh
from gfm_store.lifecycle.checks import check_item_embedding, check_retrieval
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.status import read_status
from gfm_store.lifecycle.versions import publish_version, read_versions, roll_back
from gfm_store.lifecycle.whole import whole_static
from gfm_store.vectors.publication import published_folder
from gfm_store.vectors.static_version import current_static, read_table, static_folder
from gfm_store.vectors.version import DynamicRecord, StaticRecord
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse


def table(root, name):
    return lancedb.connect(str(root / "vectors")).open_table(name).to_arrow()


def vectors(root, name):
    return np.stack(table(root, name)["vector"].to_pylist())


def execute(root, sql, **parameters):
    with rewrite_warehouse(root) as warehouse:
        warehouse.execute(sql, parameters)


def newest(root):
    with open_warehouse(root) as warehouse:
        return newest_event(warehouse)


def test_the_contract_s_columns(published):
    assert table(published, "retrieval").column_names == [
        "item_id",
        "item_type",
        "vector",
        "language",
        "published_at",
        "popularity",
        "embedding_version",
    ]
    assert table(published, "user_vector").column_names == ["user_id", "vector", "as_of", "embedding_version"]
    assert table(published, "item_embedding").column_names[:5] == [
        "item_id",
        "item_type",
        "vector",
        "text_vector",
        "embedding_version",
    ]
    edges = table(published, "co_interaction_edge")
    assert edges.column_names == ["src_item_id", "src_type", "dst_item_id", "dst_type", "n_users", "weight"]
    pairs = set(zip(edges["src_item_id"].to_pylist(), edges["dst_item_id"].to_pylist(), strict=True))
    assert pairs == {(dst, src) for src, dst in pairs}


def test_all_retrieval_rows_have_the_same_norm(published):
    norms = np.linalg.norm(vectors(published, "retrieval"), axis=1)
    assert np.ptp(norms) < 1e-4 * norms.max()


def test_the_same_inputs_are_not_built_again(world, quick):
    before = table(world, "retrieval")
    said = []
    with progress.reporting(
        type("Notes", (progress.SilentReporter,), {"say": lambda self, text: said.append(text)})()
    ):
        static = refresh_static(world, quick)
        dynamic = refresh_dynamic(world, quick)
    assert static == current_static(world)
    assert dynamic.version == before["embedding_version"][0].as_py()
    assert [text.split(" was ")[1] for text in said if " was built " in text] == [
        "built from the same inputs before; nothing to do.",
        "built from the same inputs and is published; nothing to do.",
    ]


def test_the_same_inputs_give_the_same_version_and_vectors(world, published, quick):
    for folder in ("static", "dynamic", "publications", "vectors"):
        path = world / folder
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    refresh_dynamic(world, quick)
    assert table(world, "retrieval").equals(table(published, "retrieval"))
    assert table(world, "user_vector").equals(table(published, "user_vector"))


def test_a_torn_record_of_what_is_served_is_mended_by_the_next_refresh(world, quick):
    (world / "vectors" / "record.json").write_text("")
    with pytest.raises(NotPublishedError, match=r"record\.json cannot be read \(Invalid JSON"):
        gfm_store.open(world)
    record = refresh_dynamic(world, quick)
    with gfm_store.open(world) as store:
        assert store.version == record.version


def test_what_is_published_again_takes_over_as_well(world, quick):
    before = DynamicRecord.read(published_folder(world)).version
    clone(world, "d-b")
    assert refresh_dynamic(world, quick).version == before
    assert roll_back(world).version == "d-b"


def test_a_torn_record_of_a_kept_version_stops_no_refresh(world, quick):
    clone(world, "d-b")
    torn = world / "dynamic" / "d-b" / "record.json"
    torn.write_text("")
    later = newest(world) + timedelta(days=1)
    record = refresh_dynamic(
        world, quick.model_copy(update={"gates": GateConfig(min_users=1_000_000)}), later
    )
    with gfm_store.open(world) as store:
        assert store.version == record.version


@pytest.mark.parametrize("missing", [False, True], ids=["torn", "missing"])
def test_a_torn_static_version_is_mended_by_the_next_refresh(world, quick, missing):
    served = DynamicRecord.read(published_folder(world))
    folder = static_folder(world, served.static_version)
    if missing:
        shutil.rmtree(folder)
    else:
        (folder / "record.json").write_text("{")
    assert read_versions(world)[0].record == served
    assert read_status(world).due == ["jobs.refresh_static: there is no static version that can be read"]
    recorder = Recorder()
    with progress.reporting(recorder):
        record = refresh_dynamic(world, quick)
    assert sum("Another one is built in its place." in line for line in recorder.said) == 1
    assert record.version == served.version
    assert current_static(world).version == served.static_version
    assert read_status(world).due == []


def test_a_torn_static_version_stops_no_static_refresh(world, quick):
    served = DynamicRecord.read(published_folder(world))
    (static_folder(world, served.static_version) / "record.json").write_text("{")
    static = refresh_static(world, quick, newest(world) - timedelta(days=1))
    assert static.aligned is None
    record = refresh_dynamic(world, quick)
    assert record.static_version == static.version != served.static_version
    assert {one.record.version for one in read_versions(world)} == {served.version, record.version}


def emptied(paths):
    """What a machine that lost its power leaves of files that were just written."""
    paths = list(paths)
    assert paths
    for path in paths:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "files", ["item_embedding.lance/data/*", "co_interaction_edge.lance/_versions/*", "hgnn.safetensors"]
)
def test_torn_files_of_a_static_version_are_mended_by_the_next_refresh(world, quick, files):
    served = DynamicRecord.read(published_folder(world))
    folder = static_folder(world, served.static_version)
    emptied(folder.glob(files))
    recorder = Recorder()
    with progress.reporting(recorder):
        record = refresh_dynamic(world, quick)
    assert sum("Another one is built in its place." in line for line in recorder.said) == 1
    assert record.version == served.version
    assert whole_static(folder).version == served.static_version


@pytest.mark.parametrize(
    "files",
    [
        "vectors/retrieval.lance/data/*",
        "vectors/user_vector.lance/_versions/*",
        "dynamic/*/model.json",
        "dynamic/*/blend.safetensors",
    ],
)
def test_torn_files_of_what_is_served_are_mended_by_the_next_refresh(world, published, quick, files):
    emptied(world.glob(files))
    recorder = Recorder()
    with progress.reporting(recorder):
        record = refresh_dynamic(world, quick)
    assert sum("The new version is not compared with it." in line for line in recorder.said) == 1
    with gfm_store.open(world) as store:
        assert store.version == record.version
    assert table(world, "retrieval").equals(table(published, "retrieval"))
    assert [one.record.version for one in read_versions(world)] == [record.version]


def test_readers_are_not_sent_to_a_torn_version(world):
    before = DynamicRecord.read(published_folder(world)).version
    clone(world, "d-b")
    emptied([world / "dynamic" / before / "blend.safetensors"])
    for switch in (lambda: publish_version(world, before), lambda: roll_back(world)):
        with pytest.raises(NotPublishedError, match=f"{before}: weights cannot be read"):
            switch()
    assert DynamicRecord.read(published_folder(world)).version == "d-b"


def test_a_warehouse_that_was_copied_with_its_links_followed_is_told(world, quick, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy, symlinks=False)
    for use in (gfm_store.open, lambda root: refresh_dynamic(root, quick)):
        with pytest.raises(NotPublishedError, match="copied with its links followed"):
            use(copy)
    shutil.rmtree(copy / "vectors")
    shutil.rmtree(copy / "static")
    assert refresh_dynamic(copy, quick).version == DynamicRecord.read(published_folder(world)).version


def test_settings_that_wait_for_a_static_refresh_are_told(world, quick):
    other = quick.model_copy(update={"hgnn": quick.hgnn.model_copy(update={"epochs": quick.hgnn.epochs + 1})})
    for config, told in ((quick, 0), (other, 1)):
        recorder = Recorder()
        with progress.reporting(recorder):
            refresh_dynamic(world, config)
        waiting = [line for line in recorder.said if "(hgnn) wait for `python -m jobs.refresh_static" in line]
        assert len(waiting) == told


def test_another_setting_is_another_version(world, quick):
    # So few steps give another seed another quality; the gate has tests of its own.
    quick = quick.model_copy(update={"gates": GateConfig(min_users=1_000_000)})
    other = Config.model_validate(quick.model_dump() | {"seed": 1})
    assert refresh_dynamic(world, other).version != refresh_dynamic(world, quick).version


def test_what_a_static_version_holds_out_is_part_of_its_name(world, quick):
    before = refresh_static(world, quick)
    days = quick.two_tower.model_copy(update={"validation_days": 2 * quick.two_tower.validation_days})
    after = refresh_static(world, quick.model_copy(update={"two_tower": days}))
    assert after.inputs != before.inputs
    assert after.seen_until < before.seen_until


def test_another_program_is_another_version(world, quick, monkeypatch):
    """What it leaves behind may be what the new one cannot read: it is not taken for done."""
    quick = quick.model_copy(update={"gates": GateConfig(min_users=1_000_000)})
    before = refresh_dynamic(world, quick)
    monkeypatch.setattr(program, "fingerprint", lambda: "b" * 64)
    static = refresh_static(world, quick)
    after = refresh_dynamic(world, quick)
    assert (static.version == before.static_version, after.version == before.version) == (False, False)
    assert after.origin.package.endswith("+" + "b" * 12)


def test_events_at_or_after_the_moment_change_nothing(world, quick):
    as_of = newest(world) - timedelta(days=10)
    # A version of an earlier moment may well rank worse than the served one; the gate has tests of its own.
    quick = quick.model_copy(update={"gates": GateConfig(min_users=1_000_000)})
    refresh_static(world, quick, as_of)
    first = refresh_dynamic(world, quick, as_of)
    before = table(world, "retrieval")
    execute(
        world,
        "INSERT INTO interaction_event "
        "SELECT user_id, item_id, 'stream', $ts, NULL, 9 FROM interaction_event LIMIT 500",
        ts=as_of,
    )
    assert refresh_dynamic(world, quick, as_of).version == first.version
    execute(world, "DELETE FROM interaction_event WHERE event_ts >= $ts", ts=as_of)
    second = refresh_static(world, quick, as_of), refresh_dynamic(world, quick, as_of)
    # Items that never had an event are available at any moment: with the future gone, items from after the
    # moment without a known date look like that. They alone may differ.
    after = table(world, "retrieval")
    assert set(before["item_id"].to_pylist()) <= set(after["item_id"].to_pylist())
    assert second[1].as_of == as_of


def test_a_static_version_stays_unseen_until_a_dynamic_one_is_published(world, quick):
    before = table(world, "item_embedding")
    static = refresh_static(world, quick, newest(world) - timedelta(days=1))
    assert current_static(world).version == static.version
    assert table(world, "item_embedding").equals(before)


def test_a_daily_refresh_makes_fresh_vectors_with_frozen_weights(world, quick):
    now = newest(world)
    static = refresh_static(world, quick, now - timedelta(days=15))
    weights = (world / "static" / static.version / "hgnn.safetensors").read_bytes()
    found = []
    for days in (15, 0):
        refresh_dynamic(world, quick, now - timedelta(days=days))
        rows = table(world, "item_embedding")
        ids = rows["item_id"].to_pylist()
        found.append(dict(zip(ids, np.stack(rows["vector"].to_pylist()), strict=True)))
    assert current_static(world) == static
    assert (world / "static" / static.version / "hgnn.safetensors").read_bytes() == weights
    built = read_table(world / "static" / static.version, "item_embedding", ["item_id", "vector"])
    before = np.stack(built["vector"].to_pylist())
    same, fresh = (np.stack([one[item_id] for item_id in built["item_id"].to_pylist()]) for one in found)
    with open_warehouse(world) as warehouse:
        then = now - timedelta(days=15)
        rows = warehouse.arrow(
            "SELECT DISTINCT item_id FROM interaction_event WHERE event_type = 'stream' AND event_ts < $then",
            then=then,
        )
    touched = np.isin(built["item_id"].to_pylist(), rows["item_id"].to_pylist())
    np.testing.assert_allclose(same[touched], before[touched], atol=1e-4)
    untouched = (same * before).sum(axis=1)[~touched]  # told from their text, half by the same weights
    assert (untouched > 0.7).all()
    assert np.abs(fresh - before).max() > 1e-2


def test_a_static_version_from_the_future_is_refused(world, quick):
    before = table(world, "retrieval")
    with pytest.raises(
        UsageError,
        match=r"has seen events after .* Run `python -m jobs\.refresh_static --warehouse .* --as-of",
    ):
        refresh_dynamic(world, quick, newest(world) - timedelta(days=5))
    assert table(world, "retrieval").equals(before)


def test_items_of_a_new_type_enter_by_their_text(world, quick):
    execute(
        world,
        "INSERT INTO item (item_id, item_type, title) "
        "VALUES ('film-1', 'film', 'Wolves and oaks'), ('film-2', 'film', NULL)",
    )
    refresh_dynamic(world, quick)
    rows = {row["item_id"]: row for row in table(world, "retrieval").to_pylist()}
    assert rows["film-1"]["item_type"] == rows["film-2"]["item_type"] == "film"
    assert rows["film-1"]["vector"] != rows["film-2"]["vector"]
    with gfm_store.open(world) as store:
        lists = store.recommend(history=[("film-1", "stream", newest(world))], k=3, item_type="film")
        assert lists["item_id"].to_pylist() == ["film-2"]


def test_what_is_withdrawn_or_not_yet_published_is_not_in_retrieval(world, quick):
    items = table(world, "retrieval")["item_id"].to_pylist()[:2]
    execute(world, "UPDATE item SET withdrawn_at = TIMESTAMP '2026-01-01' WHERE item_id = $id", id=items[0])
    execute(world, "UPDATE item SET published_at = TIMESTAMP '2100-01-01' WHERE item_id = $id", id=items[1])
    refresh_dynamic(world, quick)
    assert not set(items) & set(table(world, "retrieval")["item_id"].to_pylist())


def test_before_the_first_event(world, quick):
    for job in (refresh_static, refresh_dynamic):
        with pytest.raises(
            EmptyWarehouseError, match="holds no event before 2000-01-01 00:00; the first is at 2026"
        ):
            job(world, quick, datetime(2000, 1, 1))


def test_long_after_the_last_event(world, quick):
    before = table(world, "retrieval")
    for job in (refresh_static, refresh_dynamic):
        with pytest.raises(
            UsageError, match=r"days earlier; histories reach back [0-9,]+ days .* --as-of out"
        ):
            job(world, quick, datetime(2100, 1, 1))
    assert table(world, "retrieval").equals(before)


def test_an_empty_warehouse(tmp_path, quick):
    for job in (refresh_static, refresh_dynamic):
        with pytest.raises(EmptyWarehouseError, match="holds no warehouse"):
            job(tmp_path, quick)
    with rewrite_warehouse(tmp_path):
        pass
    for job in (refresh_static, refresh_dynamic):
        with pytest.raises(EmptyWarehouseError, match="holds no events yet"):
            job(tmp_path, quick)


def test_a_warehouse_of_a_newer_schema(world, quick):
    execute(world, "UPDATE schema_version SET version = 7")
    before = sorted((path, path.stat().st_mtime_ns) for path in world.rglob("*"))
    with pytest.raises(SchemaVersionError, match="schema version 7"):
        refresh_dynamic(world, quick)
    assert sorted((path, path.stat().st_mtime_ns) for path in world.rglob("*")) == before


def test_weights_and_records_go_with_their_versions(world, quick):
    config = Config.model_validate(quick.model_dump() | {"serving": {"keep_versions": 2}})
    made = []
    for days in (3, 2, 1):
        as_of = newest(world) - timedelta(days=days)
        refresh_static(world, config, as_of)
        made.append(refresh_dynamic(world, config, as_of).version)
    assert {path.name for path in (world / "dynamic").iterdir()} == set(made[1:])
    parents = {DynamicRecord.read(world / "dynamic" / version).static_version for version in made[1:]}
    static = {path.name for path in (world / "static").iterdir() if not path.is_symlink()}
    assert static == parents
    with gfm_store.open(world) as store:
        lists = store.recommend("nobody", k=1, as_of=newest(world) - timedelta(days=2))
        assert lists["embedding_version"].to_pylist() == [made[1]]


def test_records_are_readable(published):
    static = current_static(published)
    assert static.item_types == ["audiobook", "music", "podcast"]
    assert json.loads((published / "static" / static.version / "record.json").read_text()) == json.loads(
        static.model_dump_json()
    )
    assert StaticRecord.read(published / "static" / static.version) == static


def test_a_finished_build_keeps_early_weights_and_no_checkpoint(published):
    static = current_static(published)
    weights = load_file(published / "static" / static.version / "hgnn.safetensors")
    whole, early = (
        {name.removeprefix(kind): value for name, value in weights.items() if name.startswith(kind)}
        for kind in ("hgnn.", "early.")
    )
    assert whole.keys() == early.keys()
    assert not torch.equal(whole["output.weight"], early["output.weight"])
    assert not list((published / "cache").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda v: np.where(np.arange(len(v))[:, None] == 0, np.nan, v), "NaN"),
        (lambda v: v * np.linspace(1, 2, len(v))[:, None], "norm"),
    ],
)
def test_a_gate_refuses_broken_vectors(published, broken, message):
    from gfm_store.vectors.arrow import to_arrow

    for name, check in (("retrieval", check_retrieval), ("item_embedding", check_item_embedding)):
        rows = table(published, name)
        column = rows.schema.get_field_index("vector")
        wrong = rows.set_column(column, "vector", to_arrow(broken(vectors(published, name))))
        with pytest.raises(GateError, match=f"Not published: .*({message}|unit length)"):
            check(wrong)


def test_a_refused_version_is_not_published(world, quick, monkeypatch):
    before = table(world, "retrieval")

    def refuse(*tables):
        raise GateError("Not published: for the test.")

    monkeypatch.setattr(refresh, "check_retrieval", refuse)
    other = Config.model_validate(quick.model_dump() | {"seed": 2})
    with pytest.raises(GateError):
        refresh_dynamic(world, other)
    assert table(world, "retrieval").equals(before)
