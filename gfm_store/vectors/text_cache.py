"""Text vectors on disk, by the hash of their text: a Lance dataset that is only ever appended to."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.schema import vector_type
from gfm_store.vectors.arrow import to_arrow

MAX_FRAGMENTS = 64


class TextCache:
    """One model's vectors under `<warehouse>/cache/`; the folder may be deleted at any time."""

    def __init__(self, root: Path, model_fingerprint: str) -> None:
        self._path = root / "cache" / "text" / f"{model_fingerprint[:16]}.lance"

    def lookup(self, hashes: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(n,) bool: which hashes are known; (n, dim) float32: their vectors, zero where unknown."""
        if not self._path.exists():
            return np.zeros(len(hashes), dtype=bool), np.zeros((len(hashes), 0), dtype=np.float32)
        dataset = lance.dataset(str(self._path))
        dim = dataset.schema.field("vector").type.list_size
        known = np.zeros(len(hashes), dtype=bool)
        vectors = np.zeros((len(hashes), dim), dtype=np.float32)
        distinct = hashes.unique()
        # Where each distinct hash stands in the output; several items may share a text.
        item_of_distinct = pc.index_in(hashes, distinct).to_numpy()
        found = np.zeros(len(distinct), dtype=bool)
        gathered = np.zeros((len(distinct), dim), dtype=np.float32)
        cached = dataset.to_table(columns=["text_hash"])["text_hash"]
        # Asked once for all batches: each time hashes what is wanted anew.
        position = pc.fill_null(pc.index_in(cached, distinct), -1).to_numpy()
        begin = 0
        for batch in dataset.to_batches(columns=["vector"]):
            mine = position[begin : begin + batch.num_rows]
            begin += batch.num_rows
            values = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
            gathered[mine[mine >= 0]] = values[mine >= 0]
        found[position[position >= 0]] = True
        vectors[:], known[:] = gathered[item_of_distinct], found[item_of_distinct]
        return known, vectors

    def append(self, hashes: pa.Array, vectors: np.ndarray) -> None:
        """Keep (n, dim) vectors; many small writes are compacted."""
        table = pa.table(
            {"text_hash": hashes, "vector": to_arrow(vectors)},
            schema=pa.schema([("text_hash", pa.string()), ("vector", vector_type(vectors.shape[1]))]),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        dataset = lance.write_dataset(
            table, str(self._path), mode="append" if self._path.exists() else "create"
        )
        if len(dataset.get_fragments()) > MAX_FRAGMENTS:
            dataset.optimize.compact_files()
            dataset.cleanup_old_versions(older_than=None, retain_versions=1)
