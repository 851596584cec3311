"""Two-tower training on worlds whose best answer is known, and what it must not look at."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from worlds import AS_OF, Recorder, ago, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import BlendConfig, Config, TwoTowerConfig
from gfm_store.dynamic_layer import training
from gfm_store.dynamic_layer.fitting import fit_dynamic
from gfm_store.dynamic_layer.history import Popularity
from gfm_store.dynamic_layer.moments import Moments
from gfm_store.dynamic_layer.training import TwoTowerTrainer
from gfm_store.dynamic_layer.two_tower import ItemFeatures, Sizes
from gfm_store.static_layer.encoder import Embedded
from gfm_store.warehouse.connection import open_warehouse
from gfm_store.warehouse.graph import read_item_nodes
from gfm_store.warehouse.history import TrainingTables, read_training

CPU = torch.device("cpu")
CONFIG = TwoTowerConfig(
    layers=(32, 16),
    history_events=10,
    train_days=60,
    min_pairs=1,
    validation_days=7,
    min_validation_pairs=20,
    popularity_windows_days=(),
    dropout=0.0,
    num_negatives=16,
    batch_size=64,
    max_epochs=6,
    learning_rate=5e-3,
    categorical_dim=4,
)


@dataclass
class World:
    """A warehouse as training reads it."""

    item_node: pa.Table
    tables: TrainingTables

    @classmethod
    def read(cls, root, config=CONFIG):
        with open_warehouse(root) as warehouse:
            return cls(read_item_nodes(warehouse, AS_OF), read_training(warehouse, AS_OF, config))


NUM_ITEMS, NUM_USERS, PER_USER = 40, 60, 8
ITEM_IDS = [f"{'pb'[i // 2 % 2]}{i:02}" for i in range(NUM_ITEMS)]
"""The taste of an item is the parity of its number; both tastes have podcasts and books."""


@pytest.fixture(scope="module")
def tastes(tmp_path_factory):
    """Users of two tastes stream items of their own taste alone."""
    rng = np.random.default_rng(5)
    events = []
    for user in range(NUM_USERS):
        chosen = rng.permutation(NUM_ITEMS // 2)[:PER_USER] * 2 + user % 2
        days = np.sort(rng.uniform(0.1, 59, PER_USER))[::-1]
        events += [
            stream(f"u{user:02}", ITEM_IDS[item], float(day)) for item, day in zip(chosen, days, strict=True)
        ]
    root = make_warehouse(
        tmp_path_factory.mktemp("tastes"), catalogue(*ITEM_IDS, published_at=ago(300)), events
    )
    return World.read(root)


def item_taste(item_node):
    return np.array([int(item_id[1:]) % 2 for item_id in item_node["item_id"].to_pylist()])


def noisy_vectors(taste, dim=12):
    """Unit vectors that lean to one of two directions."""
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(len(taste), dim))
    vectors[:, 0] += np.where(taste == 0, 2.0, -2.0)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fit(world, seed=0, **settings):
    two_tower = CONFIG.model_copy(update=settings)
    config = Config(seed=seed, device="cpu", two_tower=two_tower, blend=BlendConfig(enabled=False))
    vectors = noisy_vectors(item_taste(world.item_node))
    text = np.zeros((len(vectors), 3), dtype=np.float32)
    types = sorted(set(world.item_node["item_type"].to_pylist()))
    item_text = pa.table({"text": pa.array([""] * len(vectors))})
    fitted = fit_dynamic(
        world.item_node,
        types,
        lambda moment: Embedded(vectors, vectors),
        text,
        item_text,
        world.tables,
        config,
    )
    item_type = world.item_node["type_index"].to_numpy().astype(np.int64)
    blocks = fitted.model.user_vectors(world.tables.history, AS_OF, vectors, item_type)
    return fitted, np.concatenate([users for users, _ in blocks])


def test_own_taste_is_ranked_above_the_other(tastes):
    fitted, users = fit(tastes)
    scores = users @ fitted.item_vectors.T
    event = tastes.tables.history.user_event
    seen = np.zeros(scores.shape, dtype=bool)
    seen[event["user_index"].to_numpy(), event["node"].to_numpy()] = True
    taste = item_taste(tastes.item_node)
    wins = []
    for user in range(NUM_USERS):
        own = scores[user, (taste == user % 2) & ~seen[user]]  # items that the user has never met
        wins.append((own[:, None] > scores[user, taste != user % 2]).mean())
    assert fitted.available.tolist() == list(range(NUM_ITEMS))
    assert np.mean(wins) > 0.97  # 0.5 by chance
    best = max(epoch.validation_ndcg for epoch in fitted.epochs)
    assert best > 0.28  # a list of ten out of forty in random order has about 0.11


def test_the_same_seed_gives_the_same_vectors(tastes):
    (first, users), (again, users_again) = fit(tastes, max_epochs=2), fit(tastes, max_epochs=2)
    np.testing.assert_array_equal(first.item_vectors, again.item_vectors)
    np.testing.assert_array_equal(users, users_again)
    assert first.epochs == again.epochs
    other, _ = fit(tastes, seed=1, max_epochs=2)
    assert np.abs(other.item_vectors - first.item_vectors).max() > 1e-2


class ScorePerItem(nn.Module):
    """A model without any tower: one score per item, which its first feature names."""

    def __init__(self, num_items):
        super().__init__()
        self.score = nn.Parameter(torch.zeros(num_items))

    def user_vectors(self, history, item_vector, profile):
        return torch.ones(len(profile), 1)

    def item_tower(self, items):
        return self.score[items.vector[:, 0].long()][:, None]

    def item_vectors(self, items, popularity):
        return self.item_tower(items)


EARLY = 100
"""What is added to a day in vectors by weights that have not seen the last days."""


def trainer_of(world, config, windows=0, days=(-1,), early_days=None):
    """A trainer that reads at each moment who is who, and which moment it is, early ones apart."""
    num_items = world.item_node.num_rows
    nothing = torch.zeros(num_items, dtype=torch.int64)
    numbers = torch.arange(num_items).float()
    moments, early_moments = (
        Moments(
            torch.tensor(some),
            [torch.stack([numbers, torch.full_like(numbers, day + more)], dim=1) for day in some],
        )
        for some, more in ((days, 0), (early_days or days, EARLY))
    )
    items = ItemFeatures(
        moments.vectors[0],
        torch.zeros(num_items, 1),
        nothing,
        nothing,
        nothing[:0],
        nothing,
    )
    num_users = world.tables.history.user_node.num_rows
    sizes = Sizes(2, 1, 1, {"language": 1, "genres": 1}, {}, windows, (1,), 1, 0.0)
    return TwoTowerTrainer(
        world.tables,
        items,
        moments,
        early_moments,
        torch.zeros(num_users, 1, dtype=torch.int64),
        torch.ones(num_items, dtype=torch.bool),
        sizes,
        config,
        0,
        CPU,
    )


SHARE = np.array([0.40, 0.25, 0.15, 0.10, 0.07, 0.03])


def scores_of_six_items(root, monkeypatch, num_negatives):
    """What training makes of six items that are streamed by these shares of all users, whoever they are."""
    item = np.repeat(np.arange(6), (SHARE * 1000).round().astype(int))
    days = np.random.default_rng(0).uniform(0.01, 5, len(item))
    events = [stream(f"u{i:04}", f"p{item[i]}", float(days[i])) for i in range(len(item))]
    world = World.read(make_warehouse(root, catalogue(*[f"p{i}" for i in range(6)]), events))
    monkeypatch.setattr(training, "TwoTower", lambda sizes: ScorePerItem(6))
    settings = {"batch_size": 256, "num_negatives": num_negatives, "max_epochs": 100, "learning_rate": 0.02}
    trainer = trainer_of(world, CONFIG.model_copy(update={**settings, "weight_decay": 0.0}))
    return trainer.fit().score.detach().double().numpy()


@pytest.mark.parametrize("num_negatives", [0, 64])
def test_being_drawn_often_as_a_negative_does_not_push_popular_items_down(
    tmp_path, monkeypatch, num_negatives
):
    """Without the correction the six scores lie within 1.7 of each other."""
    score = scores_of_six_items(tmp_path, monkeypatch, num_negatives)
    assert np.argsort(-score).tolist() == list(range(6))
    assert score[0] - score[5] > 0.9 * np.log(SHARE[0] / SHARE[5])  # 2.6


@pytest.mark.parametrize("num_negatives", [0, 64])
def test_scores_become_log_probabilities_however_candidates_are_drawn(tmp_path, monkeypatch, num_negatives):
    score = scores_of_six_items(tmp_path, monkeypatch, num_negatives)
    np.testing.assert_allclose(score - score.mean(), np.log(SHARE) - np.log(SHARE).mean(), atol=0.15)


def test_popularity_of_a_pairs_own_day_and_later_changes_nothing(tmp_path):
    events = [stream(f"u{i}", f"p{i % 3}", 4 - i / 100) for i in range(30)]  # all of them on day 3
    world = World.read(make_warehouse(tmp_path, catalogue("p0", "p1", "p2"), events))

    def weights(**counts):
        rows = [(node, int(day[3:]), n) for day, n in counts.items() for node in range(2)]
        table = pa.table(
            dict(zip(["node", "days_ago", "n_streams"], zip(*sorted(rows), strict=True), strict=True))
        )
        changed = World(world.item_node, replace(world.tables, item_day=table))
        model = fit(changed, max_epochs=1, popularity_windows_days=(1, 30), batch_size=8)[0].model
        return torch.cat([value.flatten() for value in model.towers.state_dict().values()])

    first = weights(day0=1, day3=5, day4=7, day9=2)
    assert torch.equal(weights(day0=100, day2=50, day3=900, day4=7, day9=2), first)
    assert not torch.equal(weights(day0=1, day3=5, day4=8, day9=2), first)


def test_a_pair_never_counts_itself_even_where_moments_are_whole_days(tmp_path):
    """Data with dates only, as of midnight: a pair lies on the very border of two days."""
    days = [9, 6, 6, 5, 3, 1]
    events = [stream(f"u{i}", "p1", day) for i, day in enumerate(days)] + [stream("u9", "p2", 1)]
    world = World.read(make_warehouse(tmp_path, catalogue("p1", "p2"), events))
    trainer = trainer_of(world, CONFIG.model_copy(update={"popularity_windows_days": (90,)}), windows=1)
    counted, own = [], [0]

    class Spy(Popularity):
        def features(self, node, day):
            found = super().features(node, day)
            counted.append(int(found[0, node.tolist().index(own[0]), 0].expm1().round()))
            return found

    trainer.popularity = Spy(**trainer.popularity.__dict__)
    model = ScorePerItem(2)
    model.user_vectors = lambda history, item_vector, profile: torch.ones(len(profile), 2)
    pairs = trainer._pairs
    assert pairs.node.tolist() == [0, 0, 0, 0, 0, 0, 1]
    for i in range(len(pairs)):
        own[0] = int(pairs.node[i])
        one, frequency = pairs.rows(torch.tensor([i])), torch.tensor([6 / 7, 1 / 7], dtype=torch.float64)
        trainer._loss(model, one, frequency, trainer._whole.items[0])
    assert counted == [0, 1, 1, 3, 4, 5, 0]


@pytest.mark.parametrize("first_signal", ["stream-of-another", "follow"])
def test_validation_ranks_what_the_user_had_not_streamed(tmp_path, first_signal):
    """The user streams p00 for the first time in the held-out days; a perfect model ranks it first."""
    items = [f"p{i:02}" for i in range(14)]
    events = [stream("v", item, 40) for item in items]
    events += [stream("u", item, 30 - i) for i, item in enumerate(items[1:5])] + [stream("u", "p00", 2)]
    if first_signal == "follow":
        events.append(("u", "p00", "follow", ago(20)))
    world = World.read(make_warehouse(tmp_path, catalogue(*items), events))
    trainer = trainer_of(world, CONFIG)
    model = ScorePerItem(14)
    with torch.no_grad():
        model.score[:5] = torch.tensor([1.0, 9.0, 9.0, 9.0, 9.0])  # what was streamed before is left out
    held = trainer._pairs.rows((trainer._pairs.moment >= trainer._as_of - 7 * training.DAY).nonzero()[:, 0])
    assert held.node.tolist() == [0]
    assert trainer._validate(model, held, 7) == 1.0


DAYS = (-1, 2, 6, 20, 33)


class MomentSpy(ScorePerItem):
    """Remembers which moment's vectors either side read."""

    def __init__(self, num_items):
        super().__init__(num_items)
        self.read = []

    def user_vectors(self, history, item_vector, profile):
        self.read.append(item_vector[:, 1].unique().tolist())
        return super().user_vectors(history, item_vector, profile)

    def item_tower(self, items):
        self.read.append(items.vector[:, 1].unique().tolist())
        return super().item_tower(items)


