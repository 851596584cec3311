"""What a version is: its record, as JSON beside its weights."""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gfm_store.config import GraphConfig
from gfm_store.errors import NotPublishedError

REFUSED = "refused"
"""Folder of the warehouse for what a gate refused."""


VersionName = Annotated[str, Field(pattern=r"^[ds]-\w+$")]
"""Names are folders, too, and a record may come from anybody."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, folder: Path) -> None:
        """Write the record to `folder`/record.json, whole or not at all."""
        partial = folder / ".record.json.new"
        with partial.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())  # or a power cut leaves the name without the content
        partial.replace(folder / "record.json")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it back.

        Raises:
            NotPublishedError: the folder or its record is not there, is torn, or may not be read.
        """
        try:
            return cls.model_validate_json((folder / "record.json").read_text(encoding="utf-8"))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        except PermissionError as error:
            raise NotPublishedError(f"{folder} cannot be read: {error.strerror}.") from None
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
        raise NotPublishedError(
            f"{folder} is not a whole version: record.json cannot be read ({reason}). Bring it back from a copy."
        )


class Origin(_Record):
    """What a version was made from: equal origins and parents, equal version name."""

    n_events: int
    """Before `as_of`."""
    event_digest: str
    item_digest: str
    profile_digest: str
    newest_event: datetime
    """Just after the newest event of the warehouse, whether before `as_of` or not."""
    last_ingest_id: int
    """The last ingest whose events were there: what came later, this version has not seen."""
    sql: str
    """SHA-256 of the statements that it read by."""
    config: str
    """SHA-256 of `settings`."""
    settings: dict[str, Any]
    """The sections of the configuration that matter for it."""
    package: str
    """Version of gfm-store, and after a plus the beginning of the fingerprint of its files."""
    threads: int
    device: str


class Estimate(_Record):
    """A mean over users with its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class HeldOut(_Record):
    """How the recipe of a version, fitted without the last days before `as_of`, ranks them: mean NDCG@10 over users."""

    days: int
    start: datetime
    """Where the last days begin: what was fitted without them ends here."""
    n_users: int
    ndcg: Estimate
    popularity_ndcg: Estimate
    """One list for all: what was streamed most before the last days."""
    over_popularity: Estimate
    """The difference, paired by user."""
    served: str | None = None
    """The version that was served, and was asked about the same days; None where it could not be."""
    served_ndcg: Estimate | None = None
    over_served: Estimate | None = None
    note: str = ""
    """Why it could not be."""


class Alignment(_Record):
    """A space turned into the position of the one before it."""

    version: str
    """The one before."""
    n_items: int
    """Shared items."""
    cosine_before: float
    """Mean cosine of their two vectors, as fitted."""
    cosine_after: float
    """The same as published."""


class Staleness(_Record):
    """How far items and graph have moved since the static version was built."""

    new_items: float
    """Share of the available items that came after it."""
    edge_churn: float
    """Share of the edges of then and now together that are not in both."""
    hgnn_mrr: float
    """MRR of today's edges by the frozen vectors, among random items of the same type."""
    hgnn_mrr_then: float
    """The same for the edges of then."""
    reasons: list[str] = []
    """Why a static refresh is due; empty when none is."""


class StaticRecord(_Record):
    """A static version: graph, text vectors, HGNN."""

    version: VersionName
    """`s-` and a fingerprint of inputs, configuration, SQL and code, and of what it is aligned to."""
    inputs: str
    """The same without what it is aligned to: a version of the same inputs is not built again."""
    aligned: Alignment | None
    """None for a first version, and where no item is shared."""
    origin: Origin
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
    seen_until: datetime | None = None
    """What the early weights of the HGNN have seen ends here; None where there are none."""
    validation_mrr: float
    """Held-out MRR of the HGNN, among users of whom the early training had seen most."""
    epochs: int
    seconds: dict[str, float]
    """Wall time of each step."""


class IndexRecord(_Record):
    """How a version is searched for one user at a time, chosen by what was measured when it was built."""

    kind: Literal["exact", "ivf_flat"]
    lists: int
    rows: dict[str, int]
    """So many that pass are read for up to ten items, by filter: a share of the items at random, or what is asked."""
    recall: dict[str, float]
    """Recall@10 against exact search, by filter."""


EXACT = IndexRecord(kind="exact", lists=0, rows={}, recall={"1.0": 1.0})
"""What small versions are searched by, and those that were built before there were indexes."""


class DynamicRecord(_Record):
    """A dynamic version on its static parent: the pair that readers see as `embedding_version`."""

    version: VersionName
    """`d-` and a fingerprint; it covers the parent's, and what it is aligned to."""
    inputs: str
    """The same without what it is aligned to: a version of the same inputs is not built again."""
    aligned: Alignment | None
    """How the retrieval vectors were turned; None for a first version, and where lengths differ."""
    staleness: Staleness
    """Of the parent."""
    static_version: VersionName
    """Its parent."""
    origin: Origin
    follows: str | None
    """The version that it took over from."""
    as_of: datetime
    built_at: datetime
    n_items: int
    """Rows of `retrieval`."""
    n_users: int
    """Rows of `user_vector`."""
    n_pairs: int
    """Training pairs."""
    index: IndexRecord = EXACT
    held_out: HeldOut | None
    """None where nothing could be held out."""
    refused: str | None = None
    """Why it was not published when it was built."""
    seconds: dict[str, float]
