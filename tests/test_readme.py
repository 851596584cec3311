"""README tells the truth: its commands parse, its files exist, its examples run."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

import gfm_store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
JOBS = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "common"}


def commands():
    """Every `python -m jobs.NAME ...` of the README, joined over line breaks."""
    text = README.replace("\\\n", " ")
    fenced = [
        line for kind, code in BLOCKS if kind == "bash" for line in code.replace("\\\n", " ").splitlines()
    ]
    inline = re.findall(r"`(python -m jobs\.[^`\n]+)`", text)
    parts = [part.strip() for line in fenced + inline for part in line.split("&&")]
    return sorted({part for part in parts if part.startswith("python -m jobs.") and "--help" not in part})


@pytest.mark.parametrize("command", commands())
def test_a_command_s_options_exist(command):
    _, _, module, *arguments = shlex.split(command, comments=True)
    parser = typer.main.get_command(importlib.import_module(module).app)
    if hasattr(parser, "resolve_command") and arguments:
        module, parser, arguments = parser.resolve_command(parser.make_context(module, []), arguments)
    assert parser.make_context(module, arguments, resilient_parsing=not arguments).args == []


def test_every_job_is_in_the_table():
    table = re.findall(r"^\| `python -m jobs\.(\w+)` \|", README, re.M)
    assert set(table) == JOBS


def test_the_file_map_names_what_there_is():
    section = README.partition("## The files")[2].partition("\n## ")[0]
    paths = re.findall(r"^\| (`[^|]+`) \|", section, re.M)
    named = [name for cell in paths for name in re.findall(r"`([^`]+)`", cell)]
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "gfm_store" / name).exists(), name
    folders = {
        f"gfm_store/{path.name}/"
        for path in (ROOT / "gfm_store").iterdir()
        if (path / "__init__.py").exists()
    }
    folders |= {f"sql/{path.name}/" for path in (ROOT / "sql").iterdir() if list(path.glob("*.sql"))}
    assert folders <= set(named)


@pytest.mark.parametrize("kind", ["python"])
def test_the_examples_run(kind, published, tmp_path, monkeypatch):
    """Against a small world, whose ids are shorter."""
    (tmp_path / "warehouse").symlink_to(published)
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in [code for language, code in BLOCKS if language == kind]:
        small = (
            code.replace("user-0042", "user-042")
            .replace("user-0043", "user-043")
            .replace("podcast-0001", "podcast-01")
        )
        exec(compile(small, "README.md", "exec"), names)
    assert names["found"].to_pandas()["item_type"].tolist() == ["audiobook"] * 10
    assert names["store"].version.startswith("d-")


def queries():
    """The worked queries, each with its question."""
    return [code for language, code in BLOCKS if language == "sql"]


def test_there_are_ten_worked_queries():
    assert len(queries()) == 10
    assert all(code.startswith("-- ") for code in queries())


@pytest.mark.parametrize("query", queries(), ids=lambda code: code.splitlines()[0].strip("- "))
def test_a_worked_query_answers(query, published):
    small = query.replace("user-0042", "user-042").replace("podcast-0001", "podcast-01")
    with gfm_store.open(published) as store:
        rows = store.sql(small)
    assert rows.num_rows >= 1


def test_the_front_door_exports_what_it_says():
    assert sorted(gfm_store.__all__) == ["GfmError", "open"]
