"""Forgetting a user: gone from every table and file, and nobody else touched."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lancedb
import numpy as np
import pyarrow.parquet as pq
import pytest
from clones import clone
from worlds import AS_OF, ago, catalogue, make_warehouse, stream

import gfm_store
from gfm_store.config import Config
from gfm_store.errors import EmptyWarehouseError, UsageError, WarehouseLockedError
from gfm_store.lifecycle.forgetting import TELLING_LENGTH, files_with, forget_user
from gfm_store.lifecycle.journal import utc_now
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.status import read_status
from gfm_store.lifecycle.versions import find_version, publish_version, read_versions, roll_back
from gfm_store.locks import exclusive, shared
from gfm_store.vectors.publication import dynamic_folder, open_table, published_folder
from gfm_store.vectors.static_version import read_table, static_folder
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from gfm_store.warehouse.graph import read_graph
from gfm_store.warehouse.ingest import ingest

GONE = "3f9c1e77a0b24d5c8e6f1a2b3c4d5e6f"
"""Long and random enough to be found wherever it stands."""
CONTAINS = GONE + "-2"
TINY = Config.model_validate(
    {
        "threads": 1,
        "text": {"max_tokens": 16},
        "hgnn": {
            "hidden_dim": 16,
            "fanout": [3],
            "epochs": 1,
            "steps_per_epoch": 5,
            "structure_dim": 4,
            "lexical_dim": 4,
        },
        "blend": {"steps": 5, "max_snapshots": 2, "lexical_factors": 4},
    }
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Files of a small world in which one user has been everywhere: events, profile, what was refused."""
    folder = tmp_path_factory.mktemp("sources")
    items = "".join(f"p{i},podcast,Title {i}\nb{i},book,Volume {i}\n" for i in range(12))
    (folder / "items.csv").write_text("item_id,item_type,title\n" + items)
    random = np.random.default_rng(0)
    rows = []
    for user in [GONE, CONTAINS, *[f"user-{i}" for i in range(30)]]:
        for days in random.permutation(40)[:8]:
            item = f"{'pb'[random.integers(2)]}{random.integers(12)}"
            rows.append(f"{user},{item},stream,{ago(float(days) + 0.5):%Y-%m-%dT%H:%M:%S}")
    rows += [
        f"{GONE},p0,stream,{ago(0.1):%Y-%m-%dT%H:%M:%S}",
        f"{GONE},p1,stream,{ago(0.1):%Y-%m-%dT%H:%M:%S}",
    ]
    rows += [f"user-0,p{i},stream,{ago(0.1):%Y-%m-%dT%H:%M:%S}" for i in (0, 1)]
    rows += [f"{GONE},nowhere,stream,2024-05-01", f"{GONE},p1", f"{CONTAINS},nowhere,stream,2024-05-01"]
    (folder / "events.csv").write_text("user_id,item_id,event_type,event_ts\n" + "\n".join(rows) + "\n")
    profiles = "".join(f"user-{i},SE,plan-{i % 2}\n" for i in range(30))
    (folder / "users.csv").write_text(f"user_id,country,plan\n{GONE},AX,own-{GONE}\n{profiles}")
    return folder


def take_in(root, sources, **more):
    return ingest(
        root,
        items=[str(sources / "items.csv")],
        users=[str(sources / "users.csv")],
        events=[str(sources / "events.csv")],
        **more,
    )


@pytest.fixture(scope="module")
def known(tmp_path_factory, sources) -> Path:
    """Two versions that have seen the user, on two static versions; a finished part of an evaluation, a report."""
    root = tmp_path_factory.mktemp("known") / "warehouse"
    take_in(root, sources)
    for days in (3, 0):
        refresh_static(root, TINY, ago(days))
        refresh_dynamic(root, TINY, ago(days))
    (root / "evaluation").mkdir()
    (root / "evaluation" / "0123.npz").write_bytes(GONE.encode())
    (root / "report").mkdir()
    (root / "report" / "metrics.json").write_text(json.dumps({"examples": [{"user": GONE}]}))
    (root / "report" / "report.html").write_text(f"<td>{GONE}</td>")
    return root


@pytest.fixture
def copy(known, tmp_path) -> Path:
    root = tmp_path / "warehouse"
    subprocess.run(["cp", "-a", known, root], check=True)
    return root


def decoded(root: Path) -> dict[str, set[str]]:
    """All user ids, by table and version."""
    found = {}
    with open_warehouse(root) as warehouse:
        for name in ("interaction_event", "user_profile"):
            found[name] = set(warehouse.arrow(f"SELECT user_id FROM {name}")["user_id"].to_pylist())
    for one in read_versions(root):
        version = one.record.version
        users = open_table(published_folder(root), "user_vector", version).to_table()
        found[version] = set(users["user_id"].to_pylist())
        found[f"{version} profile"] = set(
            read_table(root / "dynamic" / version, "user_profile")["user_id"].to_pylist()
        )
    return found


