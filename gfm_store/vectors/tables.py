"""What readers see of one version, by name: Lance tables as they lie, and what is known of all kept versions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.schema import KEPT_ITEM_EMBEDDING, VERSION
from gfm_store.vectors.publication import TABLES, kept_versions, open_table
from gfm_store.vectors.version import DynamicRecord


@dataclass(frozen=True)
class VersionTables:
    """The tables of one version of a publication's folder."""

    root: Path
    folder: Path
    version: str

    def open(self, name: str) -> lance.LanceDataset:
        """One of `TABLES`."""
        return open_table(self.folder, name, self.version)

    def all(self) -> dict[str, lance.LanceDataset | pa.Table]:
        """The tables of the version; `version`, one row a kept one; and the item embeddings of each kept one."""
        tables = {name: self.open(name) for name in TABLES}
        for i, kept in enumerate(kept_versions(self.folder)):
            tables[f"{KEPT_ITEM_EMBEDDING}{i}"] = open_table(self.folder, "item_embedding", kept)
        return {**tables, "version": pa.Table.from_pylist(list(self._records()), schema=VERSION)}

    def neighbours(self, item_id: str) -> pa.Table:
        """`item_id`, `n_users` and `weight` of the items that share a co-interaction edge with an item."""
        edge = self.open("co_interaction_edge").to_table(
            columns=["dst_item_id", "n_users", "weight"], filter=pc.field("src_item_id") == item_id
        )
        return edge.rename_columns(["item_id", "n_users", "weight"])

    def _records(self) -> Iterator[dict[str, object]]:
        published = DynamicRecord.read(self.folder).version
        for name in kept_versions(self.folder):
            record = DynamicRecord.read(self.root / "dynamic" / name)
            yield record.model_dump() | {
                "embedding_version": name,
                "is_published": name == published,
                "index_kind": record.index.kind,
                "index_recall": min(record.index.recall.values()),
                "validation_ndcg": None if record.held_out is None else record.held_out.ndcg.value,
            }
