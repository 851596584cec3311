"""`python -m jobs.ingest` as a person meets it: exit codes and what is printed."""

import os
import sqlite3
from pathlib import Path

import pytest

from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from jobs.ingest import main

REAL = Path(os.environ.get("GFM_REAL_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GFM_WAREHOUSE", raising=False)
    Path("items.csv").write_text("item_id,item_type,title\ni1,music,One\n")
    Path("events.csv").write_text("user,item_id,kind,ts\nu1,i1,play,1704067200\nu1,i9,play,1704067200\n")
    return tmp_path


MAPS = [
    "--map",
    "user_id=user",
    "--map",
    "event_type=kind",
    "--map",
    "event_ts=ts",
    "--event-type",
    "pl*=stream",
]


def test_rejected_rows_are_shown_and_no_failure(folder, capsys):
    assert main(["--items", "items.csv", "--events", "events.csv", *MAPS]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if ".csv  " in line}
    assert rows["item"] == ["items.csv", "1", "1", "0", "0", "0"]
    assert rows["interaction_event"] == ["events.csv", "2", "1", "0", "0", "1"]
    assert "1 x unknown item, first in line 3 of events.csv" in printed
    assert '{"user":"u1","item_id":"i9","kind":"play","ts":"1704067200"}' in printed
    assert "SELECT source, source_line, reason, content FROM rejected_row" in printed
    assert "The warehouse holds 1 items, 1 events and 1 users with events." in printed


def test_the_same_again_says_that_nothing_changed(folder, capsys):
    assert main(["--items", "items.csv"]) == main(["--items", "items.csv"]) == 0
    assert "the warehouse is as it was" in capsys.readouterr().out


def test_a_header_without_rows_is_told(folder, capsys):
    assert main(["--items", "items.csv"]) == 0
    Path("more.csv").write_text("item_id,item_type,title\n")
    assert main(["--items", "more.csv"]) == 0
    assert "no row below it" in capsys.readouterr().out


def test_columns_that_are_not_used_are_named(folder, capsys):
    Path("items.csv").write_text("item_id,item_type,name\ni1,music,One\n")
    assert main(["--items", "items.csv"]) == 0
    assert "items.csv: columns not used: name" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name at least one of --items, --events and --users"),
        (["--items", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--events", "events.csv"], "--map user_id=user"),
        (["--items", "items.csv", "--map", "title"], "--map 'title' does not read; write --map event_ts=ts"),
        (["--items", "items.csv", "--map", "title=a", "--map", "title=b"], "names 'title' twice"),
        (["--items", "items.csv", "--event-type", "play"], "--event-type 'play' does not read"),
        (["--items", "items.csv", "--event-type", "a=b=listen"], "'listen' is no event type"),
        (["--items", "items.csv", "--config", "none.toml"], "none.toml"),
    ],
)
def test_bad_usage_ends_with_2_and_one_message(arguments, message, folder, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not Path("warehouse").exists()


def test_an_unknown_option_ends_with_2(folder, capsys):
    assert main(["--item", "items.csv"]) == 2
    assert "--item" in capsys.readouterr().err


def test_a_second_ingest_at_the_same_time_leaves_with_2(folder, capsys):
    with rewrite_warehouse(folder / "warehouse"):
        assert main(["--items", "items.csv"]) == 2
    assert "Another ingest is writing" in capsys.readouterr().err


def test_a_database_and_its_constant(folder, capsys):
    with sqlite3.connect("shop.db") as connection:
        connection.execute("CREATE TABLE film (item_id INTEGER, title TEXT)")
        connection.executemany("INSERT INTO film VALUES (?, ?)", [(1, "One"), (2, "Two"), (None, "None")])
    assert main(["--items", "sqlite:///shop.db::film", "--map", "item_type==film"]) == 0
    query = "sqlite:///shop.db::SELECT 'u' || item_id AS user_id, item_id, '2024-01-01' AS event_ts FROM film"
    assert main(["--events", query, "--event-type", "*=stream"]) == 0
    with open_warehouse(folder / "warehouse") as warehouse:
        assert warehouse.execute("SELECT * FROM item ORDER BY 1").fetchall()[1][:3] == ("2", "film", "Two")
        assert warehouse.execute("SELECT user_id FROM interaction_event ORDER BY 1").fetchall() == [
            ("u1",),
            ("u2",),
        ]
        assert warehouse.execute(
            "SELECT source, source_line, reason FROM rejected_row ORDER BY 1"
        ).fetchall() == [
            (query, 3, "missing user_id"),
            ("sqlite:///shop.db::film", 3, "missing item_id"),
        ]


def test_help_ends_with_examples(capsys):
    assert main(["--help"]) == 0
    assert "python -m jobs.ingest --items items.csv --events events.parquet" in capsys.readouterr().out


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "event_type", "holds"),
    [
        ("amazon_food_kitchen", "review=stream", "28,095 items, 173,548 events and 7,144 users"),
        ("movietweetings_100k", "rating:*=stream", "10,506 items, 100,000 events and 16,554 users"),
    ],
)
def test_real_files_by_mapping(name, event_type, holds, folder, capsys):
    if not (REAL / name / "events.parquet").is_file():
        pytest.skip(
            f"{REAL / name} is not there; set GFM_REAL_DATA to the folder of the real evaluation sets"
        )
    arguments = ["--items", f"{REAL}/{name}/items.parquet", "--events", f"{REAL}/{name}/events.parquet"]
    maps = ["--map", "event_ts=ts", "--map", "event_type=kind", "--map", "seconds_played=seconds"]
    assert main([*arguments, *maps, "--event-type", event_type]) == 0
    assert f"The warehouse holds {holds} with events." in capsys.readouterr().out
    with open_warehouse(folder / "warehouse") as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM rejected_row") == 0
