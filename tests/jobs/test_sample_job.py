"""`python -m jobs.sample`: exit codes, messages and what it prints."""

from pathlib import Path

import pytest

from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from jobs.sample import main

SMALL = ["--users", "120", "--items", "60", "--days", "14", "--events", "2000"]


def test_fills_an_empty_warehouse_and_says_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--warehouse", str(tmp_path), *SMALL]) == 0
    printed = capsys.readouterr().out
    for expected in ("podcast", "audiobook", "music", "truth", "python -m jobs.refresh_dynamic"):
        assert expected in printed
    with open_warehouse(tmp_path) as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM item") == 60
        assert warehouse.scalar("SELECT max(event_ts) < TIMESTAMP '2026-09-30' FROM interaction_event")


def test_options_reach_the_world(tmp_path: Path) -> None:
    options = ["--seed", "3", "--end-date", "2024-02-29", "--null-world"]
    assert main(["--warehouse", str(tmp_path), *SMALL, *options]) == 0
    world = (tmp_path / "truth" / "world.json").read_text()
    assert '"null_world": true' in world and '"seed": 3' in world
    with open_warehouse(tmp_path) as warehouse:
        assert str(warehouse.scalar("SELECT max(event_ts) FROM interaction_event")).startswith("2024-02-28")


def test_refuses_a_filled_warehouse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rewrite_warehouse(tmp_path) as warehouse:
        warehouse.execute("INSERT INTO item (item_id, item_type) VALUES ('mine', 'podcast')")
    before = (tmp_path / "gfm.duckdb").read_bytes()
    assert main(["--warehouse", str(tmp_path), *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:") and "not empty" in error and "Traceback" not in error
    assert (tmp_path / "gfm.duckdb").read_bytes() == before
    assert not (tmp_path / "truth").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--users", "0"], "users"),
        (["--items", "29"], "items"),
        (["--days", "-3"], "days"),
        (["--days", "0"], "days"),
        (["--events", "-1"], "events"),
        (["--seed", "-1"], "seed"),
        (["--end-date", "tomorrow"], "tomorrow"),
        (["--end-date", "0004-01-01"], "end_date"),
        (["--users", "many"], "--users"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_options_give_one_clear_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert main(["--warehouse", str(tmp_path / "new"), *options]) == 2
    error = capsys.readouterr().err
    assert named in error and "Traceback" not in error
    assert not (tmp_path / "new").exists()


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "Examples" in printed and "--null-world" in printed
