"""One request, with reading the history and making the user's vector, beside searches that are handed that vector."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gfm_store.benchmark.measure import OURS, Measurement, median_ms
from gfm_store.serving.store import Store
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.plain import Search, build_ivf_flat, flat_search, ivf_search

K = 10
REQUESTS = 40
"""More than a store takes to read all users into memory."""
PROBES = tuple(2**i for i in range(11))
"""Lists that a peer reads."""
CANDIDATES = tuple(2**i for i in range(4, 13))
"""Nodes of a graph that a peer keeps in view."""
LINKS = 16
ENOUGH = 0.95
"""An approximate peer is measured at the least effort that reaches this recall."""

Rows = Callable[[np.ndarray], np.ndarray]
"""A user's vector (dim,) to rows of `retrieval`, best first."""


@dataclass(frozen=True)
class Asked:
    """A filter, and who asks: n items, q users."""

    name: str
    arguments: dict[str, str]
    """As `recommend` takes it."""
    where: str | None
    """As SQL has it."""
    allowed: np.ndarray
    """(n,) bool."""
    items: np.ndarray
    """(n, dim) float32."""
    item_id: np.ndarray
    """(n,) text."""
    users: list[str]
    queries: np.ndarray
    """(q, dim) float32."""

    @property
    def task(self) -> str:
        return f"one request: {self.name}, {self.allowed.mean():.1%} of {len(self.items):,} items"

    @cached_property
    def best(self) -> list[np.ndarray]:
        """The rows that each query should find; found once, since that takes longest of all."""
        return [exact(self.items, query, self.allowed) for query in self.queries]

    def recall(self, search: Rows) -> float:
        """Recall@10 against exact search."""
        found = [
            np.isin(best, search(query)).mean() for best, query in zip(self.best, self.queries, strict=True)
        ]
        return float(np.mean(found))

    def measured(self, system: str, search: Rows, note: str = "", times: int = REQUESTS) -> Measurement:
        """A peer's time and recall. It has answered every query once before its time is taken, as we have."""
        recall = self.recall(search)
        time = median_ms(lambda i: search(self.queries[i % len(self.queries)]), times)
        return Measurement(self.task, system, time, recall, note=note)

    def tuned(
        self, system: str, search_at: Callable[[int], Rows], efforts: Sequence[int], what: str
    ) -> Measurement:
        """The same for a peer that takes so much effort, at the least that finds enough."""
        for effort in efforts:
            recall = self.recall(search_at(effort))
            if recall >= ENOUGH:
                return self.measured(system, search_at(effort), f"{effort} {what}")
        return Measurement(self.task, system, recall=recall, note=f"recall below {ENOUGH} at {effort} {what}")


