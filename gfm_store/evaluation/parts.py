"""Finished parts of evaluations, kept by the fingerprint of all that they follow from: an interrupted run goes on."""

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any
from zipfile import BadZipFile

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from gfm_store import program
from gfm_store.evaluation.split import Split
from gfm_store.warehouse import catalogue

KEPT_DAYS = 30
"""Parts that were not used for so long are removed."""


@dataclass(frozen=True)
class Part:
    """What one step gave, and what it took."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """Lists by the name of the candidates, (U, k) int32 nodes; or vectors."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Anything that JSON can hold."""
    seconds: float = 0.0
    peak_mb: float = 0.0
    reused: bool = False


class Parts:
    """`<warehouse>/evaluation/`: one file a part; the folder may be deleted at any time."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "evaluation"
        self._program = [program.fingerprint(), catalogue.fingerprint("graph", "history", "evaluation")]

    def get(self, make: Callable[[], Part], **identity: Any) -> Part:
        """The part of that identity: read, or made and kept.

        Args:
            identity: what the part follows from, beside the program itself; anything that JSON can hold.
        """
        text = json.dumps({"program": self._program, **identity}, sort_keys=True, default=str)
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        kept = _read(path)
        if kept is not None:
            path.touch()
            return kept
        watch = PeakMemory()
        with watch:
            begin = time.perf_counter()
            made = make()
            seconds = time.perf_counter() - begin
        part = replace(made, seconds=seconds, peak_mb=watch.peak_mb)
        _write(path, part)
        return part

    def remove_stale(self) -> None:
        """Remove parts that nobody used for long, and what interrupted writes of processes that are gone left."""
        for path in self._folder.glob("*.npz*"):
            if path.suffix == ".npz":
                stale = time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400
            else:
                stale = not psutil.pid_exists(int(path.suffix.removeprefix(".")))
            if stale:
                path.unlink(missing_ok=True)


class PeakMemory:
    """The most resident memory of this process while it is entered, looked at every 20 ms."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._done = Event()
        self._watcher = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_mb = max(self.peak_mb, process.memory_info().rss / 2**20)
            if self._done.wait(0.02):
                return


def split_fingerprint(split: Split) -> str:
    """SHA-256, in hex, of what a split knows and asks; users by their ids."""
    digest = hashlib.sha256(f"{split.as_of.isoformat()} {split.horizon_days}".encode())
    arrays = (
        split.streams.indptr,
        split.streams.indices,
        split.streams.data,
        split.text_vector,
        split.known_user,
        split.target_user,
        split.target_node,
    )
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    for table in (split.item, pa.table({"user_id": split.user_id, "country": split.country})):
        # As Parquet: the same bytes for the same values, however they lie in memory.
        encoded = pa.BufferOutputStream()
        pq.write_table(table, encoded)
        digest.update(encoded.getvalue())
    return digest.hexdigest()


def _write(path: Path, part: Part) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".npz.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **_encoded(part))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _encoded(part: Part) -> dict[str, np.ndarray]:
    """Names of candidates hold types, and types are data: they do not become names of members."""
    words = {
        "names": list(part.arrays),
        "facts": part.facts,
        "seconds": part.seconds,
        "peak_mb": part.peak_mb,
    }
    arrays = {f"array_{i}": array for i, array in enumerate(part.arrays.values())}
    return arrays | {"words": np.frombuffer(json.dumps(words).encode(), np.uint8)}


def _read(path: Path) -> Part | None:
    """A kept part; None where there is none, or what is there is torn."""
    try:
        with np.load(path, allow_pickle=False) as file:
            words = json.loads(file["words"].tobytes())
            arrays = {name: file[f"array_{i}"] for i, name in enumerate(words["names"])}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
        return None
    return Part(arrays, words["facts"], words["seconds"], words["peak_mb"], reused=True)