def quarantine(root):
    with open_warehouse(root) as warehouse:
        return warehouse.arrow("SELECT reason, content FROM rejected_row ORDER BY source_line").to_pylist()


def test_before_the_user_is_everywhere(known):
    assert all(GONE in ids for ids in decoded(known).values())
    assert {path.relative_to(known).parts[0] for path in files_with(known, GONE)} == {
        "gfm.duckdb",
        "publications",
        "dynamic",
        "evaluation",
        "report",
    }


def test_the_user_is_in_no_table_and_no_file_and_others_are_untouched(copy):
    before = decoded(copy)
    certificate, path = forget_user(copy, GONE, TINY)
    assert decoded(copy) == {name: ids - {GONE} for name, ids in before.items()}
    files = [one for one in copy.rglob("*") if one.is_file()]
    with_id = [one for one in files if GONE.encode() in one.read_bytes().replace(CONTAINS.encode(), b"")]
    assert with_id == []
    assert not list((copy / "evaluation").iterdir())
    assert not list((copy / "report").iterdir())
    assert [row["reason"] for row in quarantine(copy)] == ["unknown item"]
    assert CONTAINS in quarantine(copy)[0]["content"]
    assert (certificate.events, certificate.profiles, certificate.quarantined_rows) == (10, 1, 2)
    assert set(certificate.user_vectors.values()) == {1}
    assert set(certificate.trained_with) == {
        *certificate.user_vectors,
        *(one.static.version for one in read_versions(copy)),
    }
    assert certificate.reports == ["report/report.html", "report/metrics.json"]
    assert json.loads(path.read_text()) == json.loads(certificate.model_dump_json())
    assert path.parent == copy / "certificates"


def test_edges_and_counts_equal_a_rebuild_without_the_user(copy, sources, tmp_path):
    forget_user(copy, GONE, TINY)
    without = tmp_path / "sources"
    without.mkdir()
    for path in sources.iterdir():
        lines = [line for line in path.read_text().splitlines() if f"{GONE}," not in line]
        (without / path.name).write_text("\n".join(lines) + "\n")
    fresh = tmp_path / "fresh"
    take_in(fresh, without)
    for one in read_versions(copy):
        as_of = one.record.as_of
        with open_warehouse(fresh) as warehouse:
            rebuilt = read_graph(warehouse, as_of, TINY.graph).co_interaction_edge
        folder = static_folder(copy, one.static.version)
        assert read_table(folder, "co_interaction_edge").equals(rebuilt)
        table = open_table(published_folder(copy), "co_interaction_edge", one.record.version).to_table()
        assert table.equals(rebuilt)
        assert one.static.n_edges == rebuilt.num_rows
        refresh_static(fresh, TINY, as_of)
        refresh_dynamic(fresh, TINY, as_of)
        ours = open_table(published_folder(copy), "retrieval", one.record.version).to_table()
        theirs = open_table(published_folder(fresh), "retrieval").to_table()
        popularity = [
            dict(zip(t["item_id"].to_pylist(), t["popularity"].to_pylist(), strict=True))
            for t in (ours, theirs)
        ]
        assert popularity[0] == popularity[1]
        assert one.record.n_users == open_table(published_folder(fresh), "user_vector").count_rows()


def test_all_versions_go_on_and_vectors_of_others_stay(copy):
    before = {
        one.record.version: open_table(published_folder(copy), "user_vector", one.record.version).to_table()
        for one in read_versions(copy)
    }
    roll_back(copy)
    served = next(one.record.version for one in read_versions(copy) if one.is_served)
    forget_user(copy, GONE, TINY)
    assert [one.record.version for one in read_versions(copy)] == list(before)
    assert [one.record.version for one in read_versions(copy) if one.is_served] == [served]
    for version, users in before.items():
        after = open_table(published_folder(copy), "user_vector", version).to_table()
        keep = [user != GONE for user in users["user_id"].to_pylist()]
        assert after.equals(users.filter(np.array(keep)))
        with gfm_store.open(copy, version=version) as store:
            assert store.recommend(CONTAINS, k=1)["source"].to_pylist() == ["model"]
            assert store.recommend(GONE, k=1)["source"].to_pylist() == ["popular"]
    plain = lancedb.connect(str(copy / "vectors")).open_table("user_vector").to_arrow()
    assert set(plain["embedding_version"].to_pylist()) == {served}