def test_a_pair_is_learned_from_the_vectors_of_its_own_time(tastes, monkeypatch):
    """The newest moment that is not after the pair; before the oldest one, the oldest."""
    trainer = trainer_of(tastes, CONFIG, days=DAYS)
    model, asked, whole = MomentSpy(NUM_ITEMS), [], trainer._loss

    def spy(model, pairs, frequency, items):
        begun = len(model.read)
        loss = whole(model, pairs, frequency, items)
        assert model.read[begun:] == [[moment] for moment in items.vector[:2, 1].tolist()]
        age = (trainer._as_of - pairs.moment).double() / training.DAY
        asked.extend((days, items.vector[0, 1].item()) for days in age.tolist())
        return loss

    monkeypatch.setattr(trainer, "_loss", spy)
    monkeypatch.setattr(training, "TwoTower", lambda sizes: model)
    run = training._Run(trainer.sizes, CONFIG, 0, CPU)
    steps = Recorder()
    with progress.reporting(steps), progress.task("epoch", 1, "steps") as task:
        trainer._epoch(run, trainer._pairs, trainer._whole, task)
    assert len(asked) == len(trainer._pairs) == NUM_USERS * PER_USER
    assert steps.advanced["epoch"] == trainer._num_steps(trainer._pairs, trainer._whole)
    for age, day in asked:
        known = [one for one in DAYS if age <= one + 1]  # a moment stands `day` + 1 days before the end
        assert day == min(known, default=33)
    assert {day for _, day in asked} == {2.0, 6.0, 20.0, 33.0}  # today's vectors have seen all pairs


