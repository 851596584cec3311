"""How far the space moved from one version to another: neighbours, lists of users, movers, settings, programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import rankdata

from gfm_store.lifecycle.versions import KeptVersion, find_version
from gfm_store.serving.ranking import top_k
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import open_table

K = 10
"""Length of lists and neighbourhoods."""
SAMPLE = 1_000
"""Items and users that are looked at, at most."""
CORRELATED = 200
"""Users whose whole rankings are correlated, at most."""
MOVERS = 5


@dataclass(frozen=True)
class Mover:
    """An item that stands in more or fewer of the sampled users' lists than before."""

    item_id: str
    title: str
    share_before: float
    share_after: float


@dataclass(frozen=True)
class Comparison:
    """From version `before` to version `after`. Overlaps are shares of the K nearest or best that are the same."""

    before: KeptVersion
    after: KeptVersion
    n_shared_known: int
    """Items that both know, of which some may be offered by one of them alone."""
    n_shared_items: int
    """Items that both offer."""
    n_shared_users: int
    item_overlap: float | None
    """Neighbours by HGNN vector (cosine), among the items that both know; None where there are too few to tell."""
    retrieval_overlap: float | None
    """Neighbours by retrieval vector."""
    list_overlap: float | None
    """Lists of the shared users, each with the version's own user vectors."""
    stale_overlap: float | None
    """The same, when the user vectors of `before` are asked against the items of `after`; None where their lengths
    differ."""
    rank_correlation: float | None
    """Mean over users of Spearman's correlation of the rankings of all shared items."""
    movers: tuple[Mover, ...]
    settings: dict[str, tuple[Any, Any]]
    """What differs, by its name: settings, dotted, and the programs that made the versions."""


def compare(root: Path, before: str, after: str) -> Comparison:
    """Compare two kept versions on their shared items and users.

    Raises:
        NotPublishedError: one of them is not kept.
    """
    one, other = find_version(root, before), find_version(root, after)
    items = [_table(v, "item_embedding", ["item_id", "title", "vector"]) for v in (one, other)]
    asked = [_table(v, "retrieval", ["item_id", "vector"]) for v in (one, other)]
    users = [_table(v, "user_vector", ["user_id", "vector"]) for v in (one, other)]
    known, item_vectors = _shared(items, "item_id")
    shared, vectors = _shared(asked, "item_id")
    user, user_vectors = _shared(users, "user_id")
    drawn = _drawn(len(user), SAMPLE)
    lists = [_best(u[drawn], v) for u, v in zip(user_vectors, vectors, strict=True)]
    fits = user_vectors[0].shape[1] == vectors[1].shape[1]
    stale = _best(user_vectors[0][drawn], vectors[1]) if fits else None
    return Comparison(
        before=one,
        after=other,
        n_shared_known=len(known),
        n_shared_items=len(shared),
        n_shared_users=len(user),
        item_overlap=_neighbour_overlap(item_vectors),
        retrieval_overlap=_neighbour_overlap(vectors),
        list_overlap=_overlap(*lists),
        stale_overlap=None if stale is None else _overlap(stale, lists[1]),
        rank_correlation=_rank_correlation(user_vectors, vectors),
        movers=_movers(shared, lists, items[1]),
        settings=_settings(one, other),
    )


def _table(version: KeptVersion, name: str, columns: list[str]) -> pa.Table:
    return open_table(version.folder, name, version.tag).to_table(columns=columns)


def _shared(tables: list[pa.Table], key: str) -> tuple[pa.Array, list[np.ndarray]]:
    """Ids that stand in both tables, sorted, and their vectors in each: (s, dim)."""
    ids = [table[key].combine_chunks() for table in tables]
    both = ids[0].filter(pc.is_in(ids[0], ids[1])).sort()
    rows = [pc.index_in(both, one).to_numpy() for one in ids]
    return both, [to_numpy(table["vector"])[row] for table, row in zip(tables, rows, strict=True)]


def _drawn(n: int, at_most: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(n)[:at_most])


def _best(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(u, K) rows of the best items of each user."""
    return top_k(users, items, K).row


def _neighbour_overlap(vectors: list[np.ndarray]) -> float | None:
    """Of the K nearest items by cosine, those that are the same in both; the item itself does not count."""
    drawn = _drawn(len(vectors[0]), SAMPLE)
    if len(vectors[0]) <= K:
        return None
    nearest = []
    for one in vectors:
        unit = one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
        itself = np.arange(len(drawn)), drawn
        nearest.append(top_k(unit[drawn], unit, K, itself).row)
    return _overlap(*nearest)


def _overlap(before: np.ndarray, after: np.ndarray) -> float | None:
    if not before.size:
        return None
    return float((before[:, :, None] == after[:, None, :]).any(axis=2).mean())


def _rank_correlation(users: list[np.ndarray], items: list[np.ndarray]) -> float | None:
    drawn = _drawn(len(users[0]), CORRELATED)
    if not len(drawn) or len(items[0]) < 3:
        return None
    ranks = [rankdata(u[drawn] @ v.T, axis=1) for u, v in zip(users, items, strict=True)]
    before, after = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(((before * after).sum(axis=1) / np.maximum(scale, 1e-12)).mean())


def _movers(shared: pa.Array, lists: list[np.ndarray], items: pa.Table) -> tuple[Mover, ...]:
    """The items that gained and lost most lists, gains first."""
    if not lists[0].size:
        return ()
    before, after = (np.bincount(rows.ravel(), minlength=len(shared)) / len(rows) for rows in lists)
    change = after - before
    order = np.argsort(-change, kind="stable")
    chosen = [row for row in order[:MOVERS] if change[row] > 0]
    chosen += [row for row in order[-MOVERS:] if change[row] < 0]
    place = pc.index_in(shared.take(pa.array(chosen, pa.int64())), items["item_id"].combine_chunks())
    titles = items["title"].take(place)
    return tuple(
        Mover(shared[int(row)].as_py(), title or "", float(before[row]), float(after[row]))
        for row, title in zip(chosen, titles.to_pylist(), strict=True)
    )


def _settings(before: KeptVersion, after: KeptVersion) -> dict[str, tuple[Any, Any]]:
    flat = [
        _flat(one.static.origin.settings)
        | _flat(one.record.origin.settings)
        | {"program": one.record.origin.package, "program of the static version": one.static.origin.package}
        for one in (before, after)
    ]
    names = sorted({*flat[0], *flat[1]})
    found = {name: (flat[0].get(name), flat[1].get(name)) for name in names}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat
