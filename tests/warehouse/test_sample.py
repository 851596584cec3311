"""The made world: what it promises, shown on its rows, in the normal world and in the null world."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gfm_store.errors import UsageError
from gfm_store.schema import INTERACTION_EVENT, ITEM, USER_PROFILE
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse
from gfm_store.warehouse.sample import SampleSettings, fill, make_sample, true_scores
from gfm_store.warehouse.sample.choice import Chooser
from gfm_store.warehouse.sample.draw import draw_world
from gfm_store.warehouse.sample.truth import knows, load_truth
from gfm_store.warehouse.sample.vocabulary import LANGUAGES, WORDS_PER_TOPIC, topics
from gfm_store.warehouse.sample.world import SCENES_PER_TOPIC, choice_rates

TINY = SampleSettings(users=150, items=90, days=21, events=4_000)
MEDIUM = SampleSettings(users=1_500, items=1_000, days=90, events=90_000)
TABLES = {"item": ITEM, "interaction_event": INTERACTION_EVENT, "user_profile": USER_PROFILE}


def query(root: Path, sql: str) -> pa.Table:
    with open_warehouse(root) as warehouse:
        return warehouse.arrow(sql)


def value(root: Path, sql: str) -> float:
    return query(root, sql).column(0)[0].as_py()


def content(root: Path) -> dict[str, str]:
    """Hash of each table's rows, whatever their order."""
    hashes = {}
    for name, schema in TABLES.items():
        rows = query(root, f"SELECT * FROM {name} ORDER BY ALL").select(schema.names).to_pylist()
        hashes[name] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return hashes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("normal")
    make_sample(root, MEDIUM)
    return root


@pytest.fixture(scope="module")
def null_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("null")
    make_sample(root, MEDIUM.model_copy(update={"null_world": True}))
    return root


def test_vocabulary_is_whole() -> None:
    assert len(topics()) == 24
    for topic in topics():
        assert set(topic.words) == set(LANGUAGES)
        for words in topic.words.values():
            assert len(set(words)) == WORDS_PER_TOPIC and all(words)


def test_same_settings_same_rows_on_any_number_of_threads(tmp_path: Path) -> None:
    make_sample(tmp_path / "one", TINY, threads=1)
    make_sample(tmp_path / "two", TINY, threads=2)
    make_sample(tmp_path / "other", TINY.model_copy(update={"seed": 1}))
    one, other = content(tmp_path / "one"), content(tmp_path / "other")
    assert one == content(tmp_path / "two")
    assert all(one[name] != other[name] for name in TABLES)


def test_sizes_follow_the_settings(world: Path) -> None:
    counts = {name: value(world, f"SELECT count(*) FROM {name}") for name in TABLES}
    assert counts["item"] == MEDIUM.items
    assert counts["user_profile"] == MEDIUM.users
    assert counts["interaction_event"] == pytest.approx(MEDIUM.events, rel=0.06)
    of_type = dict(query(world, "SELECT item_type, count(*) FROM item GROUP BY 1").to_pandas().to_numpy())
    assert of_type == {"podcast": 460, "audiobook": 165, "music": 375}


def test_sizes_that_are_not_given_follow_from_the_others() -> None:
    assert SampleSettings.checked() == SampleSettings()
    assert SampleSettings.checked(users=8_000).events == 500_000
    assert SampleSettings.checked(events=10_000_000).users == 160_000
    assert SampleSettings.checked(users=4_000, days=75).events == 125_000


@pytest.mark.parametrize(
    "mistake",
    [{"users": 0}, {"items": 29}, {"days": -1}, {"days": 0}, {"events": -5}, {"seed": -1}, {"colour": "red"}],
)
def test_impossible_settings_are_refused_by_name(mistake: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(mistake))):
        SampleSettings.checked(**mistake)


@pytest.mark.parametrize("null", [False, True])
def test_smallest_world_can_be_made(tmp_path: Path, null: bool) -> None:
    summary = make_sample(tmp_path, SampleSettings(users=1, items=30, days=1, events=50, null_world=null))
    assert summary.n_items == 30 and summary.n_users == 1


