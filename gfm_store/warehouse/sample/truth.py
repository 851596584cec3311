"""The hidden truth of a made world on disk: `truth/` beside the warehouse, never inside it.

truth/world.json      settings, the meaning of the numbers, and the formula of a choice
truth/item.parquet    one row per item: the arrays of `Items`
truth/user.parquet    one row per user: the arrays of `Users`
truth/trend.parquet   one row per topic: height, period and phase of its wave
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gfm_store.errors import UsageError
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.sample import world as world_module
from gfm_store.warehouse.sample.draw import AGE_BANDS
from gfm_store.warehouse.sample.phrases import MOODS
from gfm_store.warehouse.sample.vocabulary import LANGUAGES, SCENES_PER_TOPIC, topics
from gfm_store.warehouse.sample.world import (
    COUNTRIES,
    ITEM_TYPES,
    MARKETS,
    Floats,
    Items,
    SampleSettings,
    Users,
    World,
)


def truth_folder(root: Path) -> Path:
    """Where the truth of a made warehouse lies."""
    return root / "truth"


def save_truth(
    folder: Path, world: World, settings: SampleSettings, item_ids: pa.Array, user_ids: pa.Array, source: str
) -> None:
    """Write the truth into `folder`, which is emptied first."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    pq.write_table(_to_table({"item_id": item_ids}, world.items), folder / "item.parquet")
    pq.write_table(_to_table({"user_id": user_ids}, world.users), folder / "user.parquet")
    waves = dict(zip(("height", "period", "phase"), world.trend.T, strict=True))
    pq.write_table(pa.table({"topic": [topic.name for topic in topics()], **waves}), folder / "trend.parquet")
    record = {
        "source": source,
        "settings": settings.model_dump(mode="json"),
        "numbers": {
            "kind": ITEM_TYPES,
            "language": LANGUAGES,
            "topic": [topic.name for topic in topics()],
            "scene": f"topic * {SCENES_PER_TOPIC} + scene within the topic",
            "mood": MOODS,
            "country": COUNTRIES,
            "age": AGE_BANDS,
            "market": MARKETS,
            "freshness": world_module.FRESHNESS,
            "drift_days": world_module.DRIFT_DAYS,
            "background": world_module.BACKGROUND,
            "sisters": world_module.SISTERS,
        },
        "choice": (world_module.__doc__ or "").splitlines(),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / "world.json").write_text(text + "\n", encoding="utf-8")


def load_truth(root: Path) -> tuple[World, SampleSettings, pa.Array, pa.Array]:
    """World, settings, item ids and user ids of a made warehouse.

    Raises:
        EmptyWarehouseError: there is no warehouse.
        UsageError: the warehouse is not a made one, or its truth belongs to another one.
    """
    folder = truth_folder(root)
    if not (folder / "world.json").is_file():
        raise UsageError(
            f"{root} holds no truth: only a warehouse that `python -m jobs.sample` made has one."
        )
    record = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    with open_warehouse(root) as warehouse:
        known = warehouse.scalar(
            "SELECT count(*) FROM ingest_run WHERE source = $source", source=record["source"]
        )
    if not known:
        raise UsageError(f"{folder} is the truth of another warehouse than the one in {root}.")
    settings = SampleSettings.model_validate(record["settings"])
    items, users = pq.read_table(folder / "item.parquet"), pq.read_table(folder / "user.parquet")
    waves = pq.read_table(folder / "trend.parquet")
    trend = np.column_stack([waves[name].to_numpy() for name in ("height", "period", "phase")])
    world = World(
        items=Items(**_arrays(items, Items)),
        users=Users(**_arrays(users, Users)),
        trend=trend,
        null_world=settings.null_world,
    )
    return world, settings, items["item_id"].combine_chunks(), users["user_id"].combine_chunks()


def knows(root: Path, user_ids: Sequence[str], item_ids: Sequence[str]) -> bool:
    """Whether the truth that lies in `root` is of this warehouse, and all these users and items are of its world."""
    try:
        _, _, items, users = load_truth(root)
    except UsageError:
        return False
    return set(user_ids) <= set(users.to_pylist()) and set(item_ids) <= set(items.to_pylist())


def true_scores(root: Path, user_ids: Sequence[str], as_of: datetime) -> tuple[list[str], Floats]:
    """The oracle: true expected listens per day of every item on the day of `as_of`, for each user.

    A ranking by these scores is the best that anybody can do who knows all tastes but not the dice. It knows
    nothing of single events: neither which items a user has heard nor which weak signals wait for a listen.

    Args:
        root: a warehouse that `make_sample` filled.
        user_ids: (n,) users of that world. The result is dense: pass them in blocks.
        as_of: UTC without a zone.

    Returns:
        item_ids (n_items,), and scores (n, n_items), float64, 0 for what is not available to the user.

    Raises:
        UsageError: no made world is there, or a user is not of it.
    """
    world, settings, items, users = load_truth(root)
    position = pc.index_in(pa.array(user_ids, pa.string()), users)
    if position.null_count:
        unknown = pc.filter(pa.array(user_ids, pa.string()), pc.is_null(position))
        raise UsageError(f"{len(unknown)} users are not of the made world, {unknown[0].as_py()!r} for one.")
    day = max((as_of - settings.start) // timedelta(days=1), 0)
    return items.to_pylist(), world_module.choice_rates(world, position.to_numpy().astype(np.int64), day)


def _to_table(ids: dict[str, pa.Array], truth: Items | Users) -> pa.Table:
    columns: dict[str, pa.Array] = dict(ids)
    for one in dataclasses.fields(truth):
        values: np.ndarray = getattr(truth, one.name)
        column = pa.array(values.ravel())
        for width in reversed(values.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, width)
        columns[one.name] = column
    return pa.table(columns)


def _arrays(table: pa.Table, kind: type[Items] | type[Users]) -> dict[str, Any]:
    arrays = {}
    for one in dataclasses.fields(kind):
        column, shape = table[one.name].combine_chunks(), [len(table)]
        while pa.types.is_fixed_size_list(column.type):
            shape.append(column.type.list_size)
            column = column.flatten()
        arrays[one.name] = column.to_numpy().reshape(shape)
    return arrays