def test_a_folder_and_its_file_called_after_the_user(copy):
    with rewrite_warehouse(copy) as warehouse:
        warehouse.execute(
            "UPDATE ingest_run SET source = $source", {"source": f"/x/{GONE}/{GONE}/{GONE}.csv"}
        )
    forget_user(copy, GONE, TINY)
    with open_warehouse(copy) as warehouse:
        assert warehouse.arrow("SELECT DISTINCT source FROM ingest_run")["source"].to_pylist() == [
            "/x/forgotten/forgotten/forgotten.csv"
        ]


def test_a_later_ingest_of_the_same_file_does_not_bring_the_user_back(copy, sources):
    forget_user(copy, GONE, TINY)
    before = decoded(copy)
    summary = take_in(copy, sources)
    assert decoded(copy) == before
    rejected = [{reason.reason: reason.n_rows for reason in one.rejected} for one in summary.sources]
    assert [one.get("forgotten user") for one in rejected] == [None, 1, 11]
    assert not take_in(copy, sources).changed
    raw = (copy / "gfm.duckdb").read_bytes().replace(CONTAINS.encode(), b"")
    assert GONE.encode() not in raw


def test_the_user_comes_back_when_asked_for(copy, sources):
    forget_user(copy, GONE, TINY)
    take_in(copy, sources, readmit=[GONE, "nobody"])
    with open_warehouse(copy) as warehouse:
        events = warehouse.scalar("SELECT count(*) FROM interaction_event WHERE user_id = $u", u=GONE)
    assert events == 10
    assert not take_in(copy, sources).changed


def test_the_next_refreshes_replace_the_weights(copy):
    assert read_status(copy).due == []
    certificate, _ = forget_user(copy, GONE, TINY)
    due = read_status(copy).due
    assert [one.partition(":")[0] for one in due] == ["jobs.refresh_static", "jobs.refresh_dynamic"]
    static = refresh_static(copy, TINY, AS_OF)
    record = refresh_dynamic(copy, TINY, AS_OF)
    assert not {static.version, record.version} & set(certificate.trained_with)
    assert read_status(copy).due == []


