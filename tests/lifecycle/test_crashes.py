"""kill -9 at any moment: readers are on the old version or on the new one, and the next run cleans up."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import lancedb
import pytest
from clones import clone, plain_versions
from killing import FORKS, kill_after, kill_at_step, run

import gfm_store
from gfm_store.config import GateConfig
from gfm_store.errors import NotPublishedError, SchemaVersionError, WarehouseError, WarehouseLockedError
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.versions import (
    prune_versions,
    publish_version,
    read_versions,
    roll_back,
)
from gfm_store.locks import exclusive
from gfm_store.vectors.publication import dynamic_folder, open_table, published_folder
from gfm_store.vectors.static_version import current_static
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from gfm_store.warehouse.ingest import ingest


def served(root: Path) -> str:
    """What plain readers, the store and the list of versions agree on."""
    (plain,) = plain_versions(root)
    with gfm_store.open(root) as store:
        lists = store.recommend(["nobody", store.users()[0].as_py()], k=3)
        assert set(lists["embedding_version"].to_pylist()) == {plain} == {store.version}
    kept = {one.record.version: one.is_served for one in read_versions(root)}
    assert [version for version, is_served in kept.items() if is_served] == [plain]
    for version in kept:
        with gfm_store.open(root, version=version) as store:
            assert store.version == version
    return plain


def is_clean(root: Path) -> bool:
    """Nothing lies about that only a killed writer leaves."""
    left = [*root.glob("*/*.partial"), *root.glob(".*.new")]
    kept = {one.record.version for one in read_versions(root)}
    weights = {path.name for path in (root / "dynamic").iterdir()}
    return not left and weights == kept and len(list((root / "publications").iterdir())) <= 3


def each_step(operation, root: Path, stride: int):
    """Kill the operation at its first step, then further on, until it ends by itself; yields after each kill."""
    step = 0
    while kill_at_step(operation, root, step):
        yield step
        step += stride


@pytest.mark.slow
def test_publish_killed_at_many_steps(world):
    names = {served(world)}
    for step in each_step(partial(clone, version="d-new", keep=3), world, 13):
        now = served(world)
        assert now in {*names, "d-new"}, step
        if now == "d-new":
            roll_back(world)
    assert served(world) == "d-new"
    assert is_clean(world)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "old", "new"),
    [
        (roll_back, "d-c", "d-b"),
        (partial(publish_version, version="d-b"), "d-c", "d-b"),
        (partial(prune_versions, keep=1), "d-c", "d-c"),
    ],
    ids=["rollback", "publish", "prune"],
)
def test_rollback_publish_and_prune_killed_at_many_steps(world, operation, old, new):
    clone(world, "d-b")
    clone(world, "d-c")
    for step in each_step(operation, world, 11):
        assert served(world) in {old, new}, step
        if served(world) != old:
            break  # it had done its work when it was killed
    assert served(world) == new
    clone(world, "d-d", keep=9)
    assert served(world) == "d-d"
    assert is_clean(world)


def another(quick):
    """Settings of another version that no gate refuses for what so few steps make of its seed."""
    return quick.model_copy(update={"seed": 1, "gates": GateConfig(min_users=1_000_000)})


@pytest.mark.slow
def test_refreshes_killed_at_steps_and_at_random_moments(world, quick):
    """Each run goes on from what the killed ones left."""
    old, static = served(world), current_static(world).version
    other = another(quick)
    operations = {
        "static": partial(refresh_static, config=other),
        "dynamic": partial(refresh_dynamic, config=other),
    }
    for step in (0, 2, 5, 9, 14, 20):
        if not kill_at_step(operations["static"], world, step):
            break
        assert served(world) == old
    for seed in range(3):
        kill_after(operations["static"], world, 3, seed)
        assert served(world) == old
    run(operations["static"], world)
    assert served(world) == old
    new_static = current_static(world).version
    assert new_static != static
    seen = set()
    for step in (0, 3, 8, 15, 25, 40, 60, 80):
        if not kill_at_step(operations["dynamic"], world, step):
            break
        seen.add(served(world))
    for seed in range(3):
        kill_after(operations["dynamic"], world, 3, seed)
        seen.add(served(world))
    run(operations["dynamic"], world)
    new = served(world)
    assert new != old
    assert seen <= {old, new}
    assert read_versions(world)[-1].static.version == new_static
    clone(world, "d-next")
    assert is_clean(world)


def limited(root: Path, config, n_bytes: int, result) -> None:
    """Refresh on a disk that takes no file longer than so much."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    try:
        refresh_dynamic(root, config)
    except WarehouseError as error:
        result.put(str(error))
    else:
        result.put("")


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [2_000, 50_000, 100_000])
def test_a_full_disk_is_one_clear_error_and_the_old_version_stays(world, quick, n_bytes):
    old = served(world)
    other = another(quick)
    result = FORKS.Queue()
    process = FORKS.Process(target=limited, args=(world, other, n_bytes, result))
    process.start()
    message = result.get(timeout=120)
    process.join()
    assert "could not be read or written" in message
    assert "What is served is unchanged." in message
    assert served(world) == old
    refresh_dynamic(world, other)
    assert is_clean(world)


