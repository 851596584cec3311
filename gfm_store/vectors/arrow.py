"""Vectors between NumPy and Arrow, without copies where possible."""

import numpy as np
import pyarrow as pa


def to_arrow(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """(n, dim) float32 as a fixed-size list column."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A fixed-size list column as (n, dim) float32, in memory of its own (torch asks for writable memory)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    dim = column.type.list_size
    values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim).copy()
    return values


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table whose columns are one array each: reading a few rows of them copies nothing else."""
    combined = table.combine_chunks()
    return combined.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], table.schema)
