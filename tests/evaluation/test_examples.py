"""What a reader looks at: examples with their reasons, worked out again from events that were never there."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from conftest import QUICK
from worlds import MADE_DAYS, hand_split, made_world, split_at

from gfm_store.config import Config
from gfm_store.evaluation.examples import HISTORY_SHOWN, LIST_SHOWN, NUM_EXAMPLES, examples, item_map
from gfm_store.evaluation.model import fit_space, fit_static_at
from gfm_store.evaluation.ranking import rank
from gfm_store.evaluation.views import candidate_sets
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from gfm_store.warehouse.history import read_histories

CONFIG = Config.model_validate(QUICK | {"threads": 1, "device": "cpu"})


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The made world: folder, split, space, lists of what is available, examples."""
    root = tmp_path_factory.mktemp("examples") / "warehouse"
    as_of = made_world(root)
    split = split_at(root, as_of, MADE_DAYS)
    with open_warehouse(root) as warehouse:
        space = fit_space(warehouse, split, CONFIG, fit_static_at(warehouse, split, as_of, CONFIG))
    available = candidate_sets(split)[:1]
    lists = rank(split, available, [np.arange(len(split.user_id))], space.scorer())["available"]
    return root, split, space, lists, examples(split, space, lists, seed=0)


def position(split, user):
    return split.user_id.to_pylist().index(user)


def test_examples_are_drawn_among_users_with_a_history(shown):
    _, split, space, lists, found = shown
    assert len(found) == NUM_EXAMPLES
    assert found == examples(split, space, lists, seed=0)
    users = [one.user for one in found]
    assert users != [one.user for one in examples(split, space, lists, seed=1)]
    assert all(split.known_user[position(split, user)] >= 0 for user in users)
    few = np.full_like(lists, -1)
    few[position(split, users[0])] = lists[position(split, users[0])]
    assert examples(split, space, few, seed=0) == [found[0]]


def test_an_example_shows_the_list_and_what_came_true(shown):
    _, split, _, lists, found = shown
    ids = split.item["item_id"].to_pylist()
    hits = 0
    for one in found:
        user = position(split, one.user)
        assert [item.item_id for item in one.items] == [ids[node] for node in lists[user][:LIST_SHOWN]]
        wanted = {ids[node] for node in split.target_node[split.target_user == user]}
        assert [item.is_target for item in one.items] == [item.item_id in wanted for item in one.items]
        hits += sum(item.is_target for item in one.items)
    assert hits > 0


def test_an_example_shows_the_newest_items_of_the_history_each_once(shown):
    root, split, space, _, found = shown
    with open_warehouse(root) as warehouse:
        for one in found:
            expected = warehouse.execute(
                "SELECT item_id, max(event_ts) FROM interaction_event WHERE user_id = $user AND event_ts < $as_of "
                "AND event_ts >= $as_of - to_days($days) GROUP BY item_id ORDER BY 2 DESC",
                {"user": one.user, "as_of": split.as_of, "days": space.model.history_days},
            ).fetchall()[:HISTORY_SHOWN]
            assert [(item.item_id, item.when) for item in one.history] == [
                (item, f"{moment:%Y-%m-%d}") for item, moment in expected
            ]
            assert not any(item.is_target or item.reasons for item in one.history)


def test_titles_and_types_are_those_of_the_items(shown):
    _, split, _, _, found = shown
    told = {row["item_id"]: row for row in split.item.select(["item_id", "title", "item_type"]).to_pylist()}
    for one in found:
        for item in [*one.history, *one.items]:
            assert item.title == told[item.item_id]["title"]
            assert item.item_type == told[item.item_id]["item_type"]


def score_without(root, split, space, user, item, tmp_path):
    """(N,) scores of a user after the events with an item are deleted from a copy of the warehouse."""
    copy = tmp_path / "warehouse"
    copy.mkdir(exist_ok=True)
    (copy / "gfm.duckdb").write_bytes((root / "gfm.duckdb").read_bytes())
    with rewrite_warehouse(copy) as warehouse:
        warehouse.execute(
            "DELETE FROM interaction_event WHERE user_id = $user AND item_id = $item",
            {"user": user, "item": item},
        )
    with open_warehouse(copy) as warehouse:
        histories = read_histories(
            warehouse,
            pa.array([user]),
            split.item["item_id"].combine_chunks(),
            split.as_of,
            space.model.history_days,
        )
    vectors, _ = next(space.model.user_vectors(histories, split.as_of, space.vectors, space.item_type))
    return vectors[0].astype(np.float64) @ space.items.T.astype(np.float64)