@pytest.mark.parametrize("which", ["world", "null_world"])
def test_rows_keep_the_rules_of_a_warehouse(which: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(which)
    start, end = MEDIUM.end - timedelta(days=MEDIUM.days), MEDIUM.end
    offending = {
        "outside the period": f"event_ts < TIMESTAMP '{start}' OR event_ts >= TIMESTAMP '{end}'",
        "before the item was published": "event_ts < published_at",
        "after it was withdrawn": "event_ts >= withdrawn_at",
        "of an unknown item": "item_type IS NULL",
        "of an unknown user": "profile.user_id IS NULL",
        "played outside its markets": "NOT list_contains(markets, country)",
        "not of the first ingest": "ingest_id <> 1",
    }
    for what, condition in offending.items():
        rows = (
            "SELECT count(*) FROM interaction_event AS event LEFT JOIN item USING (item_id) "
            f"LEFT JOIN user_profile AS profile USING (user_id) WHERE {condition}"
        )
        assert value(root, rows) == 0, what
    keys = "user_id, item_id, event_type, event_ts"
    twice = f"SELECT count(*) FROM (FROM interaction_event SELECT {keys} GROUP BY ALL HAVING count(*) > 1)"
    assert value(root, twice) == 0


def test_ingest_is_recorded(world: Path) -> None:
    for name in TABLES:
        recorded = f"SELECT n_new FROM ingest_run WHERE table_name = '{name}'"
        assert value(world, recorded) == value(world, f"SELECT count(*) FROM {name}")


def test_truth_stays_out_of_the_warehouse(world: Path) -> None:
    columns = "SELECT DISTINCT column_name FROM information_schema.columns"
    names = set(query(world, columns).column(0).to_pylist())
    assert not names & {"scene", "quality", "popularity", "mood", "rate", "trend"}
    assert {path.name for path in (world / "truth").iterdir()} == {
        "world.json",
        "item.parquet",
        "user.parquet",
        "trend.parquet",
    }


# --- texts -----------------------------------------------------------------------------------------------


def test_texts_are_short_and_of_their_language_and_topic(world: Path) -> None:
    truth = load_truth(world)[0].items
    rows = query(world, "SELECT * FROM item ORDER BY item_id").to_pylist()
    _, _, ids, _ = load_truth(world)
    position = {item_id: i for i, item_id in enumerate(ids.to_pylist())}
    for row in rows:
        i = position[row["item_id"]]
        topic = topics()[truth.scene[i, 0] // SCENES_PER_TOPIC]
        text = f"{row['title']} {row['description']}"
        assert len(text.split()) <= 40 and "{" not in text
        assert any(word.lower() in text.lower() for word in topic.words[row["language"]])
        assert row["genres"][0] in topic.genres
        assert row["creator"]


def test_text_shows_the_scene_only_in_part(world: Path) -> None:
    hidden, _, ids, _ = load_truth(world)
    text = {r["item_id"]: r["description"] for r in query(world, "SELECT * FROM item").to_pylist()}
    own = sister = 0
    for i, item_id in enumerate(ids.to_pylist()):
        scene, language = hidden.items.scene[i, 0], LANGUAGES[hidden.items.language[i]]
        words = topics()[scene // SCENES_PER_TOPIC].words[language][6:]
        for position, word in enumerate(words):
            if word in text[item_id]:
                own += position // 3 == scene % SCENES_PER_TOPIC
                sister += position // 3 != scene % SCENES_PER_TOPIC
    assert 0.4 < own / (own + sister) < 0.65  # 1/3 would say nothing, 1 everything


def test_creators_keep_to_one_topic(world: Path) -> None:
    spread = "SELECT creator, count(DISTINCT genres[1]) FROM item GROUP BY 1 HAVING count(*) > 2"
    topics_of = query(world, spread).column(1).to_numpy()
    assert len(topics_of) > 50 and topics_of.max() == 1


def test_titles_repeat_little_and_some_markets_are_restricted(world: Path) -> None:
    assert value(world, "SELECT count(DISTINCT title) / count(*) FROM item") > 0.9
    assert 0.02 < value(world, "SELECT count(markets) / count(*) FROM item") < 0.12


# --- behaviour -------------------------------------------------------------------------------------------

STREAMS = (
    "SELECT event.*, item_type, language, genres[1] AS genre, published_at FROM interaction_event AS event "
    "JOIN item USING (item_id) WHERE event_type = 'stream'"
)


def test_popularity_is_concentrated(world: Path) -> None:
    counts = query(
        world,
        "SELECT item_id, count(event_type) AS n FROM item LEFT JOIN interaction_event USING (item_id) "
        "WHERE item_type = 'podcast' GROUP BY 1 ORDER BY n DESC",
    )
    n = counts.column("n").to_numpy()
    assert 0.3 < n[: len(n) // 10].sum() / n.sum() < 0.7
    silent = "SELECT count(*) FROM item WHERE item_id NOT IN (SELECT item_id FROM interaction_event)"
    assert 3 <= value(world, silent) <= 0.1 * MEDIUM.items


def test_audiobooks_are_the_sparse_type(world: Path) -> None:
    share = (
        f"SELECT count(DISTINCT user_id) FILTER (item_type = 'audiobook') / count(DISTINCT user_id), "
        f"count(*) FILTER (item_type = 'audiobook') / count(*) FROM ({STREAMS})"
    )
    users, streams = query(world, share).to_pylist()[0].values()
    assert 0.12 < users < 0.22
    assert 0.01 < streams < 0.06


def test_users_listen_in_their_own_language(world: Path) -> None:
    share = (
        "SELECT avg((language = $own)::INT) FROM ({streams}) JOIN user_profile USING (user_id) "
        "WHERE country = $country AND item_type = $type"
    ).replace("{streams}", STREAMS)
    with open_warehouse(world) as warehouse:
        for country, own in (("DE", "de"), ("SE", "sv"), ("MX", "es"), ("GB", "en")):
            assert warehouse.scalar(share, own=own, country=country, type="podcast") > 0.7
            assert 0.4 < warehouse.scalar(share, own=own, country=country, type="music") < 0.85


def answered_share(root: Path) -> float:
    """Share of weak signals that a stream of the same user and item follows within six days, none before."""
    return value(
        root,
        "WITH weak AS (FROM interaction_event WHERE event_type IN ('follow', 'preview', 'intent_to_pay')), "
        "stream AS (SELECT user_id, item_id, min(event_ts) AS first_ts FROM interaction_event "
        "WHERE event_type = 'stream' GROUP BY ALL) "
        "SELECT avg(CASE WHEN first_ts BETWEEN event_ts AND event_ts + INTERVAL 6 DAY THEN 1.0 ELSE 0 END) "
        "FROM weak LEFT JOIN stream USING (user_id, item_id)",
    )


def test_weak_signals_announce_streams(world: Path, null_world: Path) -> None:
    assert 0.3 < answered_share(world) < 0.8  # some never lead to a stream
    assert answered_share(null_world) < 0.05


def test_skips_are_short_and_fall_on_what_does_not_fit(world: Path) -> None:
    seconds = dict(
        query(world, "SELECT event_type, median(seconds_played) FROM interaction_event GROUP BY 1")
        .to_pandas()
        .to_numpy()
    )
    assert seconds["skip"] < 30 < seconds["stream"]
    own_genre = (
        f"WITH heard AS (SELECT DISTINCT user_id, genre FROM ({STREAMS})) "
        "SELECT avg((heard.genre IS NOT NULL)::INT) FROM interaction_event AS event JOIN item USING (item_id) "
        "LEFT JOIN heard ON heard.user_id = event.user_id AND heard.genre = genres[1] WHERE event_type = '{}'"
    )
    # Weak signals are the measure, not streams: a stream's genre is heard by definition.
    assert value(world, own_genre.format("skip")) < 0.75 * value(world, own_genre.format("follow"))


def test_music_is_repeated_most_of_all(world: Path, null_world: Path) -> None:
    repeats = (
        f"SELECT item_type, 1 - count(DISTINCT (user_id, item_id)) / count(*) FROM ({STREAMS}) GROUP BY 1"
    )
    normal = dict(query(world, repeats).to_pandas().to_numpy())
    null = dict(query(null_world, repeats).to_pandas().to_numpy())
    assert normal["music"] > normal["podcast"] > null["podcast"]
    assert normal["music"] > null["music"] + 0.15


def test_items_and_users_arrive_day_by_day_and_new_items_are_fresh(world: Path) -> None:
    start = MEDIUM.end - timedelta(days=MEDIUM.days)
    arrivals = f"SELECT count(DISTINCT published_at::DATE), count(*) FROM item WHERE published_at > '{start}'"
    days, items = query(world, arrivals).to_pylist()[0].values()
    assert days > 0.8 * MEDIUM.days and 0.2 * MEDIUM.items < items < 0.4 * MEDIUM.items
    assert 0.75 < value(world, "SELECT count(published_at) / count(*) FROM item") < 0.85
    first = "SELECT min(event_ts)::DATE AS day FROM interaction_event GROUP BY user_id"
    assert value(world, f"SELECT count(DISTINCT day) FROM ({first})") > 0.9 * MEDIUM.days
    fresh = (
        "SELECT count(*) FILTER (age BETWEEN 0 AND 6) / count(*) FILTER (age BETWEEN 28 AND 34) FROM "
        f"(SELECT date_diff('day', published_at, event_ts) AS age FROM ({STREAMS}) "
        f"WHERE published_at BETWEEN TIMESTAMP '{start}' AND TIMESTAMP '{MEDIUM.end}' - INTERVAL 36 DAY)"
    )
    assert value(world, fresh) > 1.5


def test_days_and_weeks_have_a_rhythm(world: Path) -> None:
    weekend = f"SELECT item_type, avg((isodow(event_ts) >= 6)::INT) * 7 / 2 FROM ({STREAMS}) GROUP BY 1"
    factor = dict(query(world, weekend).to_pandas().to_numpy())
    assert factor["podcast"] < 0.9 and factor["audiobook"] > 1.02
    hours = query(world, f"SELECT hour(event_ts) AS h, count(*) AS n FROM ({STREAMS}) GROUP BY 1")
    assert hours.column("n").to_numpy().max() > 2 * hours.column("n").to_numpy().min()


def user_profiles(root: Path, part: str) -> dict[str, np.ndarray]:
    """Unit genre profile per user of the streams where `part`, users with ten such streams or more."""
    rows = query(root, f"SELECT user_id, genre, count(*) AS n FROM ({STREAMS}) WHERE {part} GROUP BY ALL")
    user, users = np.unique(rows.column("user_id").to_pylist(), return_inverse=True)
    genre, genres = np.unique(rows.column("genre").to_pylist(), return_inverse=True)
    matrix = np.zeros((len(user), 100))
    matrix[users, genres] = rows.column("n").to_numpy()
    enough = matrix.sum(axis=1) >= 10
    matrix = matrix[enough] / np.linalg.norm(matrix[enough], axis=1, keepdims=True)
    assert len(genre) <= 100
    return dict(zip(user[enough], matrix, strict=True))


def mean_similarity(root: Path, one: str, other: str) -> float:
    """Mean cosine of the same users' genre profiles in two parts of their streams."""
    first, second = user_profiles(root, one), user_profiles(root, other)
    both = sorted(first.keys() & second.keys())
    assert len(both) > 100
    return float(np.mean([first[user] @ second[user] for user in both]))


def test_interests_drift(world: Path, null_world: Path) -> None:
    third = timedelta(days=MEDIUM.days / 3)
    early, late = f"event_ts < '{MEDIUM.start + third}'", f"event_ts >= '{MEDIUM.end - third}'"
    odd, even = "hash(event_ts) % 2 = 1", "hash(event_ts) % 2 = 0"
    drift = mean_similarity(world, odd, even) - mean_similarity(world, early, late)
    no_drift = mean_similarity(null_world, odd, even) - mean_similarity(null_world, early, late)
    assert drift > no_drift + 0.05


def scene_lift(root: Path, one: str, other: str) -> float:
    """How much likelier two items of one user are of the same scene than items of two different users.

    Users of one country are compared, so that language does not count as taste. 1 is independence.
    """
    truth, _, ids, _ = load_truth(root)
    scene = pa.table({"item_id": ids, "scene": truth.items.scene[:, 0]})
    pair = (
        "SELECT DISTINCT user_id, item_id, item_type, country, scene FROM interaction_event "
        "JOIN item USING (item_id) JOIN scene USING (item_id) JOIN user_profile USING (user_id) "
        "WHERE event_type = 'stream' AND country IN ('US', 'GB', 'DE', 'FR')"
    )
    same = (
        f"WITH pair AS ({pair}) SELECT avg((a.scene = b.scene)::INT) FROM pair AS a JOIN pair AS b "
        "ON a.country = b.country AND a.item_id <> b.item_id AND {users} "
        "WHERE a.item_type = $one AND b.item_type = $other"
    )
    with open_warehouse(root) as warehouse:
        warehouse.connection.register("scene", scene)
        own = warehouse.scalar(same.format(users="a.user_id = b.user_id"), one=one, other=other)
        # A tenth of the pairs of different users is plenty.
        different = "a.user_id <> b.user_id AND hash(a.user_id, b.user_id) % 10 = 0"
        return own / warehouse.scalar(same.format(users=different), one=one, other=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("podcast", "podcast"), ("podcast", "music"), ("music", "audiobook"), ("podcast", "audiobook")],
)
def test_co_interactions_tell_of_scenes_in_the_normal_world_alone(
    world: Path, null_world: Path, one: str, other: str
) -> None:
    assert scene_lift(world, one, other) > 1.7
    assert scene_lift(null_world, one, other) == pytest.approx(1, abs=0.12)


# --- the oracle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [False, True])
def test_drawn_choices_follow_the_written_formula(null: bool) -> None:
    """The fast sampler against the dense formula, for one user and a day in the middle."""
    made = draw_world(TINY.model_copy(update={"null_world": null}))
    day, n = 10, 300_000
    user = int(np.flatnonzero(made.users.rate.all(axis=1))[0])  # one who uses all types
    chooser = Chooser(made)
    offer = chooser.offer(day)
    rates = choice_rates(made, np.array([user]), day)[0]
    for kind in range(3):
        drawn = chooser.choose(np.random.default_rng(0), offer, kind, np.full(n, user))
        found = np.bincount(drawn, minlength=TINY.items) / n
        open_to_user = (made.items.market < 0) & (made.items.kind == kind)
        expected = rates[open_to_user] / rates[open_to_user].sum()
        found = found[open_to_user] / found[open_to_user].sum()
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / n))


def hit_rates(root: Path, as_of: datetime, days: int) -> tuple[float, float]:
    """HR@10 of the oracle and of the last 14 days' popularity at the next days' new streams."""
    until = as_of + timedelta(days=days)
    pair = "SELECT DISTINCT user_id, item_id FROM interaction_event WHERE event_type = 'stream' AND event_ts"
    seen_sql, later_sql = f"{pair} < '{as_of}'", f"{pair} >= '{as_of}' AND event_ts < '{until}'"
    new = query(root, f"({later_sql}) EXCEPT ({seen_sql}) ORDER BY ALL")
    users = sorted(set(new.column("user_id").to_pylist()))
    items, oracle = true_scores(root, users, as_of)
    row, column = {u: i for i, u in enumerate(users)}, {item: i for i, item in enumerate(items)}

    def mark(pairs: pa.Table) -> np.ndarray:
        matrix = np.zeros(oracle.shape, bool)
        known = [(row[u], column[i]) for u, i in zip(*pairs.to_pydict().values(), strict=True) if u in row]
        matrix[tuple(np.array(known).T)] = True
        return matrix

    seen, target = mark(query(root, seen_sql)), mark(new)
    recent = f"event_ts >= '{as_of - timedelta(days=14)}' AND event_ts < '{as_of}'"
    counts = query(root, f"SELECT item_id, count(*) FROM ({STREAMS}) WHERE {recent} GROUP BY 1")
    popularity = np.zeros(len(items))
    for item, n in zip(*(c.to_pylist() for c in counts.columns), strict=True):
        popularity[column[item]] = n

    def hit_rate(scores: np.ndarray) -> float:
        top = np.argsort(-np.where(seen, -1.0, scores), axis=1, kind="stable")[:, :10]
        return float(np.take_along_axis(target, top, axis=1).any(axis=1).mean())

    return hit_rate(oracle), hit_rate(np.broadcast_to(popularity, oracle.shape))


def test_oracle_beats_popularity_in_the_normal_world_alone(world: Path, null_world: Path) -> None:
    as_of = MEDIUM.end - timedelta(days=10)
    oracle, popular = hit_rates(world, as_of, days=7)
    assert oracle > 2 * popular > 0.1
    oracle, popular = hit_rates(null_world, as_of, days=7)
    assert oracle < 1.15 * popular  # no more than knowing today's freshness is worth


def test_everybody_has_one_ranking_in_the_null_world(null_world: Path) -> None:
    items, scores = true_scores(null_world, ["user-0001", "user-0900"], MEDIUM.end)
    np.testing.assert_allclose(scores[0] / scores[0].sum(), scores[1] / scores[1].sum())
    assert len(items) == MEDIUM.items


def test_truth_survives_its_files(world: Path) -> None:
    loaded, settings, _, _ = load_truth(world)
    drawn = draw_world(MEDIUM)
    user = np.arange(5)
    assert settings == MEDIUM
    np.testing.assert_array_equal(choice_rates(loaded, user, 30), choice_rates(drawn, user, 30))


def test_true_scores_refuse_strangers_and_worlds_that_are_not_made(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody"):
        true_scores(world, ["user-0001", "nobody"], MEDIUM.end)
    with rewrite_warehouse(tmp_path):
        pass
    with pytest.raises(UsageError, match="no truth"):
        true_scores(tmp_path, ["user-0001"], MEDIUM.end)
    (tmp_path / "truth").symlink_to(world / "truth")
    with pytest.raises(UsageError, match="another warehouse"):
        true_scores(tmp_path, ["user-0001"], MEDIUM.end)


# --- all or nothing --------------------------------------------------------------------------------------


def test_filled_warehouse_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    make_sample(tmp_path, TINY)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="not empty"):
        make_sample(tmp_path, TINY.model_copy(update={"seed": 5}))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_warehouse_without_rows_is_filled(tmp_path: Path) -> None:
    with rewrite_warehouse(tmp_path):
        pass
    make_sample(tmp_path, TINY)
    assert value(tmp_path, "SELECT count(*) FROM interaction_event") > 0


@pytest.mark.parametrize("step", ["draw_world", "save_truth", "_summary"])
def test_run_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    original: Callable[..., object] = getattr(fill, step)

    def fail(*args: object) -> None:
        original(*args)
        raise RuntimeError("power cut")

    monkeypatch.setattr(fill, step, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        make_sample(tmp_path, TINY)
    assert {path.name for path in tmp_path.iterdir()} <= {".ingest.lock"}


def test_the_truth_says_whom_it_knows(world: Path) -> None:
    _, _, items, users = load_truth(world)
    assert knows(world, users.to_pylist()[:3], items.to_pylist())
    assert not knows(world, ["somebody"], items.to_pylist())
    assert not knows(world, users.to_pylist(), ["something"])


def test_a_truth_beside_another_warehouse_knows_nobody(world: Path, tmp_path: Path) -> None:
    make_sample(tmp_path / "other", TINY.model_copy(update={"seed": 9}))
    _, _, items, users = load_truth(world)
    shutil.rmtree(tmp_path / "other" / "truth")
    shutil.copytree(world / "truth", tmp_path / "other" / "truth")
    assert not knows(tmp_path / "other", users.to_pylist(), items.to_pylist())
