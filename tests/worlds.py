"""Small worlds made by hand: warehouses of a few rows, and graphs whose best answer is known.

A moment is written as days before AS_OF: `ago(2)` is two days earlier, `ago(-1)` a day after it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse
from torch import Tensor

from gfm_store.evaluation.split import Split, read_split
from gfm_store.schema import INTERACTION_EVENT, ITEM
from gfm_store.static_layer.completion import UserSets
from gfm_store.static_layer.encoder import what_is_known
from gfm_store.static_layer.sampling import HeteroGraph
from gfm_store.static_layer.training import Fold
from gfm_store.warehouse.connection import Warehouse, newest_event, open_warehouse, quote, rewrite_warehouse
from gfm_store.warehouse.sample import SampleSettings, make_sample

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


def add_items(root: Path, items: Iterable[Mapping[str, object]]) -> Path:
    """Put more items into a warehouse."""
    with rewrite_warehouse(root) as warehouse:
        _insert(warehouse, "item", pa.Table.from_pylist([dict(row) for row in items], schema=ITEM))
    return root


def _insert_events(warehouse: Warehouse, events: Iterable[Event]) -> None:
    names = ["user_id", "item_id", "event_type", "event_ts"]
    rows = [dict(zip(names, event, strict=True)) for event in events]
    table = pa.Table.from_pylist(rows, schema=INTERACTION_EVENT)
    ingest_id = warehouse.scalar("SELECT coalesce(max(ingest_id), 0) + 1 FROM interaction_event")
    _insert(
        warehouse,
        "interaction_event",
        table.append_column("ingest_id", pa.array([ingest_id] * len(rows), pa.int64())),
    )


def _insert(warehouse: Warehouse, name: str, rows: pa.Table) -> None:
    warehouse.connection.register("given", rows)
    warehouse.execute(f"INSERT INTO {name} BY NAME SELECT * FROM given")
    warehouse.connection.unregister("given")


def catalogue(*item_ids: str, **more: object) -> list[dict[str, object]]:
    """Items whose type is their id's first letter: p a podcast, b a book, s a song, else "other"."""
    types = {"p": "podcast", "b": "book", "s": "song"}
    return [{"item_id": i, "item_type": types.get(i[0], "other"), **more} for i in item_ids]


def text_vectors(item_text: pa.Table, dim: int = 8) -> np.ndarray:
    """A direction by chance for each text, the same whenever it is asked for; zero for no text. (n, dim) float32."""
    vectors = np.zeros((item_text.num_rows, dim), dtype=np.float32)
    for i, text in enumerate(item_text["text"].to_pylist()):
        if text:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
            vector = np.random.default_rng(seed).standard_normal(dim)
            vectors[i] = vector / np.linalg.norm(vector)
    return vectors


def split_at(root: Path, as_of: datetime = AS_OF, horizon_days: int = 14, **more: int) -> Split:
    """The evaluation's split of a warehouse."""
    with open_warehouse(root) as warehouse:
        return read_split(warehouse, as_of, horizon_days, text_vectors, **more)


