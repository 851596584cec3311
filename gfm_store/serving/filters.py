"""Which items may be in a list: filters come before the search, so k rows come whenever k exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.errors import UsageError
from gfm_store.serving.published import PublishedVersion

Texts = str | Sequence[str]
Moment = datetime | str


@dataclass(frozen=True)
class ItemFilter:
    """What is asked of items; None asks nothing. Several values of one kind are alternatives."""

    item_type: Texts | None = None
    languages: Texts | None = None
    creators: Texts | None = None
    published_after: Moment | None = None
    """Items whose publication is not known are left out."""
    exclude: Texts | None = None
    """Item ids; those that are not known are no mistake: lists of what to leave out grow old."""

    def allowed(self, bound: PublishedVersion) -> np.ndarray:
        """(n,) bool: the rows of `retrieval` that pass.

        Raises:
            UsageError: a type, language or creator that no item has, or no moment.
        """
        allowed = np.ones(bound.retrieval.num_rows, dtype=bool)
        for name, asked, what in (
            ("item_type", self.item_type, "item type"),
            ("language", self.languages, "language"),
            ("creator", self.creators, "creator"),
        ):
            if asked is not None:
                allowed &= bound.rows_of(name, tuple(texts(asked, what)), what)
        if self.published_after is not None:
            after = as_moment(self.published_after, "published_after")
            newer = pc.greater(bound.attribute["published_at"], pa.scalar(after, pa.timestamp("us")))
            allowed &= pc.fill_null(newer, False).to_numpy(zero_copy_only=False)
        if self.exclude is not None:
            excluded = bound.nodes_of(texts(self.exclude, "excluded item"))
            rows = bound.row_of_node[excluded[excluded >= 0]]
            allowed[rows[rows >= 0]] = False
        return allowed


def texts(values: Texts, what: str) -> list[str]:
    """One or several texts as a list.

    Raises:
        UsageError: something else.
    """
    try:
        listed = [values] if isinstance(values, str) else list(values)
    except TypeError:
        listed = [values]  # type: ignore[list-item]
    if wrong := [value for value in listed if not isinstance(value, str)]:
        raise UsageError(f"{what} must be text, or a list of texts; got {wrong[0]!r}.")
    return listed


def as_moment(ts: Moment, what: str) -> datetime:
    """UTC without a zone.

    Raises:
        UsageError: it is no moment.
    """
    try:
        moment = datetime.fromisoformat(ts) if isinstance(ts, str) else ts
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, AttributeError):
        raise UsageError(f"{what}: {ts!r} is not a moment; write 2026-01-31T06:00.") from None
