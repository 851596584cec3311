"""One published version in memory: item vectors, the model that makes user vectors, and their numbering."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError

from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.errors import NotPublishedError
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import dynamic_folder, open_table
from gfm_store.vectors.version import DynamicRecord


@dataclass(frozen=True)
class PublishedVersion:
    """All that requests need of one version. Shapes: N items known, n of them in `retrieval`."""

    record: DynamicRecord
    model: DynamicModel
    item_id: pa.Array
    """(N,): items by node, as histories name them."""
    item_vector: np.ndarray
    """(N, dim) float32, HGNN vectors by node."""
    item_type: np.ndarray
    """(N,) int64, type indices of the model by node."""
    retrieval: pa.Table
    """n rows: item_id, item_type, popularity."""
    retrieval_vector: np.ndarray
    """(n, model.dim) float32."""
    row_of_node: np.ndarray
    """(N,) int64: row of `retrieval`, or -1."""

    @classmethod
    def load(cls, root: Path, folder: Path, version: str) -> Self:
        """Read `version` from a publication's folder and its weights from `root`.

        Raises:
            NotPublishedError: the version is not kept, or a file of it is missing or torn.
        """
        try:
            return cls._load(root, folder, version)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NotPublishedError(
                f"{root}: version {version} cannot be read ({reason[:200]}). `python -m jobs.versions rollback` goes "
                "back to the one before it."
            ) from None

    @classmethod
    def _load(cls, root: Path, folder: Path, version: str) -> Self:
        embedded = open_table(folder, "item_embedding", version).to_table(
            columns=["item_id", "item_type", "vector"]
        )
        retrieval = open_table(folder, "retrieval", version).to_table(
            columns=["item_id", "item_type", "popularity", "vector"]
        )
        model_folder = dynamic_folder(root, version)
        record = DynamicRecord.read(model_folder)
        model = DynamicModel.load(model_folder)
        item_id = embedded["item_id"].combine_chunks()
        type_index = pc.index_in(embedded["item_type"], pa.array(model.item_types, pa.string()))
        row = pc.index_in(item_id, retrieval["item_id"].combine_chunks())
        return cls(
            record,
            model,
            item_id,
            to_numpy(embedded["vector"]),
            pc.fill_null(type_index, len(model.item_types)).to_numpy().astype(np.int64),
            retrieval.drop_columns("vector"),
            to_numpy(retrieval["vector"]),
            pc.fill_null(row, -1).to_numpy(zero_copy_only=False).astype(np.int64),
        )