def exact(items: np.ndarray, query: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(K,) rows with the highest dot product that pass, by NumPy; fewer where fewer pass."""
    scores = items @ query
    scores[~allowed] = -np.inf
    best = np.argpartition(-scores, min(K, len(scores)) - 1)[:K]
    return best[scores[best] > -np.inf]


def measure_requests(store: Store, root: Path, scratch: Path) -> list[Measurement]:
    """Ours and its peers under three filters."""
    measured = []
    questions = list(_questions(store))
    indexed = build_ivf_flat(root, scratch)
    faiss_peers = _faiss_peers(questions[0].items)
    for asked in questions:
        row = {item: i for i, item in enumerate(asked.item_id.tolist())}

        def rows_of(search: Search, row: dict[str, int] = row) -> Rows:
            return lambda query: np.array([row[item] for item in search(query)], dtype=np.int64)

        def probing(
            probes: int, where: str | None = asked.where, of: Callable[[Search], Rows] = rows_of
        ) -> Rows:
            return of(ivf_search(indexed, K, where, probes))

        measured.append(_ours(store, asked))
        measured += _exact(asked)
        flat = rows_of(flat_search(root, K, asked.where))
        measured.append(asked.measured("LanceDB flat", flat, times=5))
        measured.append(asked.tuned("LanceDB IVF_FLAT", probing, PROBES, "probes"))
        measured += list(_faiss(faiss_peers, asked))
    return measured


def _questions(store: Store) -> Iterator[Asked]:
    table = store.sql("SELECT item_id, item_type, language, vector FROM retrieval")
    items, item_id = to_numpy(table["vector"]), np.array(table["item_id"].to_pylist(), dtype=object)
    item_type, language = (
        np.array(table[name].to_pylist(), dtype=object) for name in ("item_type", "language")
    )
    ids = store.users()
    users = [ids[i].as_py() for i in range(0, len(ids), max(len(ids) // REQUESTS, 1))][:REQUESTS]
    queries = np.stack([store.user_vector(user) for user in users])
    names, counts = np.unique(item_type.astype(str), return_counts=True)
    rare, common = names[counts.argmin()], names[counts.argmax()]
    for name, kind, spoken in (
        ("any", None, None),
        (rare, rare, None),
        (f"{common} in Swedish", common, "sv"),
    ):
        arguments, allowed, parts = {}, np.ones(len(items), dtype=bool), []
        if kind:
            arguments["item_type"], allowed = str(kind), allowed & (item_type == kind)
            parts.append(f"item_type = '{kind}'")
        if spoken:
            arguments["languages"], allowed = spoken, allowed & (language == spoken)
            parts.append(f"language = '{spoken}'")
        yield Asked(name, arguments, " AND ".join(parts) or None, allowed, items, item_id, users, queries)


def _ours(store: Store, asked: Asked) -> Measurement:
    def request(i: int) -> list[str]:
        user = asked.users[i % len(asked.users)]
        listed = store.recommend(user, K, include_seen=True, **asked.arguments)  # type: ignore[arg-type]
        found: list[str] = listed["item_id"].to_pylist()
        return found

    found = [np.isin(asked.item_id[best], request(i)).mean() for i, best in enumerate(asked.best)]
    time = median_ms(request, REQUESTS)
    kind = store.sql("SELECT index_kind FROM version WHERE is_published")["index_kind"][0].as_py()
    return Measurement(
        asked.task, OURS, time, float(np.mean(found)), note=f"history and user tower too; {kind}"
    )


def _exact(asked: Asked) -> list[Measurement]:
    items, denied = torch.from_numpy(asked.items), torch.from_numpy(~asked.allowed)
    rows = asked.allowed.nonzero()[0]
    kept = asked.items[rows]

    def by_torch(query: np.ndarray) -> np.ndarray:
        scores = (items @ torch.from_numpy(query)).masked_fill_(denied, -torch.inf)
        best: np.ndarray = scores.topk(min(K, len(rows))).indices.numpy()
        return best

    def by_kept_rows(query: np.ndarray) -> np.ndarray:
        scores = kept @ query
        return rows[np.argpartition(-scores, min(K, len(rows)) - 1)[:K]]

    return [
        asked.measured("NumPy exact", lambda query: exact(asked.items, query, asked.allowed)),
        asked.measured("torch exact", by_torch),
        asked.measured("NumPy exact, rows of the filter kept apart", by_kept_rows),
    ]


@dataclass(frozen=True)
class _FaissPeer:
    """An index of faiss over all items, and what it is asked with."""

    name: str
    index: Any
    parameters: Callable[[int, Any], Any]
    """Of a search that takes so much effort among the items of a selector."""
    efforts: Sequence[int]
    what: str


def _faiss_peers(items: np.ndarray) -> list[_FaissPeer]:
    """Empty where faiss is not installed."""
    if importlib.util.find_spec("faiss") is None:
        return []
    faiss: Any = importlib.import_module("faiss")
    dim, lists = items.shape[1], max(int(len(items) ** 0.5), 1)
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    ivf.train(items[np.random.default_rng(0).permutation(len(items))[: lists * 50]])
    ivf.add(items)
    hnsw = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    hnsw.add(items)
    return [
        _FaissPeer(
            "faiss IVF_FLAT",
            ivf,
            lambda probes, selector: faiss.SearchParametersIVF(nprobe=probes, sel=selector),
            PROBES,
            "probes",
        ),
        _FaissPeer(
            "faiss HNSW",
            hnsw,
            lambda candidates, selector: faiss.SearchParametersHNSW(efSearch=candidates, sel=selector),
            CANDIDATES,
            "candidates",
        ),
    ]


def _faiss(peers: list[_FaissPeer], asked: Asked) -> Iterator[Measurement]:
    if not peers:
        yield Measurement(asked.task, "faiss", note="not installed: pip install 'gfm-store[benchmark]'")
        return
    faiss: Any = importlib.import_module("faiss")
    packed = np.packbits(asked.allowed, bitorder="little")
    selector = None if asked.where is None else faiss.IDSelectorBitmap(packed)
    for peer in peers:

        def search_at(effort: int, peer: _FaissPeer = peer) -> Rows:
            parameters = peer.parameters(effort, selector)
            return lambda query: peer.index.search(query[None], K, params=parameters)[1][0]

        yield asked.tuned(peer.name, search_at, peer.efforts, peer.what)
