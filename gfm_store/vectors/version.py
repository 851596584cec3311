"""What a version is: its record, as JSON beside its weights."""

from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from gfm_store.config import GraphConfig
from gfm_store.errors import NotPublishedError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, folder: Path) -> None:
        """Write the record to `folder`/record.json."""
        (folder / "record.json").write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it back.

        Raises:
            NotPublishedError: the folder or its record is not there or is torn.
        """
        try:
            return cls.model_validate_json((folder / "record.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotPublishedError(
                f"{folder} is not a whole version: {str(error).splitlines()[0]}"
            ) from None


class StaticRecord(_Record):
    """A static version: graph, text vectors, HGNN."""

    version: str
    """`s-` and a fingerprint of inputs, configuration, SQL and code."""
    as_of: datetime
    built_at: datetime
    item_types: list[str]
    """By type index."""
    n_items: int
    n_edges: int
    window_days: int
    min_users: int
    text_model: str = "packaged"
    """As `text.model` was set; a query is encoded by the same."""
    text_max_tokens: int = 128
    text_fingerprint: str
    text_dim: int
    dim: int
    graph: GraphConfig
    """How the graph was made; vectors of later moments follow it."""
    seed: int
    validation_mrr: float
    """Best held-out MRR of the HGNN."""
    epochs: int
    seconds: dict[str, float]
    """Wall time of each step."""


class IndexRecord(_Record):
    """How a version is searched for one user at a time, chosen by what was measured when it was built."""

    kind: Literal["exact", "ivf_flat"]
    lists: int
    probes: int
    """Lists that a request reads."""
    recall: dict[str, float]
    """Recall@10 against exact search, by the share of the items that pass the filter."""


EXACT = IndexRecord(kind="exact", lists=0, probes=0, recall={"1.0": 1.0})
"""What small versions are searched by, and those that were built before there were indexes."""


class DynamicRecord(_Record):
    """A dynamic version on its static parent: the pair that readers see as `embedding_version`."""

    version: str
    """`d-` and a fingerprint; it covers the parent's."""
    static_version: str
    as_of: datetime
    built_at: datetime
    n_items: int
    """Rows of `retrieval`."""
    n_users: int
    """Rows of `user_vector`."""
    n_pairs: int
    """Training pairs."""
    index: IndexRecord = EXACT
    validation_ndcg: float
    """NDCG@10 on the last days before `as_of`, by the model that had not seen them."""
    epochs: int
    seconds: dict[str, float]
