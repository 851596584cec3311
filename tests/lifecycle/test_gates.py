"""Gates: what is worse beyond doubt is not published, what cannot be compared is."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from clones import clone, plain_versions
from worlds import AS_OF, Recorder, ago, catalogue, make_warehouse, stream

from gfm_store import progress
from gfm_store.config import Config, GateConfig
from gfm_store.dynamic_layer.blend import Blend
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.errors import GateError, NotPublishedError
from gfm_store.lifecycle import gates, refresh
from gfm_store.lifecycle.checks import check_coverage, check_written, search_recall
from gfm_store.lifecycle.comparison import compare
from gfm_store.lifecycle.forgetting import forget_user
from gfm_store.lifecycle.gates import refusal
from gfm_store.lifecycle.refresh import refresh_dynamic, refresh_static
from gfm_store.lifecycle.refused import publish_refused
from gfm_store.lifecycle.versions import read_versions, refused_record, roll_back
from gfm_store.static_layer.encoder import Embedded
from gfm_store.vectors.publication import dynamic_folder, published_folder
from gfm_store.vectors.static_version import current_static, static_folder
from gfm_store.vectors.version import DynamicRecord, Estimate, HeldOut
from gfm_store.warehouse.connection import newest_event, open_warehouse, rewrite_warehouse
from jobs import refresh_dynamic as refresh_job
from jobs import versions as versions_job


def changed(config: Config, **sections) -> Config:
    """The same settings but for some."""
    values = config.model_dump()
    for section, settings in sections.items():
        values[section] = values[section] | settings if isinstance(settings, dict) else settings
    return Config.model_validate(values)


@pytest.fixture
def bad(quick) -> Config:
    """A recipe that learns nothing and has no blend to save it."""
    tower = {"learning_rate": 1e-12, "scalar_learning_rate": 1e-12, "popularity_windows_days": []}
    return changed(quick, blend={"enabled": False}, two_tower=tower)


def test_a_first_version_is_published_whatever_it_is(world, bad, tmp_path):
    with open_warehouse(world) as warehouse:
        events = warehouse.execute(
            "SELECT user_id, item_id, event_type, event_ts FROM interaction_event"
        ).fetchall()
        items = warehouse.arrow("SELECT item_id, item_type, title FROM item").to_pylist()
    root = make_warehouse(tmp_path / "other", items, events)
    recorder = Recorder()
    with progress.reporting(recorder):
        record = refresh_dynamic(root, bad)
    assert plain_versions(root) == {record.version}
    assert record.held_out.served is None
    assert record.held_out.over_popularity.high < 0
    assert any("ranked worse than by popularity" in text for text in recorder.said)


def test_a_recipe_that_is_worse_beyond_doubt_is_refused(world, bad):
    served = plain_versions(world)
    with pytest.raises(
        GateError, match=r"d-\w+ is not published: it ranks the last 7 days worse than d-\w+, which"
    ):
        refresh_dynamic(world, bad)
    assert plain_versions(world) == served
    record = refused_record(world)
    assert record.held_out.served in served
    assert record.held_out.over_served.high < 0
    assert record.held_out.ndcg.value < record.held_out.served_ndcg.value
    assert record.follows in served


def test_the_job_exits_with_3_and_force_publishes(world, bad, tmp_path, capsys, monkeypatch):
    settings = tmp_path / "gfm.toml"
    settings.write_text(
        "threads = 2\n[text]\nmax_tokens = 32\n[blend]\nenabled = false\n[two_tower]\nlayers = [64, 32]\n"
        "max_epochs = 3\nmin_pairs = 1000\nmin_validation_pairs = 100\nlearning_rate = 1e-12\n"
        "scalar_learning_rate = 1e-12\npopularity_windows_days = []\n",
        encoding="utf-8",
    )
    served = plain_versions(world)
    for _ in range(2):  # the second time nothing is fitted
        assert refresh_job.main(["--warehouse", str(world), "--config", str(settings)]) == 3
        shown = capsys.readouterr()
        assert "which is served: NDCG@10" in shown.err
        assert shown.err.count("\n") == 1
        monkeypatch.setattr(refresh, "fit_dynamic", None)
    refused = refused_record(world).version
    assert versions_job.main(["publish", refused, "--warehouse", str(world)]) == 3
    assert plain_versions(world) == served
    assert versions_job.main(["list", "--warehouse", str(world)]) == 0
    assert f"x  {refused}" in capsys.readouterr().out
    assert versions_job.main(["show", refused, "--warehouse", str(world)]) == 0
    assert "refused: it ranks" in capsys.readouterr().out
    found = compare(world, served.copy().pop(), refused)
    assert found.list_overlap < 1
    assert versions_job.main(["publish", refused, "--force", "--warehouse", str(world)]) == 0
    assert plain_versions(world) == {refused}
    assert refused_record(world) is None
    roll_back(world)
    assert plain_versions(world) == served


def test_the_served_recipe_is_asked_as_it_was_fitted_then(world, quick):
    """The same recipe a day later: both are asked about the same days, by models that end before them."""
    first = read_versions(world)[0].record
    with rewrite_warehouse(world) as warehouse:
        warehouse.execute(
            "INSERT INTO interaction_event SELECT user_id, item_id, event_type, event_ts + INTERVAL 1 DAY, NULL, 2 "
            "FROM interaction_event WHERE event_ts > $ts",
            {"ts": first.as_of - timedelta(days=1)},
        )
    record = refresh_dynamic(world, quick)
    held = record.held_out
    assert held.served == first.version
    assert first.held_out.start < held.start == record.as_of - timedelta(days=held.days)
    assert held.n_users > 50
    assert held.over_served.low <= held.ndcg.value - held.served_ndcg.value <= held.over_served.high
    assert held.over_served.value == pytest.approx(held.ndcg.value - held.served_ndcg.value)
    assert record.refused is None


def test_both_recipes_read_vectors_by_weights_that_have_not_seen_the_last_days(world, quick, monkeypatch):
    """Early vectors point along the axis of their moment here, whole ones away from it."""
    first = read_versions(world)[0].record
    entrants, ndcg = [], gates.LastDays.ndcg

    def planted(layer, moment):
        vectors = np.zeros((len(layer.text), 32), dtype=np.float32)
        vectors[:, (first.as_of - moment).days % 32] = 1
        return Embedded(-vectors, vectors)

    monkeypatch.setattr(gates.FrozenLayer, "vectors_at", planted)
    monkeypatch.setattr(
        gates.LastDays, "ndcg", lambda days, one: entrants.append(one.vectors) or ndcg(days, one)
    )
    settings = {"blend": {"steps": 1}, "gates": {"min_users": 1_000_000}}
    record = refresh_dynamic(world, changed(quick, **settings))
    assert record.held_out.served == first.version
    assert len(entrants) == 2  # the new one, then the served one
    for vectors in entrants:
        assert (vectors[:, record.held_out.days] == 1).all()


def test_weights_that_have_seen_the_last_days_are_not_asked(world, quick):
    static = current_static(world)
    assert static.seen_until == read_versions(world)[0].record.held_out.start
    static.model_copy(update={"seen_until": static.as_of}).write(static_folder(world, static.version))
    record = refresh_dynamic(world, changed(quick, seed=7))
    assert record.static_version == static.version
    assert f"flattered: the HGNN weights of {static.version} have seen days" in record.held_out.note
    assert record.held_out.served is None


def test_an_earlier_moment_is_not_compared(world, quick):
    with open_warehouse(world) as warehouse:
        as_of = newest_event(warehouse) - timedelta(days=5)
    refresh_static(world, quick, as_of)
    record = refresh_dynamic(world, quick, as_of)
    assert record.held_out.served is None
    assert "it has seen the days from" in record.held_out.note
    assert plain_versions(world) == {record.version}


def test_a_damaged_model_of_the_served_version_does_not_block(world, quick):
    served = plain_versions(world).pop()
    (dynamic_folder(world, served) / gates.EARLY / "blend.safetensors").write_bytes(b"torn")
    record = refresh_dynamic(world, changed(quick, seed=5))
    assert "its model cannot be asked" in record.held_out.note
    assert plain_versions(world) == {record.version}


def test_a_served_version_that_reads_other_inputs_does_not_block(world, quick):
    """As one does that an earlier program made, whose items had a feature less."""
    served = plain_versions(world).pop()
    record = DynamicRecord.read(published_folder(world))
    package = "0.0.9+" + "0" * 12
    origin = record.origin.model_copy(update={"package": package})
    record.model_copy(update={"origin": origin}).write(published_folder(world))
    folder = dynamic_folder(world, served) / gates.EARLY
    model = DynamicModel.load(folder)
    sizes = replace(model.blended.blend.sizes, num_features=model.blended.blend.sizes.num_features - 1)
    replace(model, blended=replace(model.blended, blend=Blend(sizes).eval())).save(folder)
    new = refresh_dynamic(world, changed(quick, seed=5))
    assert f"not compared with {served}: its model cannot be asked" in new.held_out.note
    assert new.held_out.note.endswith(f"it was made by {package}")
    assert plain_versions(world) == {new.version}


def test_too_little_data_does_not_block(tmp_path, quick):
    events = [stream(f"u{i % 4}", f"p{i % 5}", 20 - i) for i in range(19)]
    root = make_warehouse(tmp_path, catalogue(*[f"p{i}" for i in range(5)]), events)
    first = refresh_dynamic(root, quick, ago(3))
    second = refresh_dynamic(root, changed(quick, seed=3), AS_OF)
    assert plain_versions(root) == {second.version}
    assert first.version != second.version
    only = make_warehouse(tmp_path / "one", catalogue("p1"), [stream("u", "p1", 1)])
    record = refresh_dynamic(only, quick)
    assert record.held_out is None
    assert refresh_dynamic(only, changed(quick, seed=3)).held_out is None


def held(low, high, n_users=100):
    """A comparison whose difference lies between low and high."""
    one = Estimate(value=0.1, low=0.1, high=0.1)
    return HeldOut(
        days=7,
        start=datetime(2026, 1, 1),
        n_users=n_users,
        ndcg=one,
        popularity_ndcg=one,
        over_popularity=one,
        served="d-1",
        served_ndcg=one,
        over_served=Estimate(value=(low + high) / 2, low=low, high=high),
    )


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        (held(-0.02, -0.001), True),
        (held(-0.02, 0.001), False),
        (held(0.001, 0.02), False),
        (held(-0.02, -0.001, n_users=49), False),
        (None, False),
        (held(-0.02, -0.001).model_copy(update={"over_served": None}), False),
    ],
)
def test_doubt_is_in_favour_of_the_new_version(found, refused):
    assert bool(refusal(found, GateConfig())) is refused


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    found = gates._estimate(values, GateConfig(confidence=0.95))
    half = 1.96 * values.std() / 20
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    constant = gates._estimate(np.ones(5), GateConfig())
    assert (constant.low, constant.high) == (1, 1)


def test_audits_of_what_was_written(world):
    folder = published_folder(world)
    record = read_versions(world)[0].record
    check_written(folder, record)
    assert search_recall(folder) == 1
    clone(world, "d-twins", stretch=0)  # any item is as good as another
    assert search_recall(published_folder(world)) == 1
    for broken, message in (
        ({"n_items": 3}, "retrieval holds 148 rows, not 3"),
        ({"version": "d-x"}, "holds rows of other versions"),
    ):
        with pytest.raises(GateError, match=message):
            check_written(folder, record.model_copy(update=broken))


def test_a_failed_audit_leaves_readers_where_they_are(world, quick, monkeypatch):
    served = plain_versions(world)
    monkeypatch.setattr(
        refresh, "check_written", lambda folder, record: (_ for _ in ()).throw(GateError("no"))
    )
    with pytest.raises(GateError):
        refresh_dynamic(world, changed(quick, seed=4))
    assert plain_versions(world) == served
    assert not list((world / "publications").glob("*.partial"))


def test_coverage():
    item_node = pa.table({"item_id": ["a", "b", "c"], "is_available": [True, True, False]})
    retrieval, users = pa.table({"item_id": ["a", "b"]}), pa.table({"user_id": ["u"]})
    history = type(
        "History",
        (),
        {
            "as_of": AS_OF,
            "history_days": 10,
            "user_event": pa.table({"user_index": [0, 0, 1], "event_ts": [ago(1), ago(2), ago(11)]}),
        },
    )
    check_coverage(retrieval, item_node, users, history)
    with pytest.raises(GateError, match="1 available items are not in retrieval"):
        check_coverage(retrieval.slice(0, 1), item_node, users, history)
    with pytest.raises(GateError, match="1 users with a history lack a vector"):
        check_coverage(retrieval, item_node, users.slice(0, 0), history)


def test_a_refused_version_forgets_users_too(world, bad, quick):
    with pytest.raises(GateError):
        refresh_dynamic(world, bad)
    with open_warehouse(world) as warehouse:
        user = warehouse.scalar("SELECT min(user_id) FROM interaction_event")
    refused = refused_record(world)
    forget_user(world, user, quick)
    assert refused_record(world) is None
    with pytest.raises(NotPublishedError, match=r"is not kept in .* any more"):
        publish_refused(world, refused, 5, force=True)


def test_a_refused_version_takes_over_from_what_is_served_when_it_is_published(world, bad):
    before = clone(world, "d-b").follows
    with pytest.raises(GateError):
        refresh_dynamic(world, bad)
    refused = refused_record(world)
    assert refused.follows == "d-b"
    roll_back(world)
    publish_refused(world, refused, 2, force=True)
    assert [one.record.version for one in read_versions(world)] == [before, refused.version]
    assert roll_back(world).version == before


def test_another_refused_version_takes_the_place(world, bad):
    for seed in (1, 2):
        with pytest.raises(GateError):
            refresh_dynamic(world, changed(bad, seed=seed))
    assert len(list((world / "refused").iterdir())) == 1
    publish_refused(world, refused_record(world), 5, force=True)
    assert not (world / "refused").exists()