def test_somebody_who_was_never_there(copy):
    before = sorted((path, path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file())
    with pytest.raises(UsageError, match="holds no trace of that user") as error:
        forget_user(copy, GONE[:-1], TINY)
    assert GONE[:-1] not in str(error.value)
    after = sorted((path, path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file())
    assert [one for one in after if "lock" not in one[0].name] == [
        one for one in before if "lock" not in one[0].name
    ]


def test_forgetting_twice_is_no_mistake(copy):
    first, _ = forget_user(copy, GONE, TINY)
    second, _ = forget_user(copy, GONE, TINY)
    assert second.user_hash == first.user_hash
    assert second.events == 0
    assert second.trained_with == first.trained_with


def test_what_was_trained_before_the_first_ingest_of_the_user_has_not_seen_them(copy):
    with rewrite_warehouse(copy) as warehouse:
        warehouse.execute(
            "INSERT INTO interaction_event SELECT 'came-late', item_id, event_type, event_ts, seconds_played, "
            "(SELECT max(ingest_id) + 1 FROM interaction_event) FROM interaction_event ORDER BY event_ts LIMIT 1",
            {},
        )
    certificate, _ = forget_user(copy, "came-late", TINY)
    assert certificate.events == 1
    assert certificate.trained_with == []


def test_a_rollback_after_forgetting_goes_where_it_went_before(copy):
    first = read_versions(copy)[-1].record.version
    clone(copy, "d-later")
    publish_version(copy, first)
    forget_user(copy, GONE, TINY)
    assert roll_back(copy).version == "d-later"


def test_what_was_trained_after_a_first_forgetting_has_not_seen_the_user(copy):
    first, _ = forget_user(copy, GONE, TINY)
    time.sleep(1.1)  # moments are told by the second
    record = clone(copy, "d-later")
    path = dynamic_folder(copy, record.version)
    record.model_copy(update={"built_at": utc_now()}).write(path)
    second, _ = forget_user(copy, GONE, TINY)
    assert second.trained_with == first.trained_with


def test_no_warehouse(tmp_path):
    with pytest.raises(EmptyWarehouseError):
        forget_user(tmp_path / "nothing", GONE, TINY)
    assert not (tmp_path / "nothing").exists()


def test_not_while_an_evaluation_holds_the_users_data(copy):
    """What it is about to write names the user."""
    with shared(copy, "evaluation"), shared(copy, "evaluation"):  # several evaluations are no harm
        with pytest.raises(WarehouseLockedError, match=r"Another evaluation .*try again when it has ended"):
            forget_user(copy, GONE, TINY)
        with gfm_store.open(copy) as store:
            assert GONE in store.users().to_pylist()
    with (
        exclusive(copy, "evaluation"),
        pytest.raises(WarehouseLockedError, match="what the evaluation reads"),
    ):
        shared(copy, "evaluation").__enter__()
    forget_user(copy, GONE, TINY)


def test_the_only_user(tmp_path):
    root = make_warehouse(tmp_path, catalogue("p1", "p2"), [stream("u", "p1", 2), stream("u", "p2", 1)])
    refresh_dynamic(root, TINY)
    certificate, _ = forget_user(root, "u", TINY)
    assert certificate.events == 2
    assert [after for _, after in certificate.edges.values()] == [0]
    tables = lancedb.connect(str(root / "vectors"))
    assert tables.open_table("user_vector").count_rows() == 0
    assert tables.open_table("retrieval").to_arrow()["popularity"].to_pylist() == [0, 0]


def test_a_number_as_an_id_takes_no_item_of_that_number(tmp_path):
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,item_type\n42,film\n7,film\n")
    events.write_text(
        "user_id,item_id,event_type,event_ts\n42,7,stream,2024-01-01\n7,42,stream,2024-01-02\n"
        "7,9,stream,2024-01-01\n42,9,stream,2024-01-01\n7,42,dance,2024-01-01\n42,7\n7,42\n"
    )
    root = tmp_path / "warehouse"
    ingest(root, items=[str(items)], events=[str(events)])
    certificate, _ = forget_user(root, "42", TINY)
    assert (certificate.events, certificate.quarantined_rows) == (1, 3)
    with open_warehouse(root) as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM item WHERE item_id = '42'") == 1
        left = warehouse.execute("SELECT item_id FROM interaction_event").fetchall()
    assert left == [("42",)]
    assert [json.loads(row["content"]) for row in quarantine(root)] == [
        {"user_id": "7", "item_id": "9", "event_type": "stream", "event_ts": "2024-01-01"},
        {"user_id": "7", "item_id": "42", "event_type": "dance", "event_ts": "2024-01-01"},
    ]


def test_the_truth_of_a_made_world_forgets_too(world):
    users = pq.read_table(world / "truth" / "user.parquet")["user_id"].to_pylist()
    forget_user(world, users[3], TINY)
    after = pq.read_table(world / "truth" / "user.parquet")["user_id"].to_pylist()
    assert after == [user for user in users if user != users[3]]


def test_what_others_wrote_under_the_warehouse_is_named_in_the_certificate(copy):
    (copy / "export.csv").write_text(f"user,item\n{GONE},p1\n")
    certificate, _ = forget_user(copy, GONE, TINY)
    assert "export.csv" in certificate.still_in_files


def test_short_ids_are_not_searched_for_in_bytes(tmp_path):
    (tmp_path / "file").write_text("a" * TELLING_LENGTH)
    assert list(files_with(tmp_path, "a" * (TELLING_LENGTH - 1))) == []
    assert list(files_with(tmp_path, "a" * TELLING_LENGTH)) == [tmp_path / "file"]


PROGRAM = """
import os, signal, sys
from pathlib import Path
import gfm_store.lifecycle.forgetting as forgetting
from gfm_store.config import Config
module, _, name = sys.argv[3].rpartition(".")
place = forgetting if not module else __import__(module, fromlist=["x"])
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(place, name, die)
forgetting.forget_user(Path(sys.argv[1]), sys.argv[2], Config(threads=1))
"""


@pytest.mark.parametrize(
    "moment",
    ["_rewrite_static", "rewrite", "_forget_profile", "_write"],
)
def test_killed_at_any_step_the_next_run_completes_it(copy, moment):
    ended = subprocess.run([sys.executable, "-c", PROGRAM, copy, GONE, moment], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    with gfm_store.open(copy) as store:
        assert store.recommend("user-0", k=1).num_rows == 1
    certificate, _ = forget_user(copy, GONE, TINY)
    assert not any(GONE in ids for ids in decoded(copy).values())
    assert certificate.trained_with
    files = [one for one in copy.rglob("*") if one.is_file()]
    assert [one for one in files if GONE.encode() in one.read_bytes().replace(CONTAINS.encode(), b"")] == []


def test_an_open_store_goes_on(copy):
    with gfm_store.open(copy) as store:
        before = store.recommend("user-0", k=5)
        forget_user(copy, GONE, TINY)
        assert store.recommend("user-0", k=5).equals(before)
        assert store.recommend(GONE, k=1)["source"].to_pylist() == ["popular"]


def test_a_warehouse_from_before_users_could_be_forgotten(copy):
    with rewrite_warehouse(copy) as warehouse:
        warehouse.execute("DROP TABLE forgotten_user")
    # The table comes with the next rewriting; whoever only reads does without.
    assert read_status(copy).due == []
    forget_user(copy, GONE, TINY)
    assert find_version(copy, read_versions(copy)[0].record.version).record.n_users == 31
