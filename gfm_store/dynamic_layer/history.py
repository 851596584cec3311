"""Histories, popularity and categorical features as tensors; gathering from them takes no loop over rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gfm_store.warehouse.history import HistoryTables

NUM_SIGNALS = 3
"""Strong, weak, skip: the classes of `signal` in `user_event`."""
DAY = 86_400_000_000
"""Microseconds."""


def microseconds(moment: datetime) -> int:
    """A UTC moment as microseconds since 1970."""
    return int(np.datetime64(moment, "us").astype(np.int64))


def column(table: pa.Table, name: str, dtype: torch.dtype = torch.int64) -> Tensor:
    """A numeric or timestamp column as a tensor of its own memory."""
    values = table[name].combine_chunks()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us")).cast(pa.int64())
    return torch.from_numpy(values.to_numpy(zero_copy_only=False).copy()).to(dtype)


@dataclass(frozen=True)
class HistoryBatch:
    """The newest events of B histories, L places each.

    A place that holds no event has an item of 0 and `slot` -1.
    """

    node: Tensor
    """(B, L) int64."""
    slot: Tensor
    """(B, L) int64: item type * NUM_SIGNALS + signal, or -1."""
    age: Tensor
    """(B, L) float32: days from the event to the moment; 0 without event."""

    def to(self, device: torch.device) -> "HistoryBatch":
        """The same on another device."""
        return HistoryBatch(self.node.to(device), self.slot.to(device), self.age.to(device))

    def rows(self, index: Tensor) -> "HistoryBatch":
        """Some of the histories."""
        return HistoryBatch(self.node[index], self.slot[index], self.age[index])


@dataclass(frozen=True)
class OneHistory:
    """The newest L events of one user, newest first."""

    node: np.ndarray
    """(L,) integers, as all but"""
    item_type: np.ndarray
    signal: np.ndarray
    age: np.ndarray
    """(L,) float32: days from the event to the moment."""


@dataclass(frozen=True)
class Histories:
    """All events of U users, by user, then time. Shapes: E events."""

    user_ptr: Tensor
    """(U + 1,) int64."""
    node: Tensor
    """(E,) int32."""
    signal: Tensor
    """(E,) int8."""
    event_ts: Tensor
    """(E,) int64, microseconds."""
    history_days: int

    @classmethod
    def from_tables(cls, tables: HistoryTables) -> Self:
        """From `user_event`, which is sorted by user and time."""
        counts = torch.bincount(column(tables.user_event, "user_index"), minlength=tables.user_node.num_rows)
        user_ptr = torch.zeros(counts.numel() + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=user_ptr[1:])
        return cls(
            user_ptr,
            column(tables.user_event, "node", torch.int32),
            column(tables.user_event, "signal", torch.int8),
            column(tables.user_event, "event_ts"),
            tables.history_days,
        )

    @property
    def num_users(self) -> int:
        return self.user_ptr.numel() - 1

    def before(
        self, user: Tensor, n_before: Tensor, moment: Tensor, num_events: int, node_type: Tensor
    ) -> HistoryBatch:
        """What users had done before a moment: at most `num_events`, the newest, of the last `history_days`.

        Args:
            user: (B,); n_before: (B,) events of the user that are strictly earlier; moment: (B,) microseconds.
            node_type: (N,) item type of each node.
        """
        end = self.user_ptr[user] + n_before
        place = end[:, None] - 1 - torch.arange(num_events)
        there = place >= self.user_ptr[user, None]
        place = place.clamp_min(0)
        if not self.node.numel():
            empty = torch.zeros(user.numel(), num_events, dtype=torch.int64)
            return HistoryBatch(empty, empty - 1, empty.float())
        there &= self.event_ts[place] >= moment[:, None] - self.history_days * DAY
        node = self.node[place].long() * there
        slot = node_type[node] * NUM_SIGNALS + self.signal[place]
        age = (moment[:, None] - self.event_ts[place]) / DAY * there
        return HistoryBatch(node, torch.where(there, slot, -1), age.float())

    def num_before(self, user: Tensor, moment: Tensor) -> Tensor:
        """(B,) int64: events of `user` (B,) that are strictly earlier than `moment` (B,)."""
        row, place = self._events(user)
        early = self.event_ts[place] < moment[row]
        return torch.bincount(row[early], minlength=user.numel())

    def events_before(self, user: Tensor, moment: int, strong_only: bool = False) -> tuple[Tensor, Tensor]:
        """Place in `user` (B,) and node of each of their events, or streams alone, before a moment; (n,) int64 each."""
        row, place = self._events(user)
        early = self.event_ts[place] < moment
        if strong_only:
            early &= self.signal[place] == 0
        return row[early], self.node[place[early]].long()

    def _events(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) int64 each: place in `user` (B,), and where all events of those users stand."""
        start, length = self.user_ptr[user], self.user_ptr[user + 1] - self.user_ptr[user]
        row = torch.repeat_interleave(torch.arange(user.numel()), length)
        return row, torch.arange(row.numel()) + (start - (length.cumsum(0) - length))[row]

    def newest(self, user: Tensor, as_of: datetime, num_events: int, node_type: Tensor) -> HistoryBatch:
        """Histories of `user` (B,) as they stand at `as_of`, which must not be before any event."""
        n_before = self.user_ptr[user + 1] - self.user_ptr[user]
        moment = torch.full_like(user, microseconds(as_of))
        return self.before(user, n_before, moment, num_events, node_type)

    def newest_of(self, user: int, as_of: datetime, num_events: int, node_type: np.ndarray) -> OneHistory:
        """The history of one user."""
        begin, end = self.user_ptr[user : user + 2].tolist()
        newest = slice(max(begin, end - num_events), end)
        node, signal, event_ts = (
            events[newest].numpy()[::-1] for events in (self.node, self.signal, self.event_ts)
        )
        age = microseconds(as_of) - event_ts
        there = age <= self.history_days * DAY
        node = node[there]
        return OneHistory(node, node_type[node], signal[there], (age[there] / DAY).astype(np.float32))


