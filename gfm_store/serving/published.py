"""One published version in memory: item vectors, the model that makes user vectors, and their numbering."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError

from gfm_store.config import warehouse_option
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.dynamic_layer.similarity import as_query, similarity_vectors
from gfm_store.errors import NotPublishedError, UsageError
from gfm_store.serving.partition import Partition, PartitionIndex
from gfm_store.vectors.arrow import one_batch, to_numpy
from gfm_store.vectors.publication import dynamic_folder, open_table
from gfm_store.vectors.static_version import static_folder
from gfm_store.vectors.tables import VersionTables
from gfm_store.vectors.version import DynamicRecord, StaticRecord

KEPT_FILTERS = 64


@dataclass(frozen=True)
class PublishedVersion:
    """All that requests need of one version. Shapes: N items known, n of them in `retrieval`."""

    tables: VersionTables
    record: DynamicRecord
    model: DynamicModel
    item_id: pa.Array
    """(N,): items by node, as histories name them."""
    item_vector: np.ndarray
    """(N, dim) float32, HGNN vectors by node."""
    item_type: np.ndarray
    """(N,) int64, type indices of the model by node."""
    retrieval: pa.RecordBatch
    """n rows: item_id, item_type, popularity; by list where there is an index."""
    retrieval_vector: np.ndarray
    """(n, model.dim) float32."""
    order: np.ndarray
    """(n,) int64: where each row lies in the published table."""
    index: PartitionIndex | None
    """Over the rows; None for exact search."""
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
                f"{root}: version {version} cannot be read ({reason[:200]}). `python -m jobs.refresh_dynamic "
                f"{warehouse_option(root)}` builds a new one, `python -m jobs.versions rollback "
                f"{warehouse_option(root)}` goes back to the one before it."
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
        partition = Partition.load(model_folder)
        order = np.arange(retrieval.num_rows) if partition is None else partition.order
        vectors = to_numpy(retrieval["vector"])
        retrieval = one_batch(retrieval.drop_columns("vector").take(pa.array(order)))
        if partition is not None:
            vectors = vectors[order]
        item_id = embedded["item_id"].combine_chunks()
        type_index = pc.index_in(embedded["item_type"], pa.array(model.item_types, pa.string()))
        row = pc.index_in(item_id, retrieval["item_id"])
        return cls(
            VersionTables(root, folder, version),
            record,
            model,
            item_id,
            to_numpy(embedded["vector"]),
            pc.fill_null(type_index, len(model.item_types)).to_numpy().astype(np.int64),
            retrieval,
            vectors,
            order,
            None if partition is None else PartitionIndex(partition, vectors, record.index.rows),
            pc.fill_null(row, -1).to_numpy(zero_copy_only=False).astype(np.int64),
        )

    @cached_property
    def static_record(self) -> StaticRecord:
        """The static version that this one stands on."""
        return StaticRecord.read(static_folder(self.tables.root, self.record.static_version))

    @cached_property
    def node_of_row(self) -> np.ndarray:
        """(n,) int64: the node of each row of `retrieval`."""
        there = (self.row_of_node >= 0).nonzero()[0]
        return there[np.argsort(self.row_of_node[there])]

    @cached_property
    def search_vector(self) -> np.ndarray:
        """(n, dim) float32: the vectors of `item_search`, whose rows are published in the order of `retrieval`."""
        vectors = to_numpy(self.tables.open("item_search").to_table(columns=["vector"])["vector"])
        return vectors if self.index is None else vectors[self.order]

    def similarity_queries(self, nodes: np.ndarray) -> np.ndarray:
        """(len, dim) float32: what finds items like those of `nodes`, which need not be available."""
        text = self.tables.open("item_embedding").take(nodes.tolist(), columns=["text_vector"])
        behaviour = self.item_vector[nodes]
        return as_query(similarity_vectors(to_numpy(text["text_vector"]), behaviour))

    @cached_property
    def attribute(self) -> pa.RecordBatch:
        """n rows, as `retrieval`: title, published_at, markets; item_type, language and creator dictionary-encoded."""
        names = ["item_type", "language", "creator", "title", "published_at", "markets"]
        table = self.tables.open("item_embedding").to_table(columns=names).take(pa.array(self.node_of_row))
        coded = [
            column.dictionary_encode() if name in names[:3] else column
            for name, column in zip(names, table.columns, strict=True)
        ]
        return one_batch(pa.table(coded, names=names))

    def rows_of(self, name: str, asked: tuple[str, ...], what: str) -> np.ndarray:
        """(n,) bool: which rows hold one of the values asked for. The last few answers are kept.

        Raises:
            UsageError: no row holds one of them.
        """
        if (name, asked) not in self._rows_of:
            if len(self._rows_of) >= KEPT_FILTERS:
                self._rows_of.pop(next(iter(self._rows_of)))
            self._rows_of[name, asked] = _has_one_of(self.attribute[name], asked, what)
        return self._rows_of[name, asked]

    @cached_property
    def _rows_of(self) -> dict[tuple[str, tuple[str, ...]], np.ndarray]:
        return {}

    @cached_property
    def creator_code(self) -> np.ndarray:
        """(n,) int64 for the rows of `retrieval`; -1 where the creator is not known."""
        codes = self.attribute["creator"].indices
        return pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    @cached_property
    def _node(self) -> dict[str, int]:
        return {item: node for node, item in enumerate(self.item_id.to_pylist())}

    def nodes_of(self, item_ids: list[str]) -> np.ndarray:
        """(len,) int64: the nodes of a request's items, -1 where not known."""
        return np.array([self._node.get(item, -1) for item in item_ids], dtype=np.int64)

    def known_nodes(self, item_ids: list[str]) -> np.ndarray:
        """The same where all must be known.

        Raises:
            UsageError: one is not.
        """
        nodes = self.nodes_of(item_ids)
        if unknown := [item for item, node in zip(item_ids, nodes, strict=True) if node < 0]:
            raise UsageError(
                f"version {self.record.version} knows no item {', '.join(map(repr, unknown[:5]))}"
                + (f" and {len(unknown) - 5} more." if len(unknown) > 5 else ".")
            )
        return nodes


def _has_one_of(column: pa.DictionaryArray, asked: tuple[str, ...], what: str) -> np.ndarray:
    known = column.dictionary.to_pylist()
    if unknown := sorted(set(asked) - set(known)):
        shown = sorted(value for value in known if value is not None)
        there = (
            ", ".join(shown) if len(shown) <= 20 else f"{', '.join(shown[:10])} and {len(shown) - 10:,} more"
        )
        raise UsageError(f"unknown {what} {', '.join(map(repr, unknown[:5]))}; there are: {there or 'none'}.")
    wanted = np.isin(np.array(known, dtype=object), asked)
    code = pc.fill_null(column.indices, len(known)).to_numpy(zero_copy_only=False)
    passes: np.ndarray = np.append(wanted, False)[code]
    return passes