READ_ONLY = """
import sys
from jobs import recommend, refresh_dynamic, versions
for job, words in (refresh_dynamic, []), (versions, ["rollback"]), (recommend, ["--user", "nobody", "-k", "1"]):
    print("exit", job.main([*words, "--warehouse", sys.argv[1]]))
"""
AS_ROOT = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Root may write anywhere, unless it gives that up."""


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() == 0 and not shutil.which("setpriv"), reason="root cannot be kept from writing"
)
def test_a_read_only_folder_is_one_clear_error_and_serves(world):
    folders = [world, *(path for path in world.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    for path in world.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    command = [*(AS_ROOT if os.getuid() == 0 else []), sys.executable, "-c", READ_ONLY, str(world)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in folders:
        path.chmod(0o755)
    exits = [line for line in shown.stdout.splitlines() if line.startswith("exit")]
    assert exits == ["exit 2", "exit 2", "exit 0"], shown.stderr
    assert "popular" in shown.stdout
    assert shown.stderr.count("cannot be written: Permission denied") == 2
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    "name",
    [
        "model.json",
        "record.json",
        "blend.safetensors",
        "retrieval.lance/data",
        "item_embedding.lance/data",
    ],
)
@pytest.mark.parametrize("damage", ["torn", "missing"])
def test_a_damaged_file_is_one_clear_error_and_an_open_store_goes_on(world, name, damage):
    with gfm_store.open(world) as store:
        before = store.recommend("nobody", k=3)
        clone(world, "d-b")
        folder = dynamic_folder(world, "d-b")
        inside = published_folder(world) / name
        files = list(inside.iterdir()) if inside.is_dir() else [folder / name]
        for path in files:
            data = path.read_bytes()
            path.unlink()
            if damage == "torn":
                path.write_bytes(data[: len(data) // 2])
        with pytest.raises(NotPublishedError) as error:
            gfm_store.open(world)
        assert "\n" not in str(error.value)
        if files[0].parent == folder:  # the tables' files belong to both versions' publication
            assert store.recommend("nobody", k=3).equals(before)
    if files[0].parent == folder and name != "record.json":
        roll_back(world)
        assert plain_versions(world) != {"d-b"}
        with gfm_store.open(world) as store:
            assert store.recommend("nobody", k=3).equals(before)


def test_a_torn_warehouse_is_one_clear_error(world, quick):
    path = world / "gfm.duckdb"
    path.write_bytes(path.read_bytes()[:5_000])
    for operation in (refresh_static, refresh_dynamic):
        with pytest.raises(SchemaVersionError, match="cannot be opened as a DuckDB database"):
            operation(world, quick)
    with pytest.raises(SchemaVersionError):
        gfm_store.open(world)


def test_a_second_refresh_leaves_with_a_message(world, quick):
    with exclusive(world, "refresh"):
        for operation in (refresh_static, refresh_dynamic):
            with pytest.raises(WarehouseLockedError, match="Another refresh is writing"):
                operation(world, quick)


def test_a_rollback_waits_for_a_publication_and_not_for_a_refresh(world):
    clone(world, "d-b")
    with exclusive(world, "refresh"):
        roll_back(world)
    publish_version(world, "d-b")
    with exclusive(world, "publication"):
        waiting = threading.Thread(target=roll_back, args=(world,))
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        assert plain_versions(world) == {"d-b"}
    waiting.join()
    assert plain_versions(world) != {"d-b"}


def ask(root: Path, dim: int, stop, result) -> None:
    """Query until told to stop; what went wrong, and which versions were seen."""
    wrong, seen, asked = [], set(), 0
    try:
        with gfm_store.open(root) as store:
            users = store.users().to_pylist()[:5]
            while not stop.is_set():
                lists = store.recommend(users, k=5)
                versions = set(lists["embedding_version"].to_pylist())
                table = lancedb.connect(str(root / "vectors")).open_table("retrieval")
                rows = table.search([0.1] * dim).limit(5).to_arrow()
                if (
                    len(versions) != 1
                    or lists.num_rows != 25
                    or len(set(rows["embedding_version"].to_pylist())) != 1
                ):
                    wrong.append(f"mixed: {lists} {rows}")
                seen |= versions
                asked += 1
    except Exception as error:
        wrong.append(repr(error))
    result.put((wrong, len(seen), asked))


@pytest.mark.slow
def test_eight_readers_during_twenty_publications(world):
    """No error, no mixed list, and stores that stay open notice what is published."""
    dim = open_table(published_folder(world), "retrieval").schema.field("vector").type.list_size
    stop, result = FORKS.Event(), FORKS.Queue()
    readers = [FORKS.Process(target=ask, args=(world, dim, stop, result)) for _ in range(8)]
    for reader in readers:
        reader.start()
    time.sleep(1)
    for number in range(20):
        clone(world, f"d-{number}", keep=2)
    last = plain_versions(world)
    time.sleep(1)
    stop.set()
    answers = [result.get(timeout=120) for _ in readers]
    for reader in readers:
        reader.join()
    assert [wrong for wrong, _, _ in answers if wrong] == []
    assert all(seen > 1 for _, seen, _ in answers)
    assert sum(asked for _, _, asked in answers) > 100
    assert last == {"d-19"}


@pytest.mark.slow
def test_ingest_refresh_serving_and_a_shell_side_by_side(world, quick, tmp_path):
    events = tmp_path / "events.csv"
    with open_warehouse(world) as shell, gfm_store.open(world) as store:
        item = shell.scalar("SELECT min(item_id) FROM item")
        before = shell.scalar("SELECT count(*) FROM interaction_event")
        events.write_text(f"user_id,item_id,event_type,event_ts\nnewcomer,{item},stream,2026-09-29\n")
        refreshing = FORKS.Process(target=refresh_dynamic, args=(world, quick.model_copy(update={"seed": 7})))
        refreshing.start()
        assert ingest(world, events=[str(events)]).changed
        assert store.recommend("newcomer", k=1)["source"].to_pylist() == ["model"]
        assert shell.scalar("SELECT count(*) FROM interaction_event") == before
        refreshing.join()
        assert refreshing.exitcode == 0
        assert {store.version} == plain_versions(world)
    with rewrite_warehouse(world), gfm_store.open(world) as store:
        assert store.recommend("newcomer", k=1).num_rows == 1
