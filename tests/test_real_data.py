"""Both real sets, from foreign files to lists: mapping options alone, at their cuts. Read where they lie."""

import os
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gfm_store
from gfm_store.warehouse.connection import open_warehouse
from jobs import ingest, recommend, refresh_dynamic, refresh_static

DATA = Path(os.environ.get("GFM_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
SETS = {
    "amazon_food_kitchen": ("review=stream", "2014-01-25", 28_095, 173_548),
    "movietweetings_100k": ("rating:*=stream", "2013-07-31", 10_506, 100_000),
}
# Short texts and few epochs: this shows that all of it runs, the evaluation shows how well.
SETTINGS = """
threads = 2
[text]
max_tokens = 16
[hgnn]
hidden_dim = 32
fanout = [5]
early_epochs = 1
epochs = 1
steps_per_epoch = 20
[blend]
steps = 100
max_snapshots = 6
"""


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", SETS)
def test_from_foreign_files_to_lists(name, tmp_path, capsys):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real set {name} is not at {folder}; set GFM_REAL_DATA")
    event_type, cut, n_items, n_events = SETS[name]
    where = ["--warehouse", str(tmp_path / "warehouse")]
    settings = tmp_path / "gfm.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    sources = ["--items", str(folder / "items.parquet"), "--events", str(folder / "events.parquet")]
    maps = ["--map", "event_ts=ts", "--map", "event_type=kind", "--map", "seconds_played=seconds"]
    assert ingest.main([*where, *sources, *maps, "--event-type", event_type]) == 0
    with open_warehouse(tmp_path / "warehouse") as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM item") == n_items
        assert warehouse.scalar("SELECT count(*) FROM interaction_event") == n_events
        assert warehouse.scalar("SELECT count(*) FROM rejected_row") == 0
    at_cut = [*where, "--config", str(settings), "--as-of", cut]
    assert refresh_static.main(at_cut) == 0
    assert refresh_dynamic.main(at_cut) == 0
    out = tmp_path / "lists.parquet"
    assert recommend.main([*where, "--all", "--as-of", cut, "-k", "10", "--out", str(out)]) == 0
    lists = pq.read_table(out)
    assert set(lists["source"].to_pylist()) == {"model", "popular"}
    with open_warehouse(tmp_path / "warehouse") as warehouse:
        warehouse.connection.register("lists", lists)
        seen = warehouse.scalar(
            "SELECT count(*) FROM lists JOIN interaction_event USING (user_id, item_id) WHERE event_ts < $cut",
            cut=datetime.fromisoformat(cut),
        )
        assert seen == 0
        users = warehouse.scalar("SELECT count(DISTINCT user_id) FROM interaction_event")
    assert lists.num_rows == 10 * users
    assert "Graph: data is thin" in capsys.readouterr().out or name != "amazon_food_kitchen"
    with gfm_store.open(tmp_path / "warehouse") as store:
        known_items_are_found(store)


def known_items_are_found(store):
    """By their whole title, by half of its words, and with a letter missing."""
    rows = store.sql("SELECT title FROM item_search WHERE title IS NOT NULL ORDER BY item_id")
    titles = [title for title in rows["title"].to_pylist() if len(words(title)) >= 3]
    rng = np.random.default_rng(0)
    chosen = [titles[i] for i in rng.permutation(len(titles))[:150]]
    longest = [max(words(title), key=len) for title in chosen]
    asked = {
        "whole": [(title, title) for title in chosen],
        "half": [(" ".join(words(title)[::2]), title) for title in chosen],
        "missing": [
            (title.lower().replace(word, word[:2] + word[3:]), title)
            for title, word in zip(chosen, longest, strict=True)
        ],
    }
    found = {
        name: np.mean([title in store.search(query, 10)["title"].to_pylist() for query, title in queries])
        for name, queries in asked.items()
    }
    print({name: round(float(share), 3) for name, share in found.items()})
    assert found["whole"] > 0.97
    assert found["half"] > 0.8
    assert found["missing"] > 0.8


def words(title):
    return re.findall(r"\w+", title.lower())