def test_validation_reads_early_vectors_from_before_the_held_out_days(tastes):
    trainer, model = trainer_of(tastes, CONFIG, days=DAYS, early_days=DAYS[2:]), MomentSpy(NUM_ITEMS)
    held = trainer._pairs.rows((trainer._pairs.moment >= trainer._as_of - 7 * training.DAY).nonzero()[:, 0])
    trainer._validate(model, held, 7)
    assert model.read == [[EARLY + 6.0], [EARLY + 6.0]]


def test_what_is_trained_without_the_last_days_reads_early_vectors(tastes, monkeypatch):
    trainer = trainer_of(tastes, CONFIG.model_copy(update={"max_epochs": 1}), days=DAYS, early_days=DAYS[2:])
    read, whole = [], trainer._loss

    def spy(model, pairs, frequency, items):
        read.append((items.vector[0, 1].item(), float(trainer._as_of - pairs.moment.max()) / training.DAY))
        return whole(model, pairs, frequency, items)

    monkeypatch.setattr(trainer, "_loss", spy)
    monkeypatch.setattr(training, "TwoTower", lambda sizes: ScorePerItem(NUM_ITEMS))
    trainer.fit()
    early, late = ([age for day, age in read if (day >= EARLY) == is_early] for is_early in (True, False))
    assert {day for day, _ in read} == {EARLY + 20.0, EARLY + 33.0, 2.0, 6.0, 20.0, 33.0}
    assert min(early) > 7 > 1 > min(late)
    assert all(day >= EARLY for day, _ in read[: len(early)])  # first without the last days


