"""One cut in time: who is asked for what, and nothing after the cut in what is known."""

import numpy as np
import pytest
from worlds import AS_OF, add_events, ago, catalogue, make_warehouse, stream

from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.evaluation.baselines import ItemKNN, Popularity
from gfm_store.evaluation.split import read_split
from gfm_store.warehouse.connection import open_warehouse


def split_of(root, horizon_days=14, as_of=AS_OF):
    with open_warehouse(root) as warehouse:
        return read_split(warehouse, as_of, horizon_days)


def targets(split):
    """(user_id, item_id) of every target."""
    ids = split.item_node["item_id"].to_pylist()
    users = split.user_id.to_pylist()
    return [(users[u], ids[i]) for u, i in zip(split.target_user, split.target_node, strict=True)]


CROWD = [stream("x", f"p{i}", 9 - i / 10) for i in range(8)]


def test_targets_are_the_first_five_warm_items_newly_streamed(tmp_path):
    events = [*CROWD, stream("u", "p0", 30)]
    events += [stream("u", "p0", -1)] + [stream("u", f"p{i}", -i) for i in range(1, 8)]
    events += [stream("x", "q", -1), stream("w", "p2", -3), ("w", "p3", "preview", ago(-3))]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)], "q"), events)
    split = split_of(tmp_path)
    assert targets(split) == [("u", f"p{i}") for i in range(1, 6)] + [("w", "p2")]
    assert split_of(tmp_path, horizon_days=3).target_node.tolist() == [1, 2]


def test_candidates_are_warm_and_available(tmp_path):
    items = (
        catalogue("p0", "p1") + catalogue("p2", withdrawn_at=ago(1)) + catalogue("p3", published_at=ago(-9))
    )
    events = [stream("x", f"p{i}", 9) for i in (0, 2, 3)]
    events += [stream("u", f"p{i}", -1) for i in range(4)] + [stream("v", "p2", -1)]
    make_warehouse(tmp_path, items + catalogue("p4"), events)
    split = split_of(tmp_path)
    assert split.item_node["item_id"].to_pylist() == ["p0", "p2", "p3", "p4"]  # p1 comes only after the cut
    assert split.candidates.tolist() == [True, False, False, False]
    assert targets(split) == [("u", "p0")]


def test_what_users_had_streamed_is_kept_with_its_age(tmp_path):
    events = [*CROWD, stream("u", "p1", 40), stream("u", "p1", 2.5), stream("v", "p3", 7)]
    events += [("u", "p2", "follow", ago(1)), stream("new", "p0", -1), stream("u", "p4", -1)]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)]), events)
    split = split_of(tmp_path)
    assert split.user_id.to_pylist() == ["new", "u"]
    assert split.known_user.tolist() == [-1, 0]  # u, v, x are known before the cut
    rows = split.streams.toarray()
    assert rows.shape == (3, 8)
    assert rows[0].tolist() == [0, 2.5, 0, 0, 0, 0, 0, 0]
    assert rows[1].tolist() == [0, 0, 0, 7, 0, 0, 0, 0]
    user, node = split.seen()
    assert (user.tolist(), node.tolist()) == ([1], [1])


def test_events_after_the_cut_change_no_baseline(tmp_path):
    items = catalogue(*[f"p{i}" for i in range(8)], published_at=ago(300))
    events = [stream(f"u{u}", f"p{(u + i * i) % 8}", 30 - u - i) for u in range(9) for i in range(4)]
    labels = [stream(f"u{u}", f"p{(u + 7) % 8}", -13) for u in range(9)]
    make_warehouse(tmp_path, items, events + labels)
    before = split_of(tmp_path)
    planted = [stream(f"u{u}", f"p{i}", -day) for u in range(12) for i in range(3) for day in (0, 5, 20)]
    add_events(tmp_path, planted + [(f"u{u}", "p4", "skip", ago(-1)) for u in range(9)])
    after = split_of(tmp_path)
    assert after.item_node.equals(before.item_node)
    assert after.candidates.tolist() == before.candidates.tolist()
    np.testing.assert_array_equal(after.streams.toarray(), before.streams.toarray())
    assert before.streams.nnz == 27
    row = {user: i for i, user in enumerate(after.user_id.to_pylist())}
    same = [row[user] for user in before.user_id.to_pylist()]
    for baseline in (Popularity(7), Popularity(np.inf), ItemKNN(50, 0.0, 30.0), ItemKNN(2, 10.0, np.inf)):
        scores = np.concatenate(list(baseline.scores(before)))
        assert np.ptp(scores) > 0
        np.testing.assert_array_equal(np.concatenate(list(baseline.scores(after)))[same], scores)


def test_nothing_to_predict_is_said(tmp_path):
    make_warehouse(
        tmp_path, catalogue("p0", "p1"), [stream("u", "p0", 3), stream("u", "p0", -1), stream("u", "p1", -1)]
    )
    with pytest.raises(
        UsageError, match=r"Nobody newly streams a known item in the 14 days after 2024-06-01"
    ):
        split_of(tmp_path)


def test_nothing_before_the_cut_is_said(tmp_path):
    make_warehouse(tmp_path, catalogue("p0"), [stream("u", "p0", 3)])
    with pytest.raises(EmptyWarehouseError, match="the first is at 2024-05-29 00:00"):
        split_of(tmp_path, as_of=ago(3))