def test_a_reason_is_the_fall_of_the_score_when_its_events_are_gone(shown, tmp_path):
    root, split, space, _, found = shown
    one = next(example for example in found if 4 <= len(example.history) < HISTORY_SHOWN)
    user = position(split, one.user)
    whole = space.users[user].astype(np.float64) @ space.items.T.astype(np.float64)
    falls = {
        item.title: whole - score_without(root, split, space, one.user, item.item_id, tmp_path)
        for item in one.history
    }
    assert len(falls) == len(one.history)
    ids = split.item["item_id"].to_pylist()
    told = 0
    for item in one.items:
        node = ids.index(item.item_id)
        fall = {title: values[node] for title, values in falls.items()}
        total = sum(value for value in fall.values() if value > 0)
        strongest = sorted((title for title in fall if fall[title] > 0), key=lambda title: -fall[title])[:3]
        assert [title for title, _ in item.reasons] == strongest
        assert [share for _, share in item.reasons] == pytest.approx(
            [fall[title] / total for title in strongest], abs=2e-3
        )
        told += len(item.reasons)
    assert told >= 10
    assert max(share for item in one.items for _, share in item.reasons) > 1.2 / len(one.history)


def test_without_a_title_the_item_id_is_shown(shown):
    _, split, space, lists, found = shown
    index = split.item.schema.get_field_index("title")
    bare = replace(
        split, item=split.item.set_column(index, "title", pa.nulls(split.item.num_rows, pa.string()))
    )
    for one, titled in zip(examples(bare, space, lists, seed=0), found, strict=True):
        for item, other in zip(one.items, titled.items, strict=True):
            assert item.title == item.item_id
            assert len(item.reasons) == len(other.reasons)


# The map.


def planted_vectors(split):
    """Two clusters far apart: the even nodes and the odd ones."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((split.item.num_rows, 8)).astype(np.float32)
    vectors[:, 0] += np.where(np.arange(len(vectors)) % 2 == 0, 20, -20)
    return vectors


@pytest.fixture
def two_clusters():
    split = hand_split(["p", "b"] * 20, {(0, 0): 1.0}, [(0, 1)], [-1], unavailable=[3, 8], later=[39])
    genres = pa.array([[f"g{node % 3}", "x"] if node % 5 else None for node in range(40)])
    item = split.item.set_column(split.item.schema.get_field_index("genres"), "genres", genres)
    return replace(split, item=item)


def test_the_map_names_each_available_item_with_its_type_and_first_genre(two_clusters):
    found = item_map(two_clusters, planted_vectors(two_clusters), seed=0)
    nodes = [node for node in range(40) if node not in (3, 8, 39)]
    names = two_clusters.item["item_id"].to_pylist()
    assert found.title == [f"Title {names[node]}" for node in nodes]
    assert found.item_type == [["p", "b"][node % 2] for node in nodes]
    assert found.topic == [f"g{node % 3}" if node % 5 else "" for node in nodes]
    assert len(found.x) == len(found.y) == len(nodes)


def test_items_that_are_near_are_near_on_the_map(two_clusters):
    found = item_map(two_clusters, planted_vectors(two_clusters), seed=0)
    point = np.stack([found.x, found.y], axis=1)
    distance = np.linalg.norm(point[:, None] - point[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    kind = np.array(found.item_type)
    assert (kind[distance.argmin(axis=1)] == kind).all()


def test_the_map_is_repeatable_and_no_larger_than_asked(two_clusters, monkeypatch):
    vectors = planted_vectors(two_clusters)
    assert item_map(two_clusters, vectors, seed=0) == item_map(two_clusters, vectors, seed=0)
    monkeypatch.setattr("gfm_store.evaluation.examples.MAP_ITEMS", 12)
    few = item_map(two_clusters, vectors, seed=0)
    assert len(few.title) == len(set(few.title)) == 12
    assert len(few.x) == 12


def test_there_is_no_map_of_a_handful():
    split = hand_split(["p"] * 10, {(0, 0): 1.0}, [(0, 1)], [-1], later=[9])
    assert item_map(split, planted_vectors(split), seed=0) is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_points_that_are_all_one_are_not_given_to_t_sne(two_clusters, monkeypatch):
    class Layout:
        def __init__(self, **settings):
            self.init = settings["init"]

        def fit_transform(self, points):
            assert np.isfinite(points).all()
            assert self.init != "pca" or points.std() > 0
            return points[:, :2]

    monkeypatch.setattr("gfm_store.evaluation.examples.TSNE", Layout)
    found = item_map(two_clusters, np.ones((40, 8), dtype=np.float32), seed=0)
    assert found is None or np.isfinite(found.x + found.y).all()
