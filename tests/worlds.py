"""Small worlds made by hand: warehouses of a few rows, and graphs whose best answer is known.

A moment is written as days before AS_OF: `ago(2)` is two days earlier, `ago(-1)` a day after it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from gfm_store.schema import INTERACTION_EVENT, ITEM
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.warehouse.connection import Warehouse, quote, rewrite_warehouse

AS_OF = datetime(2024, 6, 1)
Event = tuple[str, str, str, datetime]
"""user_id, item_id, event_type, event_ts."""


def ago(days: float = 0, **more: float) -> datetime:
    """A moment before AS_OF."""
    return AS_OF - timedelta(days=days, **more)


def stream(user: str, item: str, days: float) -> Event:
    """A stream, so many days before AS_OF."""
    return user, item, "stream", ago(days)


def make_warehouse(
    root: Path,
    items: Iterable[Mapping[str, object]],
    events: Iterable[Event],
    users: Iterable[Mapping[str, object]] = (),
) -> Path:
    """A new warehouse of these rows; columns that a row does not name are null. Returns `root`."""
    with rewrite_warehouse(root) as warehouse:
        _insert(warehouse, "item", pa.Table.from_pylist([dict(row) for row in items], schema=ITEM))
        _insert_events(warehouse, events)
        profiles = [dict(row) for row in users]
        names = ["user_id", "country", "age_band"]
        names += sorted({name for row in profiles for name in row} - set(names))
        for name in names[3:]:
            warehouse.execute(f"ALTER TABLE user_profile ADD COLUMN {quote(name)} VARCHAR")
        schema = pa.schema([(name, pa.string()) for name in names])
        _insert(warehouse, "user_profile", pa.Table.from_pylist(profiles, schema=schema))
    return root


def add_events(root: Path, events: Iterable[Event]) -> Path:
    """Put more events into a warehouse."""
    with rewrite_warehouse(root) as warehouse:
        _insert_events(warehouse, events)
    return root


def _insert_events(warehouse: Warehouse, events: Iterable[Event]) -> None:
    names = ["user_id", "item_id", "event_type", "event_ts"]
    rows = [dict(zip(names, event, strict=True)) for event in events]
    table = pa.Table.from_pylist(rows, schema=INTERACTION_EVENT)
    _insert(
        warehouse,
        "interaction_event",
        table.append_column("ingest_id", pa.array([1] * len(rows), pa.int64())),
    )


def _insert(warehouse: Warehouse, name: str, rows: pa.Table) -> None:
    warehouse.connection.register("given", rows)
    warehouse.execute(f"INSERT INTO {name} BY NAME SELECT * FROM given")
    warehouse.connection.unregister("given")


def catalogue(*item_ids: str, **more: object) -> list[dict[str, object]]:
    """Items whose type is their id's first letter: p a podcast, b a book, s a song, else "other"."""
    types = {"p": "podcast", "b": "book", "s": "song"}
    return [{"item_id": i, "item_type": types.get(i[0], "other"), **more} for i in item_ids]


@dataclass
class Recorder:
    """A reporter that remembers what was said, and what each task advanced by."""

    said: list[str] = field(default_factory=list)
    advanced: dict[str, float] = field(default_factory=dict)
    stop_after: float | None = None
    """KeyboardInterrupt is raised when a task has advanced this far: somebody pressed Ctrl-C."""

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator["_RecordedTask"]:
        self.advanced[label] = 0
        yield _RecordedTask(self, label)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class _RecordedTask:
    recorder: Recorder
    label: str

    def advance(self, amount: float = 1) -> None:
        self.recorder.advanced[self.label] += amount
        stop = self.recorder.stop_after
        if stop is not None and self.recorder.advanced[self.label] >= stop:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


def graph_of(
    node_type: list[int], pairs: Iterable[tuple[int, int]], num_types: int | None = None
) -> HeteroGraph:
    """A graph of undirected edges."""
    edges = torch.tensor(list(pairs), dtype=torch.int64).reshape(-1, 2).T
    return HeteroGraph.from_edges(
        torch.tensor(node_type), num_types or max(node_type) + 1, torch.cat([edges, edges.flip(0)], dim=1)
    )


def random_graph(num_nodes: int, num_types: int, num_pairs: int, seed: int) -> HeteroGraph:
    """A graph of distinct random undirected edges; the first nodes have one type each."""
    generator = torch.Generator().manual_seed(seed)
    node_type = torch.randint(num_types, (num_nodes,), generator=generator)
    node_type[:num_types] = torch.arange(num_types)
    low, high = torch.triu_indices(num_nodes, num_nodes, offset=1)
    chosen = torch.randperm(low.numel(), generator=generator)[:num_pairs]
    return graph_of(
        node_type.tolist(), zip(low[chosen].tolist(), high[chosen].tolist(), strict=True), num_types
    )


def planted_graph(
    communities: int = 8, members: int = 16, degree: int = 6, noise: float = 1.5, text_dim: int = 16
) -> tuple[HeteroGraph, Tensor]:
    """Communities that span two types: an item's neighbours are of its own community, its text barely says which.

    Returns the graph, and text (N, text_dim): the community's direction under `noise` times as much noise.
    Node n is of community n % communities.
    """
    generator = torch.Generator().manual_seed(11)
    num_nodes = communities * members
    community = torch.arange(num_nodes) % communities
    node_type = (torch.arange(num_nodes) // communities) % 2
    pairs = set()
    for c in range(communities):
        mine = (community == c).nonzero()[:, 0]
        for node in mine.tolist():
            others = mine[mine != node]
            for other in others[torch.randperm(len(others), generator=generator)[: degree // 2]].tolist():
                pairs.add((min(node, other), max(node, other)))
    direction = functional.normalize(torch.randn(communities, text_dim, generator=generator), dim=-1)
    clutter = functional.normalize(torch.randn(num_nodes, text_dim, generator=generator), dim=-1)
    text = functional.normalize(direction[community] + noise * clutter, dim=-1)
    return graph_of(node_type.tolist(), sorted(pairs)), text