@dataclass(frozen=True)
class Popularity:
    """Streams per item and day, ready to be counted over trailing windows. N items.

    Day d is the d-th span of 24 hours counted backwards from `as_of`; the last 24 hours are day 0.
    """

    num_days: int
    keys: Tensor
    """(P,) int64, sorted: node * num_days + days_ago."""
    cumulative: Tensor
    """(P + 1,) int64: streams of all keys before."""
    windows: tuple[int, ...]
    """Days."""

    @classmethod
    def from_table(cls, item_day: pa.Table, windows: tuple[int, ...]) -> Self:
        """From `item_day`, which is sorted by node and day."""
        days_ago = column(item_day, "days_ago")
        num_days = int(days_ago.max()) + 2 if days_ago.numel() else 1
        cumulative = torch.zeros(days_ago.numel() + 1, dtype=torch.int64)
        torch.cumsum(column(item_day, "n_streams"), 0, out=cumulative[1:])
        return cls(num_days, column(item_day, "node") * num_days + days_ago, cumulative, windows)

    def count(self, node: Tensor, day: Tensor, window: Tensor) -> Tensor:
        """Streams of `node` in the `window` days before day `day` began (-1: before `as_of`); they broadcast."""
        first = node * self.num_days + (day + 1).clamp_max(self.num_days)
        last = node * self.num_days + (day + 1 + window).clamp_max(self.num_days)
        return (
            self.cumulative[torch.searchsorted(self.keys, last)]
            - self.cumulative[torch.searchsorted(self.keys, first)]
        )

    def features(self, node: Tensor, day: Tensor) -> Tensor:
        """(D, J, W) float32: log(1 + count) of J nodes before each of D days, over each window."""
        window = torch.tensor(self.windows, dtype=torch.int64)
        counts = self.count(node[None, :, None], day[:, None, None], window[None, None, :])
        return torch.log1p(counts.float())

    def first_day(self, num_nodes: int) -> Tensor:
        """(N,) int64: days since each item's first stream; -1 where it never had one."""
        node = self.keys // self.num_days
        oldest = torch.full((num_nodes,), -1, dtype=torch.int64)
        return oldest.scatter_reduce(0, node, self.keys % self.num_days, "amax")


@dataclass(frozen=True)
class Vocabulary:
    """The values of each categorical feature, most frequent first; code 0 is unknown."""

    values: Mapping[str, list[str]]

    @classmethod
    def from_table(cls, table: pa.Table, names: list[str], size: int) -> Self:
        """The `size` most frequent values of each named column (text, or lists of text)."""
        kept = {}
        for name in names:
            values = _flat(table[name])
            counts = pa.table({"value": values}).group_by("value").aggregate([([], "count_all")])
            ordered = counts.sort_by([("count_all", "descending"), ("value", "ascending")])
            kept[name] = ordered["value"].drop_null().slice(0, size).to_pylist()
        return cls(kept)

    def sizes(self) -> dict[str, int]:
        """Codes per feature, the unknown one included."""
        return {name: len(values) + 1 for name, values in self.values.items()}

    def codes(self, table: pa.Table, name: str) -> Tensor:
        """(n,) int64 codes of a text column; zeros where the table lacks it."""
        if name not in table.column_names:
            return torch.zeros(table.num_rows, dtype=torch.int64)
        return self._code(table[name], name)

    def bags(self, table: pa.Table, name: str) -> tuple[Tensor, Tensor]:
        """Codes of a column of lists, flat, and where each row's begin: (n,) int64."""
        lists = table[name].combine_chunks()
        lengths = torch.from_numpy(
            pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).copy()
        )
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)[:-1]])
        return self._code(pc.list_flatten(lists), name), offsets[: table.num_rows]

    def multi_hot(self, table: pa.Table, limit: int) -> Tensor:
        """(n, C) bool: which rows have each of the `limit` most frequent values of each feature."""
        parts = [torch.zeros(table.num_rows, 0, dtype=torch.bool)]
        for name, values in self.values.items():
            found = torch.zeros(table.num_rows, min(len(values), limit), dtype=torch.bool)
            if name in table.column_names and pa.types.is_list(table[name].type):
                lists = table[name].combine_chunks()
                row = torch.from_numpy(pc.list_parent_indices(lists).to_numpy().astype(np.int64))
                codes = self._code(pc.list_flatten(lists), name)
            else:
                row, codes = torch.arange(table.num_rows), self.codes(table, name)
            kept = (codes > 0) & (codes <= found.shape[1])
            found[row[kept], codes[kept] - 1] = True
            parts.append(found)
        return torch.cat(parts, dim=1)

    def _code(self, values: pa.Array, name: str) -> Tensor:
        found = pc.index_in(values, pa.array(self.values[name], pa.string()))
        return torch.from_numpy(
            pc.add(pc.fill_null(found, -1), 1).to_numpy(zero_copy_only=False).copy()
        ).long()


def _flat(values: pa.ChunkedArray) -> pa.Array:
    values = values.combine_chunks()
    return pc.list_flatten(values) if pa.types.is_list(values.type) else values.cast(pa.string())
