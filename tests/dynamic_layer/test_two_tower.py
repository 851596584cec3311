"""The two towers, and the model that serving loads."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from worlds import AS_OF, ago

from gfm_store.dynamic_layer.history import NUM_SIGNALS, HistoryBatch, Popularity, Vocabulary
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.dynamic_layer.two_tower import Sizes, TwoTower, UserTower
from gfm_store.warehouse.history import HistoryTables

DIM, TEXT_DIM, TYPES = 6, 5, ["book", "podcast"]
VOCABULARY = Vocabulary({"language": ["en", "sv"], "genres": ["a", "b", "c"]})
USER_VOCABULARY = Vocabulary({"country": ["SE"], "age_band": ["18-24", "25-34"]})


def sizes_of(num_windows=3, output=8, dropout=0.5):
    return Sizes(
        dim=DIM,
        text_dim=TEXT_DIM,
        num_types=len(TYPES),
        item_vocabulary=VOCABULARY.sizes(),
        user_vocabulary=USER_VOCABULARY.sizes(),
        num_windows=num_windows,
        layers=(16, output),
        categorical_dim=4,
        dropout=dropout,
    )


def model_of(seed=0, **sizes):
    torch.manual_seed(seed)
    sizes = sizes_of(**sizes)
    towers = TwoTower(sizes).eval()
    return DynamicModel(towers, sizes, TYPES, VOCABULARY, USER_VOCABULARY, history_days=90, history_events=5)


def numbers(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ITEMS = pa.table(
    {
        "item_type": ["book", "podcast", "podcast", "book", "podcast"],
        "language": ["en", None, "sv", "xx", "en"],
        "genres": [["a", "b"], None, [], ["c"], ["b", "zz"]],
    },
    schema=pa.schema(
        [("item_type", pa.string()), ("language", pa.string()), ("genres", pa.list_(pa.string()))]
    ),
)
VECTOR, TEXT = numbers(5, DIM), numbers(5, TEXT_DIM, seed=4)
ITEM_TYPE = np.array([0, 1, 1, 0, 1])


def popularity(windows=(1, 7, 30)):
    table = pa.table({"node": [0, 0, 3], "days_ago": [0, 5, 20], "n_streams": [3, 40, 500]})
    return Popularity.from_table(table, windows)


def history_tables(events, num_users, countries=None):
    """From (user, node, signal, days ago)."""
    events = sorted(events, key=lambda event: (event[0], -event[3]))
    users = pa.array(range(num_users), pa.int32())
    return HistoryTables(
        as_of=AS_OF,
        user_node=pa.table({"user_index": users, "user_id": users.cast(pa.string())}),
        user_event=pa.table(
            {
                "user_index": pa.array([e[0] for e in events], pa.int32()),
                "node": pa.array([e[1] for e in events], pa.int32()),
                "signal": pa.array([e[2] for e in events], pa.int8()),
                "event_ts": pa.array([ago(e[3]) for e in events], pa.timestamp("us")),
            }
        ),
        user_feature=pa.table(
            {"user_index": users, "country": pa.array(countries or [None] * num_users, pa.string())}
        ),
        history_days=90,
    )


def user_vectors(model, tables):
    blocks = list(model.user_vectors(tables, AS_OF, VECTOR, ITEM_TYPE))
    return np.concatenate([block for block, _ in blocks]), np.concatenate([known for _, known in blocks])


def item_vectors(model, windows=(1, 7, 30)):
    return model.item_vectors(model.item_features(ITEMS, VECTOR, TEXT), torch.arange(5), popularity(windows))


def tower_out(tower, node, slot):
    history = HistoryBatch(torch.tensor([node]), torch.tensor([slot]), torch.zeros(1, len(node)))
    profile = torch.zeros(1, 2, dtype=torch.int64)
    return torch.cat(tower(history, torch.from_numpy(VECTOR), profile), dim=1)


@pytest.fixture
def tower():
    torch.manual_seed(1)
    return UserTower(sizes_of()).eval()


@torch.no_grad()
def test_neither_order_nor_padding_of_a_history_matters(tower):
    one = tower_out(tower, [2, 4, 0], [3, 4, 0])
    torch.testing.assert_close(tower_out(tower, [0, 2, 4], [0, 3, 4]), one)
    torch.testing.assert_close(tower_out(tower, [0, 2, 0, 4, 0], [0, 3, -1, 4, -1]), one)
    assert float((tower_out(tower, [2, 4, 1], [3, 4, 0]) - one).abs().max()) > 1e-3  # the items do
    assert float((tower_out(tower, [2, 4, 0], [3, 5, 0]) - one).abs().max()) > 1e-3  # and the signals


@torch.no_grad()
def test_the_tower_reads_mean_vectors_and_log_counts_by_type_and_signal(tower):
    seen = []
    tower.layers.register_forward_hook(lambda module, given, out: seen.append(given[0][0]))
    tower_out(tower, [2, 4, 1, 0], [3, 3, 5, 0])
    slots = len(TYPES) * NUM_SIGNALS
    mean, count = seen[0][: slots * DIM].view(slots, DIM).numpy(), seen[0][slots * DIM : slots * (DIM + 1)]
    expected = np.zeros((slots, DIM))
    expected[0], expected[3], expected[5] = VECTOR[0], (VECTOR[2] + VECTOR[4]) / 2, VECTOR[1]
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(count.numpy(), np.log1p([1, 0, 0, 2, 0, 1]), rtol=1e-6)


@torch.no_grad()
def test_towers_give_unit_vectors_with_and_without_a_history(tower):
    for node, slot in (([0, 0], [-1, -1]), ([1, 2], [3, 4])):
        vector = tower_out(tower, node, slot)[0, :8]
        assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)


def test_features_of_some_items_are_those_rows():
    features = model_of().item_features(ITEMS, VECTOR, TEXT)
    assert features.item_type.tolist() == ITEM_TYPE.tolist()
    assert features.language.tolist() == [1, 0, 2, 0, 1]
    rows = features.rows(torch.tensor([4, 1, 0, 4]))
    np.testing.assert_array_equal(rows.vector.numpy(), VECTOR[[4, 1, 0, 4]])
    np.testing.assert_array_equal(rows.text.numpy(), TEXT[[4, 1, 0, 4]])
    assert rows.language.tolist() == [1, 0, 1, 1]
    assert rows.genres.tolist() == [2, 0, 1, 2, 2, 0]
    assert rows.genre_offsets.tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize(
    ("output", "windows", "dim"), [(8, 3, 16), (8, 0, 16), (7, 0, 8), (128, 6, 136), (4, 3, 8)]
)
def test_vectors_have_a_length_of_a_multiple_of_eight_with_room_for_padding(output, windows, dim):
    model = model_of(num_windows=windows, output=output)
    assert model.dim == dim
    assert item_vectors(model, tuple(range(1, windows + 1))).shape == (5, dim)


@pytest.mark.parametrize("windows", [(), (1, 7, 30)])
def test_all_items_have_the_same_norm_so_that_every_search_ranks_alike(windows):
    model = model_of(num_windows=len(windows))
    items = item_vectors(model, windows)
    norms = np.linalg.norm(items.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-6)
    users, _ = user_vectors(model, history_tables([(0, 1, 0, 3), (1, 3, 2, 5)], 3))
    np.testing.assert_array_equal(users[:, -1], 0.0)
    by_dot = np.argsort(-(users @ items.T), axis=1)
    by_cosine = np.argsort(-(users @ items.T) / np.linalg.norm(items, axis=1), axis=1)
    by_distance = np.argsort(((users[:, None] - items) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(by_cosine, by_dot)
    np.testing.assert_array_equal(by_distance, by_dot)


@torch.no_grad()
def test_the_dot_product_is_the_score_of_the_formula():
    model = model_of()
    tables = history_tables([(0, 1, 0, 3), (0, 2, 1, 2)], 1, ["SE"])
    users, _ = user_vectors(model, tables)
    towers = model.towers
    history = HistoryBatch(torch.tensor([[2, 1]]), torch.tensor([[4, 3]]), torch.tensor([[2.0, 3.0]]))
    profile = torch.tensor([[1, 0]])
    vector, weights = towers.user_tower(history, torch.from_numpy(VECTOR), profile)
    item = towers.item_tower(model.item_features(ITEMS, VECTOR, TEXT))
    log_counts = torch.tensor([[3, 43, 43], [0, 0, 0], [0, 0, 0], [0, 0, 500], [0, 0, 0]]).float().log1p()
    expected = (
        vector @ item.T / towers.log_temperature.exp() + (weights + towers.popularity_weight) @ log_counts.T
    )
    np.testing.assert_allclose(users @ item_vectors(model).T, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_who_has_a_history_is_told():
    events = [(0, 1, 0, 3), (2, 1, 2, 89), (3, 1, 0, 91)]
    _, known = user_vectors(model_of(), history_tables(events, 4))
    assert known.tolist() == [True, False, True, False]


def test_users_without_any_history_share_a_vector_but_for_their_profile():
    vectors, known = user_vectors(model_of(), history_tables([], 3, [None, "SE", "unheard of"]))
    assert known.tolist() == [False] * 3
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.isfinite(vectors).all()


def test_a_saved_model_gives_the_same_vectors_to_the_bit(tmp_path):
    model = model_of()
    model.save(tmp_path)
    loaded = DynamicModel.load(tmp_path)
    tables = history_tables([(0, 1, 0, 3), (1, 4, 1, 9)], 2, ["SE", None])
    np.testing.assert_array_equal(item_vectors(loaded), item_vectors(model))
    np.testing.assert_array_equal(user_vectors(loaded, tables)[0], user_vectors(model, tables)[0])
    assert (loaded.sizes, loaded.item_types, loaded.history_days, loaded.history_events) == (
        model.sizes,
        TYPES,
        90,
        5,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "towers.safetensors"]
    assert json.loads((tmp_path / "model.json").read_text())["user_vocabulary"]["country"] == ["SE"]


def test_a_type_that_training_did_not_know_is_served():
    model = model_of()
    table = ITEMS.set_column(0, "item_type", [["film", "podcast", "film", "book", "game"]])
    features = model.item_features(table, VECTOR, TEXT)
    assert features.item_type.tolist() == [2, 1, 2, 0, 2]
    vectors = model.item_vectors(features, torch.arange(5), popularity())
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[[1, 3], :-1], item_vectors(model)[[1, 3], :-1], rtol=1e-6)
    # Its events join nobody's known slots, and the user is served all the same.
    tables = history_tables([(0, 0, 0, 3), (0, 1, 0, 2)], 1)
    users, known = next(model.user_vectors(tables, AS_OF, VECTOR, features.item_type.numpy()))
    without, _ = next(model.user_vectors(history_tables([(0, 1, 0, 2)], 1), AS_OF, VECTOR, ITEM_TYPE))
    assert known.tolist() == [True]
    np.testing.assert_allclose(users, without, rtol=1e-6)


@torch.no_grad()
def test_types_beyond_the_last_known_one_are_all_the_unknown_one():
    model = model_of()
    features = model.item_features(ITEMS, VECTOR, TEXT)
    unknown, later = (
        model.towers.item_tower(replace(features, item_type=torch.full((5,), kind))) for kind in (2, 17)
    )
    torch.testing.assert_close(later, unknown)
    assert float((unknown - model.towers.item_tower(features)).abs().max()) > 1e-3


def test_vectors_do_not_depend_on_the_other_rows():
    model = model_of()
    features = model.item_features(ITEMS, VECTOR, TEXT)
    one = model.item_vectors(features, torch.tensor([3, 0]), popularity())
    np.testing.assert_allclose(one[:, :11], item_vectors(model)[[3, 0], :11], rtol=1e-5, atol=1e-6)


def test_no_items_give_no_vectors():
    model = model_of()
    features = model.item_features(ITEMS, VECTOR, TEXT)
    assert model.item_vectors(features, torch.arange(0), popularity()).shape == (0, 16)
