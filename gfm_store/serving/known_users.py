"""All users of a warehouse in memory as a model reads them, so that one of them is found in microseconds."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import torch

from gfm_store.dynamic_layer.model import UserInputs
from gfm_store.serving.published import PublishedVersion
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.history import read_asked, read_user_ids


@dataclass(frozen=True)
class KnownUsers:
    """U users with an event or a profile, then one of whom nothing is known.

    It stands for the warehouse as it was when it was read: 13 bytes an event, and 4 a stream.
    """

    user_id: pa.Array
    """(U,) ascending."""
    inputs: UserInputs
    """U + 1."""
    country: pa.Array
    """(U + 1,) text, null where it is not known."""
    seen_ptr: np.ndarray
    """(U + 2,) int64: where the items of each user begin."""
    seen_node: np.ndarray
    """(s,) int32: items of all that they have streamed."""

    @classmethod
    def read(cls, warehouse: Warehouse, bound: PublishedVersion, now: datetime) -> Self:
        """As of a moment after all events; `number_items` comes first."""
        user_id = read_user_ids(warehouse)
        everybody = pa.concat_arrays([user_id, pa.nulls(1, user_id.type)])
        asked = read_asked(warehouse, everybody, now, bound.model.history_days)
        feature = asked.history.user_feature
        country = (
            feature["country"].combine_chunks()
            if "country" in feature.column_names
            else pa.nulls(len(everybody), pa.string())
        )
        return cls(
            user_id,
            bound.model.user_inputs(asked.history),
            country,
            np.searchsorted(asked.seen_user, np.arange(len(everybody) + 1)),
            asked.seen_node,
        )

    def place(self, user: str) -> int:
        """Where a user stands; U for somebody unknown."""
        # Bytes of UTF-8 are in the order of their code points, as text is.
        place = bisect_left(self.user_id, user, key=lambda one: one.as_py())
        there = place < len(self.user_id) and self.user_id[place].as_py() == user
        return place if there else len(self.user_id)

    def vector(self, place: int, bound: PublishedVersion, now: datetime) -> tuple[np.ndarray, np.ndarray]:
        """(1, dim) float32, and (1,) bool: whether there is a history."""
        user = torch.tensor([place])
        return bound.model.vectors_of(self.inputs, user, now, bound.item_vector, bound.item_type)

    def seen(self, place: int) -> np.ndarray:
        """(s,) items that the user has streamed; they may repeat."""
        node: np.ndarray = self.seen_node[self.seen_ptr[place] : self.seen_ptr[place + 1]]
        return node
