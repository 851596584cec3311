"""A published warehouse of any size within minutes: a small one, trained in a hurry, and then multiplied.

Speed does not depend on how good a model is, but the recall of an index depends on how vectors lie. So item vectors
are not drawn at random: each is a blend of two trained ones of the same type, as long as the first of them.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gfm_store.config import Config, ServingConfig
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.lifecycle.refresh import refresh_dynamic
from gfm_store.serving.index_choice import choose_index
from gfm_store.vectors.arrow import to_arrow, to_numpy
from gfm_store.vectors.publication import open_table, publish, published_folder
from gfm_store.vectors.static_version import static_folder
from gfm_store.vectors.version import DynamicRecord
from gfm_store.warehouse.multiply import multiply
from gfm_store.warehouse.sample import SampleSettings, make_sample

SMALL = SampleSettings(users=2_000, items=1_000, days=90, events=60_000)
HURRIED = {
    "text": {"max_tokens": 16},
    "hgnn": {"epochs": 1, "steps_per_epoch": 20},
    "two_tower": {"min_pairs": 1_000, "min_validation_pairs": 100},
    "blend": {"steps": 50, "max_snapshots": 4},
}
VERSION = "d-benchmark"
ROWS_AT_ONCE = 65_536


def make_world(root: Path, small: Path, items: int, events: int, seed: int) -> None:
    """Fill `root` with about so many items and events, out of a small world that is made in `small`."""
    make_sample(small, SMALL)
    refresh_dynamic(small, Config.model_validate(HURRIED))
    multiply_world(root, small, max(items // SMALL.items, 1), max(events // SMALL.events, 1), seed)


def multiply_world(root: Path, small: Path, copies: int, user_copies: int, seed: int) -> None:
    """Fill `root` with so many copies of each item and of each user of a published warehouse, and publish it."""
    multiply(small, root, copies, user_copies)
    _publish(root, small, copies, seed)


def _publish(root: Path, small: Path, copies: int, seed: int) -> None:
    folder = published_folder(small)
    record = DynamicRecord.read(folder)
    embedded = open_table(folder, "item_embedding").to_table()
    order = np.repeat(np.arange(embedded.num_rows), copies)
    retrieval, found = (open_table(folder, name).to_table() for name in ("retrieval", "item_search"))
    rng = np.random.default_rng(seed)
    tables = {
        "item_embedding": _multiplied(embedded, copies, ["vector", "text_vector"], rng),
        "retrieval": _multiplied(retrieval, copies, ["vector"], rng),
        "item_search": _multiplied(found, copies, ["vector"], rng),
        "user_vector": open_table(folder, "user_vector").to_table(),
        "co_interaction_edge": open_table(folder, "co_interaction_edge").to_table(),
    }
    model = DynamicModel.load(small / "dynamic" / record.version).numbered(torch.from_numpy(order))
    target = root / "dynamic" / VERSION
    target.mkdir(parents=True)
    model.save(target)
    vectors, users = (to_numpy(tables[name]["vector"]) for name in ("retrieval", "user_vector"))
    partition, index = choose_index(vectors, users, tables["retrieval"], ServingConfig(), seed)
    if partition is not None:
        partition.save(target)
    record = record.model_copy(update={"version": VERSION, "n_items": len(vectors), "index": index})
    record.write(target)
    static = static_folder(root, record.static_version)
    static.parent.mkdir(parents=True, exist_ok=True)
    static.symlink_to(static_folder(small, record.static_version).resolve())
    publish(root, record, tables, keep=1)


def _multiplied(table: pa.Table, copies: int, vectors: list[str], rng: np.random.Generator) -> pa.Table:
    """Each row so many times, with ids and vectors of their own."""
    rows = np.repeat(np.arange(table.num_rows), copies)
    kind = table["item_type"].combine_chunks().dictionary_encode().indices.to_numpy()
    other = np.empty(len(rows), dtype=np.int64)
    for one in np.unique(kind):
        mine = kind[rows] == one
        other[mine] = rng.choice((kind == one).nonzero()[0], int(mine.sum()))
    columns = {name: table[name].take(pa.array(rows)) for name in table.column_names if name not in vectors}
    number = pa.array(np.tile(np.arange(copies), table.num_rows)).cast(pa.string())
    columns["item_id"] = pc.binary_join_element_wise(
        columns["item_id"].combine_chunks(), pc.utf8_lpad(number, 6, "0"), "-"
    )
    share = rng.uniform(0.5, 1, len(rows)).astype(np.float32)[:, None]
    for name in vectors:
        columns[name] = to_arrow(_blended(to_numpy(table[name]), rows, other, share))
    return pa.table([columns[name] for name in table.column_names], schema=table.schema)


def _blended(vectors: np.ndarray, rows: np.ndarray, others: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(len(rows), dim): between two vectors each, as long as the first of them."""
    blended = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        first = vectors[rows[part]]
        mixed = share[part] * first + (1 - share[part]) * vectors[others[part]]
        length = np.linalg.norm(first, axis=1, keepdims=True) / np.linalg.norm(mixed, axis=1, keepdims=True)
        blended[part] = mixed * length
    return blended