def hand_split(
    item_type: Sequence[str],
    streams: Mapping[tuple[int, int], float],
    targets: Iterable[tuple[int, int]],
    known_user: Sequence[int],
    *,
    unavailable: Iterable[int] = (),
    cold: Iterable[int] = (),
    later: Iterable[int] = (),
    users_before: int | None = None,
    country: Sequence[str | None] | None = None,
    markets: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> Split:
    """A split without a warehouse.

    Args:
        item_type: by node.
        streams: {(row of a user before the cut, node): days ago}.
        targets: (position of an asked user, node), by user, then time.
        known_user: by position, the user's row in `streams`, or -1.
        unavailable, cold, later: nodes that may not be recommended, have no event, come only in the horizon.
        country: by position, None where it is not known; markets: by node, of those that have some.
    """
    size, pairs = len(item_type), list(targets)
    flags = {
        "has_events": [node not in {*cold, *later} for node in range(size)],
        "is_available": [node not in {*unavailable, *later} for node in range(size)],
        "is_known": [node not in set(later) for node in range(size)],
    }
    names = [f"{kind[0]}{node}" for node, kind in enumerate(item_type)]
    item = pa.table(
        {
            "node": pa.array(range(size), pa.int32()),
            "item_id": names,
            "item_type": pa.array(list(item_type), pa.string()),
            "title": [f"Title {name}" for name in names],
            "language": pa.nulls(size, pa.string()),
            "genres": pa.nulls(size, pa.list_(pa.string())),
            "published_at": pa.nulls(size, pa.timestamp("us")),
            "markets": pa.array([markets.get(node) for node in range(size)], pa.list_(pa.string())),
            **{name: pa.array(values, pa.bool_()) for name, values in flags.items()},
            "text": names,
        }
    )
    rows = users_before if users_before is not None else max((row for row, _ in streams), default=-1) + 1
    return Split(
        as_of=AS_OF,
        horizon_days=14,
        item=item,
        text_vector=text_vectors(item),
        streams=sparse.csr_array(
            (list(streams.values()), ([row for row, _ in streams], [node for _, node in streams])),
            shape=(rows, size),
            dtype=np.float64,
        ),
        user_id=pa.array([f"u{i}" for i in range(len(known_user))], pa.string()),
        country=pa.array(country or [None] * len(known_user), pa.string()),
        known_user=np.array(known_user, dtype=np.int64),
        target_user=np.array([user for user, _ in pairs], dtype=np.int64),
        target_node=np.array([node for _, node in pairs], dtype=np.int64),
    )


MADE_DAYS = 10
"""The horizon that fits `made_world`."""


def made_world(root: Path) -> datetime:
    """The made sample world, as small as may be, in an empty folder; a cut MADE_DAYS before its newest event."""
    make_sample(root, SampleSettings(users=80, items=60, days=40, events=3_000))
    with open_warehouse(root) as warehouse:
        return newest_event(warehouse) - timedelta(days=MADE_DAYS)


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


@dataclass(frozen=True)
class PlantedSets:
    """Users of communities that span two item types: all that a user touches is of one community.

    Item n is of community n % communities, and its text barely says which.
    """

    user: np.ndarray
    """(E,) ascending."""
    node: np.ndarray
    """(E,)."""
    fold: np.ndarray
    """(E,) of the user."""
    text: np.ndarray
    """(N, text_dim) float32: the community's direction under `noise` times as much noise."""
    node_type: Tensor
    community: Tensor

    def pairs_within(self, users: np.ndarray) -> set[tuple[int, int]]:
        """Pairs of items that at least two of some users touched; `users`: (E,) bool."""
        count: Counter[tuple[int, int]] = Counter()
        for one in np.unique(self.user[users]).tolist():
            count.update(combinations(sorted(self.node[users & (self.user == one)].tolist()), 2))
        return {pair for pair, n in count.items() if n >= 2}

    def known(self, structure_dim: int, left_out: int) -> Tensor:
        """What is known of items without a fold of users, in the frame of all of them."""
        inside, items = self.fold == left_out, len(self.text)
        frame = what_is_known(self.user, self.node, items, structure_dim, 0)[:, :-1]
        user, node = self.user[~inside], self.node[~inside]
        return torch.from_numpy(what_is_known(user, node, items, structure_dim, 0, frame))

    def folds(self, structure_dim: int) -> list[Fold]:
        """As training reads them: each fold's sets, and what is known and the graph without it."""
        found, text = [], torch.from_numpy(self.text)
        for number in np.unique(self.fold).tolist():
            inside = self.fold == number
            graph = graph_of(self.node_type.tolist(), sorted(self.pairs_within(~inside)), 2)
            user, node = torch.from_numpy(self.user[inside]), torch.from_numpy(self.node[inside])
            sets = UserSets.from_pairs(user, node)
            found.append(Fold(text, self.known(structure_dim, number), graph, sets))
        return found


def planted_sets(
    communities: int = 8,
    members: int = 16,
    users: int = 96,
    per_user: int = 5,
    folds: int = 2,
    noise: float = 2.5,
    text_dim: int = 16,
) -> PlantedSets:
    """See `PlantedSets`; user u is of community u % communities."""
    random = np.random.default_rng(11)
    community = np.arange(communities * members) % communities
    node = np.stack(
        [random.choice(np.flatnonzero(community == u % communities), per_user, False) for u in range(users)]
    )
    user = np.repeat(np.arange(users), per_user)

    def directions(count: int) -> np.ndarray:
        vectors = random.standard_normal((count, text_dim))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    text = directions(communities)[community] + noise * directions(len(community))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return PlantedSets(
        user=user,
        node=node.flatten(),
        fold=user // communities % folds,
        text=text.astype(np.float32),
        node_type=torch.arange(len(community)) // communities % 2,
        community=torch.from_numpy(community),
    )
