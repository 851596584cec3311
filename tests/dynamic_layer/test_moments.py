"""Which moments are learned from, and that each is served by vectors that have not seen it."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import AS_OF, Recorder, ago, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import BlendConfig, Config, TwoTowerConfig
from gfm_store.dynamic_layer.history import DAY
from gfm_store.dynamic_layer.moments import (
    Moments,
    Plan,
    held_out_days,
    plan_snapshots,
    read_moments,
    validation_days,
)
from gfm_store.static_layer.encoder import Embedded
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes
from gfm_store.warehouse.history import read_training


def plan_of(root, events, horizon_days=7, max_snapshots=5, train_days=60, min_horizon_days=3):
    two_tower = TwoTowerConfig(train_days=train_days, min_pairs=1, min_validation_pairs=1, validation_days=3)
    blend = BlendConfig(
        horizon_days=horizon_days, max_snapshots=max_snapshots, min_horizon_days=min_horizon_days
    )
    config = Config(two_tower=two_tower, blend=blend)
    make_warehouse(root, catalogue("p1", "p2", "p3", published_at=ago(900)), events)
    with open_warehouse(root) as warehouse:
        count = read_item_nodes(warehouse, AS_OF).num_rows
        return plan_snapshots(read_training(warehouse, AS_OF, config.two_tower), count, config)


@pytest.mark.parametrize(
    ("first_day", "settings", "expected"),
    [
        # (days, horizon): evenly from three days before the end, to the window's or to half of what is known; a horizon
        # goes as far as the next snapshot
        (200, {}, ([2, 16, 30, 45, 59], 15)),
        (200, {"horizon_days": 15}, ([2, 16, 30, 45, 59], 15)),
        (200, {"max_snapshots": 10}, ([2, 8, 15, 21, 27, 34, 40, 46, 53, 59], 7)),
        (60.5, {}, ([2, 9, 16, 22, 29], 7)),  # sixty-one days are known, half of it is thirty
        (200, {"max_snapshots": 1}, ([2], 7)),
        (200, {"min_horizon_days": 5}, ([4, 18, 32, 45, 59], 14)),
        (200, {"min_horizon_days": 30}, ([6, 19, 32, 46, 59], 14)),  # at most the horizon itself
        # at most a quarter of the window
        (200, {"horizon_days": 30, "max_snapshots": 10}, ([2, 8, 15, 21, 27, 34, 40, 46, 53, 59], 15)),
        (9, {}, ([0, 1, 2, 3], 1)),  # no moment twice
        (1.5, {}, ([0], 1)),
    ],
)
def test_snapshots_lie_evenly_over_what_is_known(tmp_path, first_day, settings, expected):
    events = [stream("u", "p1", first_day)]
    events += [stream("v", "p2", min(first_day, 60)), stream("w", "p3", 0.5)]
    plan = plan_of(tmp_path, events, **settings)
    assert (plan.days, plan.horizon_days) == expected
    assert (plan.as_of, plan.validation_days) == (AS_OF, 3)


def test_an_unset_clock_moves_no_snapshot(tmp_path):
    events = [stream(f"u{i}", "p1", 60.5 - i / 2) for i in range(120)]
    far = stream("u", "p1", 20_000)
    assert plan_of(tmp_path / "far", [*events, far]) == plan_of(tmp_path / "none", events)


def test_without_streams_there_are_no_snapshots(tmp_path):
    plan = plan_of(tmp_path, [("u", "p1", "follow", ago(4))])
    assert (plan.days, plan.horizon_days) == ([], 1)


@pytest.mark.parametrize(
    ("least", "ages", "expected"),
    [
        (2, [1, 2, 30, 31, 32, 33, 34, 35], 7),
        (3, [1, 2, 13, *range(30, 45)], 14),
        (3, [1, 30, 40, 50], 7),  # a quarter of four pairs is one
        (500, [0.5, *[20] * 3], 7),
        (500, [15, 20, 50, 51, 52, 53, 54, 55], 28),
        (500, [], 7),
    ],
)
def test_held_out_days_are_doubled_until_they_hold_enough(least, ages, expected):
    moment = torch.tensor(sorted(-age * DAY for age in ages)).long() + 10**15
    assert validation_days(moment, 10**15, TwoTowerConfig(min_validation_pairs=least)) == expected


@given(days=st.sets(st.integers(0, 40), max_size=6), asked=st.lists(st.integers(-1, 60), min_size=1))
def test_the_newest_moment_that_is_not_after_a_day_serves_it(days, asked):
    days = sorted({-1, *days})
    moments = Moments(torch.tensor(days), [torch.full((2, 3), float(day)) for day in days])
    # Days count backwards: a moment stands before its day, so earlier moments have higher numbers.
    expected = [min((day for day in days if day >= one), default=days[-1]) for one in asked]
    assert [days[i] for i in moments.index(torch.tensor(asked)).tolist()] == expected
    for one, day in zip(asked, expected, strict=True):
        assert torch.equal(moments.at(one), torch.full((2, 3), float(day)))


def test_vectors_are_read_at_each_snapshot_before_the_held_out_days_and_now():
    asked = []

    def vectors_at(moment):
        asked.append(moment)
        return Embedded(*(np.full((4, 2), sign * len(asked), dtype=np.float32) for sign in (1, -1)))

    recorder = Recorder()
    with progress.reporting(recorder):
        moments, early = read_moments(Plan(AS_OF, [2, 6, 19, 32], 7, 7), vectors_at)
    assert asked == [
        AS_OF - timedelta(days=day) for day in (0, 3, 7, 20, 33)
    ]  # day 6 is also the first held out
    assert moments.days.tolist() == [-1, 2, 6, 19, 32]
    assert [float(vectors[0, 0]) for vectors in moments.vectors] == [1, 2, 3, 4, 5]
    assert early.days.tolist() == [6, 19, 32]  # none of the days held out
    assert [float(vectors[0, 0]) for vectors in early.vectors] == [-3, -4, -5]
    assert recorder.advanced == {"HGNN vectors at earlier moments": 5}
    asked.clear()
    moments, early = read_moments(Plan(AS_OF, [], 1, 14), vectors_at)
    assert moments.days.tolist() == [-1, 13]
    assert asked == [AS_OF, ago(14)]
    assert early.days.tolist() == [13]
    assert torch.equal(early.at(13), torch.full((4, 2), -2.0))
    assert torch.equal(moments.at(13), torch.full((4, 2), 2.0))


@pytest.mark.parametrize(("least", "expected"), [(2, 3), (3, 6), (4, 12), (500, 12)])
def test_a_refresh_knows_beforehand_which_days_are_held_out(tmp_path, least, expected):
    """A quarter of the seventeen pairs is four. What is streamed again, is weak, or comes later makes no pair."""
    first = {"u": [40, 35, 30, 25, 20, 5, 2], "v": [10, 1], "w": range(20, 28)}
    events = [stream(user, f"p{i}", day) for user, days in first.items() for i, day in enumerate(days)]
    events += [stream("u", "p0", 1), stream("u", "p1", 0.5), stream("u", "p9", -1)]
    events += [("u", "p8", "follow", ago(1))]
    two_tower = TwoTowerConfig(
        train_days=60, min_pairs=1, min_validation_pairs=least, validation_days=3, history_days=60
    )
    config = Config(two_tower=two_tower)
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(10)]), events)
    with open_warehouse(tmp_path) as warehouse:
        count = read_item_nodes(warehouse, AS_OF).num_rows
        plan = plan_snapshots(read_training(warehouse, AS_OF, two_tower), count, config)
        assert held_out_days(warehouse, AS_OF, config) == plan.validation_days == expected
