"""Which items may be in a list: filters come before the search, so k rows come whenever k exist."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store.arguments import CALENDAR, Moment, Texts, as_moment, texts
from gfm_store.serving.index_choice import filter_name
from gfm_store.serving.partition import NAMES, NO_ROWS
from gfm_store.serving.published import PublishedVersion

CALLED = {"item_type": "item type", "language": "language", "creator": "creator"}
"""Columns by which items are filtered, and their names in errors."""


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
        allowed = self.asked().allowed(bound)
        allowed[self.excluded(bound)] = False
        return allowed

    def asked(self) -> "AskedOfItems":
        """What is asked beside `exclude`.

        Raises:
            UsageError: no texts, or no moment.
        """
        columns = zip(CALLED, (self.item_type, self.languages, self.creators), strict=True)
        after = self.published_after
        return AskedOfItems(
            tuple((name, tuple(texts(asked, CALLED[name]))) for name, asked in columns if asked is not None),
            None if after is None else as_moment(after, "published_after", CALENDAR),
        )

    def excluded(self, bound: PublishedVersion) -> np.ndarray:
        """(e,) int64: rows of `retrieval` that are to be left out, each once.

        Raises:
            UsageError: no texts.
        """
        if self.exclude is None:
            return NO_ROWS
        node = bound.nodes_of(texts(self.exclude, "excluded item"))
        row = bound.row_of_node[node[node >= 0]]
        return np.unique(row[row >= 0])


@dataclass(frozen=True)
class AskedOfItems:
    """What a filter asks of all items alike: equal for filters that pass the same."""

    values: tuple[tuple[str, tuple[str, ...]], ...]
    """Columns, each with its alternatives."""
    published_after: datetime | None

    @property
    def name(self) -> str | None:
        """As an index measures it; None for filters that it does not measure."""
        one = {column: wanted[0] for column, wanted in self.values if column in NAMES and len(wanted) == 1}
        return filter_name(one) if len(one) == len(self.values) and self.published_after is None else None

    def allowed(self, bound: PublishedVersion) -> np.ndarray:
        """(n,) bool: the rows of `retrieval` that pass.

        Raises:
            UsageError: a type, language or creator that no item has.
        """
        allowed = np.ones(bound.retrieval.num_rows, dtype=bool)
        for column, wanted in self.values:
            allowed &= bound.rows_of(column, wanted, CALLED[column])
        if self.published_after is not None:
            after = pa.scalar(self.published_after, pa.timestamp("us"))
            newer = pc.greater(bound.attribute["published_at"], after)
            allowed &= pc.fill_null(newer, False).to_numpy(zero_copy_only=False)
        return allowed
