"""One cut in time: who is asked for what, and nothing after the cut in what is known."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random

import numpy as np
import pytest
from worlds import (
    AS_OF,
    add_events,
    add_items,
    ago,
    catalogue,
    make_warehouse,
    split_at,
    stream,
    text_vectors,
)

from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.evaluation.baselines import BASELINES
from gfm_store.evaluation.ranking import rank
from gfm_store.evaluation.views import candidate_sets

MICROSECOND = timedelta(microseconds=1)


def targets(split):
    """(user_id, item_id) of every target, in order."""
    ids = split.item["item_id"].to_pylist()
    users = split.user_id.to_pylist()
    return [(users[u], ids[i]) for u, i in zip(split.target_user, split.target_node, strict=True)]


CROWD = [stream("x", f"p{i}", 9 - i / 10) for i in range(8)]


def test_targets_are_all_items_newly_streamed_in_the_horizon(tmp_path):
    events = [*CROWD, stream("u", "p0", 30)]
    events += [stream("u", "p0", -1)] + [stream("u", f"p{i}", -8 + i) for i in range(1, 8)]
    events += [stream("x", "q", -1), stream("w", "p2", -3), ("w", "p3", "preview", ago(-3))]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)], "q"), events)
    split = split_at(tmp_path)
    # In the order of users, each one's in the order of time.
    assert targets(split) == [("u", f"p{i}") for i in range(7, 0, -1)] + [("w", "p2"), ("x", "q")]
    assert targets(split_at(tmp_path, horizon_days=3)) == [("u", "p7"), ("u", "p6"), ("x", "q")]
    assert split.horizon_days == 14
    assert split.as_of == AS_OF


def test_the_cut_and_the_end_of_the_horizon_are_exact_to_the_microsecond(tmp_path):
    end = AS_OF + timedelta(days=14)
    moments = {"a": AS_OF - MICROSECOND, "b": AS_OF, "c": end - MICROSECOND, "d": end}
    events = [*CROWD, *((user, "p0", "stream", moment) for user, moment in moments.items())]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)]), events)
    split = split_at(tmp_path)
    assert targets(split) == [("b", "p0"), ("c", "p0")]
    assert split.streams.shape == (2, 8)  # a and x
    assert split.streams[0, 0] == pytest.approx(1 / 86_400e6)


def test_items_that_come_inside_the_horizon_are_listed_last_and_not_known(tmp_path):
    items = (
        catalogue("p0", "p1", "a9")
        + catalogue("p2", withdrawn_at=ago(1))
        + catalogue("p3", published_at=ago(-9))
        + catalogue("s4", "z5")
    )
    events = [stream("x", f"p{i}", 9) for i in (0, 2, 3)]
    events += [stream("u", item, -1) for item in ("p0", "p1", "p2", "p3", "a9")] + [stream("v", "z5", -20)]
    make_warehouse(tmp_path, items, events)
    split = split_at(tmp_path)
    # p1 and a9 come only after the cut, z5 only after the horizon; s4 never had an event.
    assert split.item["item_id"].to_pylist() == ["p0", "p2", "p3", "s4", "a9", "p1"]
    assert split.known.tolist() == [True, True, True, True, False, False]
    assert split.warm.tolist() == [True, True, True, False, False, False]
    assert split.available.tolist() == [True, False, False, True, False, False]
    assert split.item_types == ["podcast", "song"]
    assert split.type_index.tolist() == [0, 0, 0, 1, -1, 0]
    assert set(targets(split)) == {("u", item) for item in ("p0", "p1", "p2", "p3", "a9")}


def test_what_users_had_streamed_is_kept_with_its_age(tmp_path):
    events = [*CROWD, stream("u", "p1", 40), stream("u", "p1", 2.5), stream("v", "p3", 7)]
    events += [("u", "p2", "follow", ago(1)), stream("new", "p0", -1), stream("u", "p4", -1)]
    events += [("f", "p5", "preview", ago(3)), stream("f", "p5", -2)]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)]), events)
    split = split_at(tmp_path)
    assert split.user_id.to_pylist() == ["f", "new", "u"]
    assert split.known_user.tolist() == [0, -1, 1]  # f, u, v, x are known before the cut
    rows = split.streams.toarray()
    assert rows.shape == (4, 8)
    assert rows[0].tolist() == [0] * 8  # a preview is known, but no stream
    assert rows[1].tolist() == [0, 2.5, 0, 0, 0, 0, 0, 0]
    assert rows[2].tolist() == [0, 0, 0, 7, 0, 0, 0, 0]
    assert rows[3] == pytest.approx([9 - i / 10 for i in range(8)])


def test_seen_and_profile_are_rows_of_streams(tmp_path):
    events = [*CROWD, stream("u", "p1", 40), stream("u", "p6", 2.5)]
    events += [stream(user, "q", -1) for user in ("new", "u", "x")]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)], "q"), events)
    split = split_at(tmp_path)
    assert split.user_id.to_pylist() == ["new", "u", "x"]
    users = np.array([2, 0, 1])  # in any order
    position, node = split.seen(users)
    found = sorted(zip(position.tolist(), node.tolist(), strict=True))
    assert found == [(0, i) for i in range(8)] + [(2, 1), (2, 6)]
    profile = split.profile(users).toarray()
    assert profile[0] == pytest.approx([9 - i / 10 for i in range(8)] + [0])
    assert profile[1].tolist() == [0] * 9
    assert profile[2].tolist() == [0, 40, 0, 0, 0, 0, 2.5, 0, 0]
    nobody = np.array([0])
    assert [part.tolist() for part in split.seen(nobody)] == [[], []]
    assert split.profile(nobody).shape == (1, 9)


def test_markets_and_countries_are_those_of_the_warehouse(tmp_path):
    items = [*catalogue("p0", markets=["SE", "DE"]), *catalogue("p1"), *catalogue("p2", "p3", markets=["FR"])]
    users = [{"user_id": "u", "country": "SE"}, {"user_id": "v", "country": "US"}, {"user_id": "w"}]
    events = [stream("x", f"p{i}", 3) for i in range(4)] + [stream(user, "p1", -1) for user in "uvw"]
    make_warehouse(tmp_path, items, events, users)
    split = split_at(tmp_path)
    assert split.country.to_pylist() == ["SE", "US", None]
    row, node = split.offered_elsewhere(np.array([2, 1, 0]))
    ids = split.item["item_id"].to_pylist()
    assert {(int(r), ids[n]) for r, n in zip(row, node, strict=True)} == {
        (1, "p0"),
        (1, "p2"),
        (1, "p3"),
        (2, "p2"),
        (2, "p3"),
    }


def test_text_is_told_of_every_item_in_its_place(tmp_path):
    items = catalogue("p1", title="Rome.", description="Fall", genres=["a", "b"]) + catalogue("p2")
    items += catalogue("a1", title="Late")
    make_warehouse(tmp_path, items, [stream("x", "p1", 1), stream("x", "p2", 1), stream("x", "a1", -1)])
    split = split_at(tmp_path)
    assert split.item["item_id"].to_pylist() == ["p1", "p2", "a1"]
    assert split.item["text"].to_pylist() == ["Rome. Fall. a, b", "", "Late"]
    assert np.linalg.norm(split.text_vector, axis=1) == pytest.approx([1, 0, 1])
    np.testing.assert_array_equal(split.text_vector, text_vectors(split.item))


def test_as_many_users_as_asked_are_drawn_and_always_the_same(tmp_path):
    events = CROWD + [stream(f"u{i:02}", f"p{(i + j) % 8}", -1 - j) for i in range(40) for j in range(3)]
    make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(8)]), events)
    whole, few, again = split_at(tmp_path), split_at(tmp_path, max_users=7), split_at(tmp_path, max_users=7)
    assert len(whole.user_id) == 40
    assert len(few.user_id) == 7
    assert few.user_id.equals(again.user_id)
    assert few.user_id.to_pylist() == sorted(few.user_id.to_pylist())
    assert few.user_id.to_pylist() != [f"u{i:02}" for i in range(7)]  # drawn, not the first ones
    assert targets(few) == [pair for pair in targets(whole) if pair[0] in set(few.user_id.to_pylist())]
    assert len(few.target_user) == 21
    assert len(split_at(tmp_path, max_users=40).user_id) == 40


def test_nothing_to_predict_is_said(tmp_path):
    events = [stream("u", "p0", 3), stream("u", "p0", -1), ("u", "p1", "follow", ago(-1))]
    make_warehouse(tmp_path, catalogue("p0", "p1"), [*events, stream("u", "p1", -14)])
    with pytest.raises(
        UsageError, match=r"Nobody newly streams an item in the 14 days after 2024-06-01 00:00"
    ):
        split_at(tmp_path)
    assert targets(split_at(tmp_path, horizon_days=15)) == [("u", "p1")]


def test_nothing_before_the_cut_is_said(tmp_path):
    make_warehouse(tmp_path, catalogue("p0"), [stream("u", "p0", 3)])
    with pytest.raises(EmptyWarehouseError, match="the first is at 2024-05-29 00:00"):
        split_at(tmp_path, as_of=ago(3))


# The leakage guard: the same warehouse before and after events were planted behind the cut.

OLD = [f"{kind}{i}" for kind in "pb" for i in range(8)]
TOPICS = ("roman empire wars", "deep sea fish", "stock market crash", "baking bread at home")


def told(name, **more):
    """An item with words of its topic."""
    words = f"{TOPICS[sum(map(ord, name)) % 4]} part {name}"
    return catalogue(name, title=words, genres=[words.split()[0]], language="en", **more)


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory):
    """Splits of a small world, and of the same with events of all kinds, new users and new items after the cut."""
    random = Random(5)
    items = [row for name in OLD for row in told(name, published_at=ago(300))]
    items += [row for name in ("p8", "b8") for row in told(name, published_at=ago(20))]  # cold at the cut
    items += told("p9")  # comes inside the horizon already
    events = [
        (f"u{u}", name, "stream", ago(random.uniform(0.1, 60)))
        for u in range(14)
        for name in random.sample(OLD, 5)
    ]
    events += [
        (f"u{u}", random.choice(OLD), kind, ago(random.uniform(0.1, 40)))
        for u in range(14)
        for kind in ("follow", "preview", "intent_to_pay", "skip")
    ]
    asked = [f"u{u}" for u in range(0, 14, 2)] + ["new1", "new2"]
    events += [(user, name, "stream", ago(-13)) for user in asked for name in (*OLD[::3], "p8", "b8", "p9")]
    root = make_warehouse(tmp_path_factory.mktemp("guard"), items, events)
    before = split_at(root)
    add_items(root, [row for name in ("a0", "p10", "b9", "s0") for row in told(name)])
    kinds = ("stream", "follow", "preview", "intent_to_pay", "skip")
    planted = [
        (user, name, kind, moment)
        for user in (*(f"u{u}" for u in range(14)), "new1", "a_new_one", "z_new_one")
        for name in ("p3", "b5", "p8", "p9", "a0", "p10", "b9", "s0")
        for kind, moment in zip(
            kinds, (AS_OF, *(ago(-random.uniform(0, 30)) for _ in kinds[1:])), strict=True
        )
    ]
    add_events(root, planted)
    return before, split_at(root)


def before_and_after_of(fit, before, after):
    """Scores of known items and lists of the users of `before` by what `fit` gives on each split, by candidates."""
    place = {user: i for i, user in enumerate(after.user_id.to_pylist())}
    same = np.array([place[user] for user in before.user_id.to_pylist()])
    found = []
    for split, users in ((before, np.arange(len(same))), (after, same)):
        # What is taken as known in hindsight, and said to be, is another matter.
        sets = [one for one in candidate_sets(split) if "catalogue known" not in one.name]
        scorer = fit(split)
        lists = rank(split, sets, [users] * len(sets), scorer)
        found.append(
            {"scores": scorer(users)[:, split.known]}
            | {name: ranked[users] for name, ranked in lists.items()}
        )
    return found


def assert_no_leak(fit, before, after):
    """What was planted after the cut changes no score of a known item and no list."""
    first, again = before_and_after_of(fit, before, after)
    np.testing.assert_allclose(
        again.pop("scores"), first.pop("scores"), rtol=1e-5, atol=1e-6, err_msg="scores"
    )
    assert list(first) == ["available", "type:book", "type:podcast", "cold"]
    for name, ranked in first.items():
        assert (ranked >= 0).any(), name
        np.testing.assert_array_equal(again[name], ranked, err_msg=name)


def test_events_after_the_cut_change_the_targets_and_nothing_else(before_and_after):
    before, after = before_and_after
    known = before.known.sum()
    assert known == 18
    assert set(targets(before)) < set(targets(after))
    assert len(after.user_id) > len(before.user_id)
    assert after.known.sum() == known
    assert after.item.num_rows == before.item.num_rows + 4
    assert after.item.slice(0, known).equals(before.item.slice(0, known))
    np.testing.assert_array_equal(after.text_vector[:known], before.text_vector[:known])
    np.testing.assert_array_equal(after.streams.toarray()[:, :known], before.streams.toarray()[:, :known])
    assert after.streams[:, known:].nnz == 0
    assert after.item_types == before.item_types == ["book", "podcast"]
    place = {user: i for i, user in enumerate(after.user_id.to_pylist())}
    for user, row in zip(before.user_id.to_pylist(), before.known_user, strict=True):
        assert after.known_user[place[user]] == row


def first_settings():
    """One of each kind of baseline, those that are made of others last."""
    made = []
    for kind in BASELINES:
        made.append(next(iter(kind.grid(made))))
    return made


@pytest.mark.parametrize("baseline", first_settings(), ids=lambda one: one.name)
def test_events_after_the_cut_change_no_list_of_a_baseline(before_and_after, baseline):
    first, _ = before_and_after_of(baseline.fit, *before_and_after)
    assert first["available"].shape == (9, 18)
    assert np.ptp(first["scores"]) > 0
    assert_no_leak(baseline.fit, *before_and_after)


@dataclass(frozen=True)
class Hindsight:
    """Popularity that counts the targets too."""

    weight: float

    def fit(self, split):
        streams = np.bincount(split.streams.indices, minlength=split.item.num_rows).astype(np.float32)
        streams += self.weight * np.bincount(split.target_node, minlength=split.item.num_rows)
        return lambda users: np.tile(streams, (len(users), 1))


def test_the_guard_catches_a_baseline_that_counts_targets(before_and_after):
    assert_no_leak(Hindsight(0.0).fit, *before_and_after)
    for weight in (1.0, 0.01):
        with pytest.raises(AssertionError):
            assert_no_leak(Hindsight(weight).fit, *before_and_after)
    lists, again = before_and_after_of(Hindsight(1.0).fit, *before_and_after)
    assert lists["available"].tolist() != again["available"].tolist()


def test_the_guard_catches_words_counted_over_items_that_come_later(before_and_after):
    def rareness(known_alone):
        def fit(split):
            words = [set(text.split()) for text in split.item["text"].to_pylist()]
            known = [one for one, there in zip(words, split.known, strict=True) if there or not known_alone]
            scores = [sum(1 / (1 + sum(word in other for other in known)) for word in one) for one in words]
            return lambda users: np.tile(np.array(scores, dtype=np.float32), (len(users), 1))

        return fit

    assert_no_leak(rareness(known_alone=True), *before_and_after)
    with pytest.raises(AssertionError):
        assert_no_leak(rareness(known_alone=False), *before_and_after)


def test_the_guard_catches_a_start_drawn_for_items_that_come_later(before_and_after):
    def drawn(known_alone):
        def fit(split):
            count = int(split.known.sum()) if known_alone else split.item.num_rows
            start = np.random.default_rng(0).random((count, 3)).mean(axis=0)
            scores = np.random.default_rng(1).random((split.item.num_rows, 3)) @ start
            return lambda users: np.tile(scores.astype(np.float32), (len(users), 1))

        return fit

    assert_no_leak(drawn(known_alone=True), *before_and_after)
    with pytest.raises(AssertionError, match="scores"):
        assert_no_leak(drawn(known_alone=False), *before_and_after)


def test_an_item_that_is_known_only_later_is_not_asked_of_the_lists(before_and_after):
    _, after = before_and_after
    later = after.item.filter(~after.known)["item_id"].to_pylist()
    assert later == ["a0", "b9", "p10", "p9", "s0"]
    sets = {one.name: one.nodes for one in candidate_sets(after)}
    for name in ("available", "type:book", "type:podcast", "cold"):
        assert not sets[name][~after.known].any()
    assert sets["all, catalogue known"][~after.known].all()
