"""`jobs.versions` as it is typed."""

import os
import subprocess
import sys
import time

import pytest
from clones import clone, plain_versions

from gfm_store.lifecycle.versions import read_versions
from gfm_store.warehouse.connection import rewrite_warehouse
from jobs import refresh_dynamic, versions


def run(capsys, *arguments):
    """Exit code and what was shown."""
    capsys.readouterr()
    code = versions.main([str(one) for one in arguments])
    return code, capsys.readouterr()


@pytest.fixture
def two(world):
    clone(world, "d-b", stretch=2)
    return world, [one.record.version for one in read_versions(world)]


def test_list_shows_every_version_and_which_is_served(two, capsys):
    root, names = two
    code, shown = run(capsys, "list", "--warehouse", root)
    lines = shown.out.splitlines()
    assert code == 0
    assert " ".join(lines[0].split()) == "version as_of age NDCG@10 items users on disk static version"
    assert [line.split()[0] for line in lines[1:]] == [names[0], "*"]
    assert "MB" in lines[1]


def test_show_names_what_the_issue_names(two, capsys):
    root, names = two
    code, shown = run(capsys, "show", names[0], "--warehouse", root)
    assert code == 0
    for word in (
        "as of",
        "parents",
        "warehouse",
        "graph",
        "quality",
        "seconds",
        "on disk",
        "SQL",
        "settings",
    ):
        assert f"\n{word} " in shown.out
    assert names[0] + ", kept" in shown.out


def test_diff(two, capsys):
    root, names = two
    code, shown = run(capsys, "diff", *names, "--warehouse", root)
    assert code == 0
    assert "first 10 of users" in shown.out
    assert "1.000" in shown.out


def test_rollback_publish_and_prune(two, capsys):
    root, names = two
    assert run(capsys, "rollback", "--warehouse", root)[1].out.startswith(f"Rolled back to {names[0]}")
    assert plain_versions(root) == {names[0]}
    code, shown = run(capsys, "rollback", "--warehouse", root)
    assert code == 2
    assert "there is none to roll back to" in shown.err
    assert run(capsys, "publish", "d-b", "--warehouse", root)[0] == 0
    assert plain_versions(root) == {"d-b"}
    code, shown = run(capsys, "prune", "--keep", 1, "--warehouse", root)
    assert code == 0
    assert shown.out.startswith(f"Removed {names[0]}; freed ")
    code, shown = run(capsys, "publish", names[0], "--warehouse", root)
    assert code == 2
    assert "is not kept" in shown.err


def test_the_warehouse_may_be_named_before_the_command(two, capsys):
    root, _ = two
    assert run(capsys, "--warehouse", root, "list")[1].out == run(capsys, "list", "--warehouse", root)[1].out


@pytest.mark.parametrize("words", ["list", "show d-1", "diff d-1 d-2", "rollback", "prune --keep 2"])
def test_nothing_published_is_one_clear_message(words, tmp_path, capsys):
    code, shown = run(capsys, *words.split(), "--warehouse", tmp_path)
    assert code == 2
    assert "no published version yet" in shown.err
    assert "Traceback" not in shown.err


def test_a_rollback_by_hand_takes_about_a_second(two):
    root, names = two
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "jobs.versions", "rollback", "--warehouse", root],
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - begin < 5  # loaded machines included; about 0.8 alone
    assert plain_versions(root) == {names[0]}


def test_status_in_five_lines(two, capsys):
    root, _ = two
    code, shown = run(capsys, "status", "--warehouse", root)
    lines = {line.split()[0]: line.partition(" ")[2].strip() for line in shown.out.splitlines()}
    assert code == 0
    assert list(lines) == ["served", "age", "runs", "logs", "due"]
    assert lines["served"].startswith("d-b on s-")
    assert "2 versions kept" in lines["served"]
    assert lines["runs"] == lines["logs"] == "none yet"
    assert lines["due"] == "nothing"


def test_status_tells_of_runs_and_of_what_is_due(two, capsys):
    root, _ = two
    with rewrite_warehouse(root) as warehouse:
        warehouse.execute(
            "INSERT INTO interaction_event SELECT 'late', item_id, 'stream', event_ts, NULL, 7 "
            "FROM interaction_event LIMIT 3"
        )
    run(capsys, "rollback", "--warehouse", root)
    assert refresh_dynamic.main(["--warehouse", str(root), "--as-of", "2000-01-01"]) == 2
    shown = run(capsys, "status", "--warehouse", root)[1].out
    assert "versions rollback done" in shown
    assert "refresh_dynamic failed" in shown
    assert "log/refresh_dynamic.log" in shown
    assert "jobs.refresh_dynamic: 3 events not seen" in shown
    assert "holds no event before 2000-01-01" in (root / "log" / "refresh_dynamic.log").read_text()


def test_status_tells_of_a_run_that_was_killed(two, capsys):
    root, _ = two
    program = (
        "import os, signal; from pathlib import Path; from gfm_store.lifecycle.journal import Journal\n"
        f"Journal(Path({str(root)!r}), 'refresh_static'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ, check=False)
    assert "refresh_static killed" in run(capsys, "status", "--warehouse", root)[1].out


def test_status_of_an_empty_folder(tmp_path, capsys):
    code, shown = run(capsys, "status", "--warehouse", tmp_path)
    assert code == 0
    assert "nothing is published" in shown.out
    assert "jobs.ingest: there are no events" in shown.out


def test_looking_changes_nothing(two, capsys):
    root, names = two
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    for arguments in (["list"], ["show", names[0]], ["diff", *names], ["status"]):
        assert run(capsys, *arguments, "--warehouse", root)[0] == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before
