"""Answers as they were, to the byte, whatever came in since."""

import subprocess
from datetime import timedelta

import pyarrow as pa
import pytest
from clones import clone
from worlds import add_events

import gfm_store
from gfm_store.config import GateConfig
from gfm_store.errors import NotPublishedError
from gfm_store.lifecycle.refresh import refresh_dynamic
from gfm_store.lifecycle.versions import prune_versions, read_versions
from gfm_store.serving.time_travel import PastSession
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def then(published, quick, tmp_path_factory):
    """A world, its answers of then, and what happened since: late events, other profiles, withdrawals, a new version.

    Gives root, as_of, users, answers, the name of the first version.
    """
    root = tmp_path_factory.mktemp("then") / "warehouse"
    subprocess.run(["cp", "-a", published, root], check=True)
    with open_warehouse(root) as warehouse:
        as_of = newest_event(warehouse)
    first = read_versions(root)[0].record.version
    with gfm_store.open(root) as store:
        users = [*store.users().to_pylist()[:40], "nobody"]
        answers = store.recommend(users, k=10)
        assert store.recommend(users, k=10, as_of=as_of).equals(answers)
    listed = answers["item_id"].to_pylist()
    add_events(root, [(user, listed[0], "stream", as_of - 3 * DAY) for user in users])
    add_events(root, [(user, listed[10], "stream", as_of + DAY) for user in users])
    with rewrite_warehouse(root) as warehouse:
        warehouse.execute("UPDATE user_profile SET country = 'XX', age_band = NULL")
        warehouse.execute(
            "UPDATE item SET withdrawn_at = $ts WHERE item_id = $item", {"ts": as_of - DAY, "item": listed[1]}
        )
        warehouse.execute(
            "UPDATE item SET withdrawn_at = $ts WHERE item_id = $item", {"ts": as_of + DAY, "item": listed[2]}
        )
    # What hurried fits of so changed a world are worth is not asked here: no gate.
    refresh_dynamic(root, quick.model_copy(update={"gates": GateConfig(min_users=1_000_000)}))
    return root, as_of, users, answers, first


def test_at_the_version_s_moment(then):
    root, as_of, users, answers, first = then
    with gfm_store.open(root) as store:
        assert store.version != first
        assert not store.recommend(users, k=10).equals(answers)
        assert store.recommend(users, k=10, as_of=as_of).equals(answers)
        assert set(answers["embedding_version"].to_pylist()) == {first}


def test_by_the_version_s_name(then):
    root, as_of, users, answers, first = then
    with gfm_store.open(root, version=first) as store:
        assert store.recommend(users, k=10).equals(answers)
        assert store.recommend(users, k=10, as_of=as_of).equals(answers)
        assert store.version == first


def test_travelling_leaves_no_trace(then):
    root, as_of, users, _, _ = then
    with gfm_store.open(root) as store:
        before = store.recommend(users, k=10)
        store.recommend(users, k=10, as_of=as_of)
        assert store.recommend(users, k=10).equals(before)


def test_user_vectors_of_a_version_are_those_of_then(then, published):
    root, _, users, _, first = then
    with gfm_store.open(published) as before, gfm_store.open(root, version=first) as store:
        assert (store.user_vector(users[0]) == before.user_vector(users[0])).all()


def test_between_two_versions_what_happened_since_counts_as_far_as_it_was_known(world):
    with open_warehouse(world) as warehouse:
        as_of = newest_event(warehouse)
    add_events(world, [("newcomer", "music-01", "stream", as_of + DAY)])
    moment = as_of + 2 * DAY
    with gfm_store.open(world) as store:
        known = store.recommend("newcomer", k=5, as_of=moment)
        assert known["source"].to_pylist() == ["model"] * 5
        assert store.recommend("newcomer", k=5, as_of=as_of)["source"].to_pylist() == ["popular"] * 5
        with open_warehouse(world) as warehouse:
            last = warehouse.scalar("SELECT max(ingest_id) FROM interaction_event")
        later = clone(world, "d-later", as_of=as_of + 3 * DAY)
        later = later.model_copy(update={"origin": later.origin.model_copy(update={"last_ingest_id": last})})
        later.write(world / "dynamic" / "d-later")
        add_events(world, [("newcomer", "music-02", "stream", as_of + DAY)])
        assert store.recommend("newcomer", k=5, as_of=moment).equals(known)


def test_an_item_withdrawn_later_is_offered_before_and_not_after(world):
    with open_warehouse(world) as warehouse:
        as_of = newest_event(warehouse)
    with gfm_store.open(world) as store:
        first = store.recommend("nobody", k=1)["item_id"][0].as_py()
        with rewrite_warehouse(world) as warehouse:
            warehouse.execute(
                "UPDATE item SET withdrawn_at = $ts WHERE item_id = $item", {"ts": as_of + DAY, "item": first}
            )
        assert store.recommend("nobody", k=1, as_of=as_of)["item_id"][0].as_py() == first
        assert first not in store.recommend("nobody", k=999, as_of=as_of + 2 * DAY)["item_id"].to_pylist()


def test_a_request_s_own_history_at_a_moment(then):
    root, as_of, _, answers, first = then
    item = answers["item_id"][0].as_py()
    with gfm_store.open(root) as store:
        lists = store.recommend(history=[(item, "stream", as_of - DAY)], k=3, as_of=as_of)
        assert set(lists["embedding_version"].to_pylist()) == {first}
        assert isinstance(lists, pa.Table)
        assert item not in lists["item_id"].to_pylist()


def test_before_all_versions_and_after_they_are_pruned(then, tmp_path):
    root, as_of, _, _, first = then
    with (
        gfm_store.open(root, version=first) as store,
        pytest.raises(NotPublishedError, match="No kept version"),
    ):
        store.recommend("nobody", as_of=as_of - DAY)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", root, copy], check=True)
    prune_versions(copy, 1)
    with gfm_store.open(copy) as store, pytest.raises(NotPublishedError, match="No kept version is from"):
        store.recommend("nobody", as_of=as_of)


def test_a_moment_is_built_once_and_again_when_something_changed(then, tmp_path, monkeypatch):
    root, as_of, users, answers, first = then
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", root, copy], check=True)
    built = []
    monkeypatch.setattr(
        "gfm_store.serving.store.PastSession",
        lambda bound, past, config: built.append(past) or PastSession(bound, past, config),
    )
    with gfm_store.open(copy) as store, gfm_store.open(copy, version=first) as pinned:
        for _ in range(3):
            assert store.recommend(users, k=10, as_of=as_of).equals(answers)
            assert pinned.recommend(users, k=10).equals(answers)
        assert len(built) == 2
        now = store.recommend(users, k=10)
        popular = store.recommend(history=[], k=3, as_of=as_of)["item_id"]
        assert popular.equals(answers["item_id"].slice(10 * users.index("nobody"), 3))
        assert len(built) == 2
        add_events(copy, [(users[0], "music-01", "stream", as_of - DAY)])
        assert store.recommend(users, k=10, as_of=as_of).equals(answers)
        assert pinned.recommend(users, k=10).equals(answers)
        assert len(built) == 4
        store.recommend(users, k=10, as_of=as_of + DAY)
        assert len(built) == 5
        others = store.recommend(users[1:-1], k=10)["item_id"]
        assert others.equals(now["item_id"].slice(10, len(others)))