def test_towers_are_trained_anew_on_all_days_for_as_many_epochs_as_were_best(tastes, monkeypatch):
    trainer = trainer_of(tastes, CONFIG.model_copy(update={"max_epochs": 5, "patience": 9}))
    begun, ndcg, whole = [], iter([0.1, 0.2, 0.5, 0.3, 0.5]), trainer._epoch

    def spy(run, pairs, reading, task):
        begun.append((len(pairs), reading is trainer._whole, run.model.score.detach().clone()))
        return whole(run, pairs, reading, task)

    monkeypatch.setattr(trainer, "_epoch", spy)
    monkeypatch.setattr(trainer, "_validate", lambda *given: next(ndcg))
    monkeypatch.setattr(training, "TwoTower", lambda sizes: ScorePerItem(NUM_ITEMS))
    towers = trainer.fit()
    assert [epoch.validation_ndcg for epoch in trainer.epochs] == [0.1, 0.2, 0.5, 0.3, 0.5]
    all_days = NUM_USERS * PER_USER
    assert [(n < all_days, whole) for n, whole, _ in begun] == [(True, False)] * 5 + [(False, True)] * 3
    assert not begun[5][2].any()  # as at the very beginning
    assert begun[4][2].any()
    assert not torch.equal(towers.score, trainer.early.score)


def test_a_world_without_streams_still_gives_vectors(tmp_path):
    events = [(f"u{i}", f"p0{i % 4}", "follow", ago(i + 1)) for i in range(12)]
    fitted, users = fit(World.read(make_warehouse(tmp_path, catalogue("p00", "p01", "p02", "p03"), events)))
    assert np.isfinite(fitted.item_vectors).all()
    assert users.shape[0] == 12
