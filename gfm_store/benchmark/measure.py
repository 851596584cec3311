"""Measured times, each beside its peers'."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil
import pyarrow as pa

from gfm_store.evaluation.parts import PeakMemory

MEASUREMENT = pa.schema(
    [
        ("task", pa.string()),
        ("system", pa.string()),
        ("milliseconds", pa.float64()),
        ("ours_to_it", pa.float64()),
        ("recall_at_10", pa.float64()),
        ("memory_mb", pa.float64()),
        ("note", pa.string()),
    ]
)
"""`milliseconds`: median; `ours_to_it`: our time over its time; `memory_mb`: the peak above what was held before."""

OURS = "gfm-store"


@dataclass(frozen=True)
class Measurement:
    """One system at one task; None where it was not measured."""

    task: str
    system: str
    milliseconds: float | None = None
    recall: float | None = None
    memory_mb: float | None = None
    note: str = ""


def as_table(measured: list[Measurement]) -> pa.Table:
    """As MEASUREMENT: ratios are to our own time at the same task."""
    ours = {one.task: one.milliseconds for one in measured if one.system == OURS}
    rows = [
        (
            one.task,
            one.system,
            one.milliseconds,
            _ratio(ours.get(one.task), one),
            one.recall,
            one.memory_mb,
            one.note,
        )
        for one in measured
    ]
    return pa.Table.from_arrays(
        [
            pa.array(column, kind)
            for column, kind in zip(zip(*rows, strict=True), MEASUREMENT.types, strict=True)
        ],
        schema=MEASUREMENT,
    )


def _ratio(ours: float | None, other: Measurement) -> float | None:
    if ours is None or other.milliseconds is None or other.system == OURS:
        return None
    return ours / other.milliseconds


def median_ms(ask: Callable[[int], object], times: int) -> float:
    """Median wall time of `ask(i)`, i counting from 0; the first call warms up and does not count."""
    taken = []
    for i in range(1 + times):
        begin = time.perf_counter()
        ask(i)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken[1:]) * 1e3)


@contextmanager
def memory_above() -> Iterator[list[float]]:
    """Gives, in the end, a list of one: the peak of resident memory, in MB, above what it was at first."""
    before = psutil.Process().memory_info().rss / 2**20
    above: list[float] = []
    with PeakMemory() as watch:
        yield above
    above.append(max(watch.peak_mb - before, 0.0))
