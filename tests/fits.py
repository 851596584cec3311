"""Blends and the papers' towers, fitted within a second on a warehouse of two dozen items."""

import numpy as np
import pyarrow as pa
import torch
from worlds import AS_OF, stream

from gfm_store.config import BlendConfig, Config, TwoTowerConfig
from gfm_store.dynamic_layer import fitting
from gfm_store.dynamic_layer.fitting import fit_dynamic
from gfm_store.dynamic_layer.history import HistoryBatch
from gfm_store.static_layer.encoder import Embedded
from gfm_store.static_layer.structure import structural_coordinates, turned_to
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes
from gfm_store.warehouse.history import read_training

TWO_TOWER = TwoTowerConfig(
    layers=(16, 8), min_pairs=1, min_validation_pairs=20, max_epochs=1, categorical_dim=4, train_days=60
)
BLEND = BlendConfig(
    horizon_days=7,
    max_snapshots=6,
    lexical_factors=4,
    steps=150,
    batch_size=64,
    num_negatives=32,
)
NUM_ITEMS = 24
ITEMS = [f"p{i:02}" for i in range(NUM_ITEMS)]


def events_of_tastes(until=0.1):
    """Users of two tastes (parity), each with ten of the twelve items of their own."""
    rng = np.random.default_rng(3)
    events = []
    for user in range(60):
        chosen = rng.permutation(NUM_ITEMS // 2)[:10] * 2 + user % 2
        events += [
            stream(f"u{user:02}", ITEMS[item], float(day))
            for item, day in zip(chosen, rng.uniform(until, 59, 10), strict=True)
        ]
    return events


def waves():
    """Forty users hear of one item after the other: half of them stream it within a week of its day."""
    rng = np.random.default_rng(5)
    return [
        stream(f"u{user:02}", item, max(float(59 - 2.5 * i - rng.uniform(0, 7)), 0.01))
        for user in range(40)
        for i, item in enumerate(ITEMS)
        if rng.random() < 0.5
    ]


def read(root, config=TWO_TOWER):
    with open_warehouse(root) as warehouse:
        return read_item_nodes(warehouse, AS_OF), read_training(warehouse, AS_OF, config)


def coordinates_at(events, dim=4):
    """Vectors of ITEMS at any moment, from who touched what before it; in one frame."""

    def coordinates(moment):
        known = [(int(user[1:]), ITEMS.index(item)) for user, item, _, ts in events if ts < moment]
        user, node = np.array(known, dtype=np.int64).reshape(-1, 2).T
        return structural_coordinates(user, node, NUM_ITEMS, dim, seed=0)

    frame = structural_coordinates(np.arange(NUM_ITEMS) % 2, np.arange(NUM_ITEMS), NUM_ITEMS, dim, seed=0)
    return lambda moment: turned_to(coordinates(moment), frame)


def fit(item_node, tables, monkeypatch=None, vectors_at=None, early_at=None, threads=None, **blend):
    readers = []
    if monkeypatch is not None:
        whole = fitting.read_examples
        monkeypatch.setattr(
            fitting, "read_examples", lambda reader, *rest: readers.append(reader) or whole(reader, *rest)
        )
    count = item_node.num_rows
    nothing = np.zeros((count, 3), dtype=np.float32)
    vectors_at = vectors_at or (lambda moment: nothing)

    def embedded_at(moment):
        vectors = vectors_at(moment)
        return Embedded(vectors, vectors if early_at is None else early_at(moment))

    config = Config(device="cpu", threads=threads, two_tower=TWO_TOWER, blend=BLEND.model_copy(update=blend))
    text = pa.table({"text": pa.array([""] * count)})
    types = sorted(set(item_node["item_type"].to_pylist()))
    fitted = fit_dynamic(item_node, types, embedded_at, nothing, text, tables, config)
    return (fitted, readers[0]) if readers else fitted


def users_of(model, tables, vectors, as_of=AS_OF):
    types = np.zeros(len(vectors), dtype=np.int64)
    return np.concatenate([block for block, _ in model.user_vectors(tables.history, as_of, vectors, types)])


def history_of(*events, length=None):
    """One history of (node, slot, age), newest first, with empty places behind it."""
    rows = [*events, *[(0, -1, 0.0)] * ((length or len(events)) - len(events))]
    node, slot, age = zip(*rows, strict=True)
    return HistoryBatch(torch.tensor([node]), torch.tensor([slot]), torch.tensor([age], dtype=torch.float32))
