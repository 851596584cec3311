"""Jobs as a person meets them: exit codes, one clear message, --help with examples."""

import csv
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gfm_store
from gfm_store.errors import GateError
from gfm_store.lifecycle import refresh
from gfm_store.warehouse.connection import rewrite_warehouse

REPOSITORY = Path(__file__).parents[2]
JOBS = sorted({path.stem for path in (REPOSITORY / "jobs").glob("*.py")} - {"__init__", "common"})


def run(name, *argv):
    return importlib.import_module(f"jobs.{name}").main([str(part) for part in argv])


@pytest.mark.parametrize("name", JOBS)
def test_help_has_examples(name, capsys):
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    assert "Examples" in shown
    assert f"python -m jobs.{name}" in shown
    assert "--warehouse" in shown
    assert "--config" in shown


@pytest.mark.parametrize("name", JOBS)
def test_an_unknown_option_is_bad_usage(name, capsys):
    assert run(name, "--nonsense") == 2
    assert "No such option: --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["refresh_static", "refresh_dynamic", "recommend", "evaluate"])
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--warehouse", "nowhere"], "nowhere holds no warehouse"),
        (["--config", "nowhere.toml"], "nowhere.toml: no such configuration file"),
        (["--as-of", "9999-12-31"], "--as-of: '9999-12-31' is not in the years 1900 to 2199"),
        (["--as-of", "yesterday"], "--as-of: 'yesterday' is not a moment"),
    ],
)
def test_bad_input_is_one_message_and_no_traceback(name, argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--warehouse" not in argv:
        with rewrite_warehouse(tmp_path / "warehouse"):
            pass
    who = ["--user", "u"] if name == "recommend" else []
    assert run(name, *who, *argv) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--user", "u", "-k", 0], "k is 0; it must be at least 1"),
        (
            ["--user", "u", "--item-type", "film"],
            "unknown item type 'film'; there are: audiobook, music, podcast",
        ),
        (["--user", "u", "--language", "xx"], "unknown language 'xx'"),
        (["--user", "u", "--creator", "nobody"], "unknown creator 'nobody'"),
        (["--user", "u", "--published-after", "soon"], "published_after: 'soon' is not a moment"),
        (["--user", "u", "--max-per-creator", 0], "max_per_creator is 0; it must be at least 1"),
        (["--user", "u", "--diversity", 2], "diversity is 2.0; it must lie between 0 and 1"),
        (["--user", "u", "--as-of", "soon"], "--as-of: 'soon' is not a moment"),
        (["--user", "u", "--as-of", "2000-01-01"], "No kept version is from 2000-01-01 00:00 or before"),
        (["--user", "u", "--out", "lists.xlsx"], "the ending must be .parquet or .csv"),
        (["--user", "u", "--out", "no/folder/lists.csv"], "cannot be written"),
        (["--users", "nowhere.txt"], "cannot be read"),
        ([], "Say who: one of --user ID, --users FILE and --all."),
        (["--user", "u", "--all"], "Say who"),
    ],
)
def test_recommend_says_what_is_wrong(published, argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("recommend", "--warehouse", published, *argv) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_published_yet(tmp_path, capsys):
    root = tmp_path / "my data"
    with rewrite_warehouse(root) as warehouse:
        warehouse.execute("INSERT INTO item (item_id, item_type) VALUES ('a', 'music')")
    assert run("recommend", "--warehouse", root, "--user", "u") == 2
    assert f"python -m jobs.refresh_dynamic --warehouse '{root}'" in capsys.readouterr().err


def test_recommend_prints_a_table(published, capsys):
    assert run("recommend", "--warehouse", published, "--user", "nobody", "-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "user_id",
        "rank",
        "item_id",
        "item_type",
        "score",
        "source",
        "embedding_version",
    ]
    assert [line.split()[:2] for line in lines[1:3]] == [["nobody", "1"], ["nobody", "2"]]


def test_recommend_says_for_how_many_users_nothing_is_left(published, capsys):
    late = ["--published-after", "2100-01-01", "--user", "user-001", "--user", "user-002"]
    assert run("recommend", "--warehouse", published, *late) == 0
    assert "Users for whom no item passes what is asked: 2." in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_recommend_writes_files(published, tmp_path, ending, capsys):
    users = tmp_path / "users.txt"
    users.write_text("user-066\n\nnobody\n", encoding="utf-8")
    out = tmp_path / f"lists.{ending}"
    assert run("recommend", "--warehouse", published, "--users", users, "-k", 3, "--out", out) == 0
    rows = (
        pq.read_table(out).to_pylist()
        if ending == "parquet"
        else list(csv.DictReader(out.open(encoding="utf-8")))
    )
    assert [row["user_id"] for row in rows] == ["user-066"] * 3 + ["nobody"] * 3
    assert [int(row["rank"]) for row in rows] == [1, 2, 3] * 2
    assert "6 rows for 2 users" in capsys.readouterr().out


def test_recommend_takes_what_the_store_takes(published, tmp_path):
    with gfm_store.open(published) as store:
        found = store.sql(
            "SELECT item.language, item.creator FROM item JOIN retrieval USING (item_id) ORDER BY item_id"
        )
        languages = sorted(found["language"].drop_null().unique().to_pylist())[:2]
        creator = found["creator"].drop_null()[0].as_py()
        unlike = store.recommend("user-066", 3)["item_id"][0].as_py()
        settings = {
            "languages": languages,
            "published_after": "2000-01-01",
            "exclude": [unlike],
            "max_per_creator": 1,
            "diversity": 0.4,
            "include_seen": True,
        }
        expected = store.recommend("user-066", 5, **settings)
        of_one = store.recommend("user-066", 5, creators=creator)
    argv = ["--user", "user-066", "-k", 5, "--published-after", "2000-01-01", "--exclude", unlike]
    argv += ["--max-per-creator", 1, "--diversity", 0.4, "--include-seen"]
    argv += [part for language in languages for part in ("--language", language)]
    out = tmp_path / "lists.parquet"
    assert run("recommend", "--warehouse", published, *argv, "--out", out) == 0
    assert pq.read_table(out).equals(expected)
    assert 0 < expected.num_rows <= 5
    creators = ["--user", "user-066", "-k", 5, "--creator", creator]
    assert run("recommend", "--warehouse", published, *creators, "--out", out) == 0
    assert pq.read_table(out).equals(of_one)


def test_sql_prints_a_table(published, capsys):
    query = (
        "SELECT item_type, count(*) AS n, NULL AS '[b]nothing' FROM retrieval GROUP BY item_type ORDER BY 1"
    )
    assert run("sql", "--warehouse", published, query) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["item_type", "n", "[b]nothing"]
    assert [line[0] for line in lines[1:]] == ["audiobook", "music", "podcast"]


def test_sql_reads_standard_input(published, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 40 + 2 AS answer"))
    assert run("sql", "--warehouse", published) == 0
    assert capsys.readouterr().out.split() == ["answer", "42"]


def test_sql_writes_files(published, tmp_path, capsys):
    for name in ("rows.parquet", "rows.csv"):
        query = "SELECT item_id, item_type FROM item ORDER BY item_id"
        assert run("sql", "--warehouse", published, query, "--out", tmp_path / name) == 0
        assert "150 rows" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows == list(csv.DictReader((tmp_path / "rows.csv").open(encoding="utf-8")))
    assert run("sql", "--warehouse", published, "FROM user_vector", "--out", tmp_path / "v.parquet") == 0
    assert pq.read_table(tmp_path / "v.parquet")["vector"][0].as_py()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["DROP TABLE item"], "Only SELECT statements can be run"),
        (["SELECT * FROM read_text('/etc/passwd')"], "read_text cannot be used here"),
        (["SELECT nothing FROM item"], 'Referenced column "nothing" not found'),
        (["SELECT 1", "--out", "rows.xlsx"], "the ending must be .parquet or .csv"),
        (["SELECT vector FROM user_vector", "--out", "rows.csv"], "Lists and vectors go into .parquet only"),
        (["SELECT * FROM item WHERE item_id = $item"], "item"),
        (["SELECT INTERVAL 1 DAY AS span", "--out", "rows.csv"], "cast what fits nowhere to VARCHAR"),
    ],
)
def test_sql_says_what_is_wrong(published, argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("sql", "--warehouse", published, *argv) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert message in printed
    assert list(tmp_path.iterdir()) == []


def test_all_users(published, tmp_path):
    out = tmp_path / "lists.parquet"
    assert run("recommend", "--warehouse", published, "--all", "-k", 1, "--out", out) == 0
    users = pq.read_table(out)["user_id"].to_pylist()
    assert len(users) == len(set(users)) > 250


def test_a_refused_version_exits_with_3(world, capsys, monkeypatch):
    def refuse(*tables):
        raise GateError("Not published: for the test. What is served is unchanged.")

    monkeypatch.setattr(refresh, "check_user_vector", refuse)
    execute = "INSERT INTO item (item_id, item_type) VALUES ('new', 'music')"
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute(execute)
    before = (world / "vectors").readlink()
    quick = world / "gfm.toml"
    quick.write_text("[text]\nmax_tokens = 32\n[blend]\nsteps = 20\nmax_snapshots = 3\n", encoding="utf-8")
    assert run("refresh_dynamic", "--warehouse", world, "--config", quick) == 3
    assert capsys.readouterr().err == "error: Not published: for the test. What is served is unchanged.\n"
    assert (world / "vectors").readlink() == before


def test_refresh_jobs_say_what_they_did(world, tmp_path, capsys, monkeypatch):
    settings = tmp_path / "gfm.toml"
    settings.write_text(
        "threads = 2\nseed = 3\n[text]\nmax_tokens = 32\n"
        "[hgnn]\nhidden_dim = 16\nfanout = [3]\nearly_epochs = 1\nepochs = 1\nsteps_per_epoch = 5\n"
        "[blend]\nsteps = 20\nmax_snapshots = 3\n",
        encoding="utf-8",
    )
    assert run("refresh_static", "--warehouse", world, "--config", settings) == 0
    assert "Static version s-" in capsys.readouterr().out
    assert run("refresh_dynamic", "--warehouse", world, "--config", settings) == 0
    shown = capsys.readouterr().out
    assert "Published d-" in shown
    assert f"python -m jobs.recommend --warehouse {world}" in shown


def test_a_reader_who_leaves_early_ends_no_job(tmp_path):
    program = (
        "import sys, typer\nfrom gfm_store import progress\nfrom jobs.common import job, run\n"
        "app = job()\n@app.command()\ndef work():\n"
        "    typer.echo('first')\n    sys.stdin.read()\n"
        "    for _ in range(100):\n        typer.echo('more' * 1000)\n        progress.say('more' * 1000)\n"
        f"    open({str(tmp_path / 'ended')!r}, 'w').close()\n"
        "raise SystemExit(run(app, [], 'work'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        process.stdin.close()
        assert process.wait() == 0
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("stdout", ["closed", "ascii"])
def test_what_cannot_be_shown_is_no_error(published, stdout):
    job = [sys.executable, "-m", "jobs.sql", "SELECT 'ö' AS ö", "--warehouse", str(published)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if stdout == "closed":
        job = ["sh", "-c", '"$@" >&-', "sh", *job]
    else:
        environment |= {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(job, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (b"\\xf6" in ended.stdout) == (stdout == "ascii")


def test_columns_of_one_name_are_shown_side_by_side(published, tmp_path, capsys):
    query = "SELECT 1 AS a, 2 AS a, 3 AS n"
    assert run("sql", "--warehouse", published, query) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()] == [
        list("aan"),
        list("123"),
    ]
    assert run("sql", "--warehouse", published, query, "--out", tmp_path / "rows.csv") == 0
    assert (tmp_path / "rows.csv").read_text().split() == ['"a","a","n"', "1,2,3"]
    assert run("sql", "--warehouse", published, query, "--out", tmp_path / "rows.parquet") == 2
    assert "several columns are called a" in capsys.readouterr().err


def test_memory_that_is_not_enough_is_one_clear_error(world, tmp_path, capsys):
    settings = tmp_path / "small.toml"
    settings.write_text('memory_limit = "2MB"\n', encoding="utf-8")
    assert run("refresh_static", "--warehouse", world, "--config", settings) == 2
    printed = capsys.readouterr().err
    assert "Out of Memory" in printed and "What is served is unchanged" in printed
    assert "Traceback" not in printed
