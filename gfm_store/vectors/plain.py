"""Searching `retrieval` as somebody does who knows nothing but Lance: what our own search is measured against."""

from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np

from gfm_store.vectors.publication import open_table, published_folder

Search = Callable[[np.ndarray], list[str]]
"""A vector (dim,) to item ids, best first."""


def flat_search(root: Path, k: int, where: str | None) -> Search:
    """Over all vectors that pass the filter."""
    return _search(open_table(published_folder(root), "retrieval"), k, where, {"use_index": False})


def build_ivf_flat(root: Path, folder: Path) -> lance.LanceDataset:
    """A copy of `retrieval` in `folder`, with an IVF_FLAT index of as many lists as the root of its rows."""
    rows = open_table(published_folder(root), "retrieval")
    copy = lance.write_dataset(rows, str(folder / "retrieval.lance"), mode="overwrite")
    copy.create_scalar_index("item_type", "BITMAP")
    copy.create_scalar_index("language", "BITMAP")
    copy.create_index("vector", "IVF_FLAT", metric="l2", num_partitions=max(int(rows.count_rows() ** 0.5), 1))
    return lance.dataset(str(folder / "retrieval.lance"))


def ivf_search(indexed: lance.LanceDataset, k: int, where: str | None, probes: int) -> Search:
    """Through the index."""
    return _search(indexed, k, where, {"minimum_nprobes": probes, "nprobes": probes})


def _search(dataset: lance.LanceDataset, k: int, where: str | None, options: dict[str, object]) -> Search:
    def search(vector: np.ndarray) -> list[str]:
        nearest = {"column": "vector", "q": vector, "k": k, **options}
        scanner = dataset.scanner(
            columns=["item_id", "_distance"], nearest=nearest, filter=where, prefilter=where is not None
        )
        found: list[str] = scanner.to_table()["item_id"].to_pylist()
        return found

    return search
