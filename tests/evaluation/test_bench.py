"""Figures of a bench against direct computation; an interrupted run goes on."""

from dataclasses import replace
from datetime import timedelta
from math import log2

import numpy as np
import pytest
from conftest import QUICK
from worlds import (
    AS_OF,
    MADE_DAYS,
    Recorder,
    add_events,
    ago,
    catalogue,
    made_world,
    make_warehouse,
    stream,
    text_vectors,
)

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.errors import UsageError
from gfm_store.evaluation import run as run_module
from gfm_store.evaluation.ablations import ABLATIONS
from gfm_store.evaluation.baselines import Popularity, SentenceVectors
from gfm_store.evaluation.bench import Bench
from gfm_store.evaluation.metrics import COVERAGE, METRICS, NOVELTY, TAIL, Estimate, Sample
from gfm_store.evaluation.model import NO_GRAPH, NOTHING
from gfm_store.evaluation.parts import Part, Parts
from gfm_store.evaluation.protocols import leave_one_out, temporal
from gfm_store.evaluation.result import MODEL, Series
from gfm_store.evaluation.run import Run
from gfm_store.warehouse.connection import open_warehouse

CONFIG = Config.model_validate(QUICK | {"threads": 1, "device": "cpu"})


def bench_on(warehouse, as_of=AS_OF, horizon_days=14, config=CONFIG):
    return Bench(
        warehouse,
        config,
        text_vectors,
        Parts(warehouse.root),
        temporal(warehouse, as_of, horizon_days, text_vectors),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bench on the made world, with the lists of two systems: text stands for the model, and popularity."""
    root = tmp_path_factory.mktemp("bench") / "warehouse"
    as_of = made_world(root)
    with open_warehouse(root) as warehouse:
        bench = bench_on(warehouse, as_of, MADE_DAYS)
        lists = {
            MODEL: bench.rank(SentenceVectors(30.0).fit(bench.split)),
            "popular": bench.rank(Popularity(30).fit(bench.split)),
        }
        yield bench, lists, bench.figures({name: [one] for name, one in lists.items()})


def figure(figures, system, view, metric):
    found = [one for one in figures if (one.system, one.view, one.metric) == (system, view, metric)]
    assert len(found) == 1
    return found[0]


def plain_figures(bench, view, lists):
    """Every metric of a view in plain Python, and how many users it is made of."""
    split = bench.split
    wanted = {}
    for user, node in zip(split.target_user[view.target], split.target_node[view.target], strict=True):
        wanted.setdefault(int(user), set()).add(int(node))
    streamed = (split.streams.toarray() > 0).sum(axis=0)
    total, before, tail = streamed.sum(), 0, set()
    for node in sorted(range(len(streamed)), key=lambda node: (-streamed[node], node)):
        if before >= 0.8 * total and split.warm[node]:
            tail.add(node)
        before += streamed[node]
    hits, hitters, rows = (
        [],
        set(),
        {name: [] for name in ("HR@10", "NDCG@10", "Recall@50", "HR@50", "MRR@100")},
    )
    novelty, covered = [], set()
    for user, items in wanted.items():
        row = [node for node in lists[view.candidates][user].tolist() if node >= 0]
        places = [row.index(node) + 1 for node in items if node in row]
        rows["HR@10"].append(any(place <= 10 for place in places))
        rows["HR@50"].append(any(place <= 50 for place in places))
        rows["Recall@50"].append(sum(place <= 50 for place in places) / len(items))
        rows["MRR@100"].append(1 / min(places) if places and min(places) <= 100 else 0)
        gain = sum(1 / log2(place + 1) for place in places if place <= 10)
        rows["NDCG@10"].append(gain / sum(1 / log2(i + 2) for i in range(min(len(items), 10))))
        mine = [node in tail for node in row[:10] if node in items]
        hits += mine
        hitters |= {user} if mine else set()
        novelty += [-log2((streamed[node] + 1) / (split.streams.shape[0] + 1)) for node in row[:10]]
        covered |= set(row[:10])
    (candidates,) = [one.nodes.sum() for one in bench.sets if one.name == view.candidates]
    found = {name: (np.mean(values), len(wanted)) for name, values in rows.items()}
    return found | {
        TAIL: (np.mean(hits) if hits else None, len(hitters)),
        NOVELTY: (np.mean(novelty), len(wanted)),
        COVERAGE: (len(covered) / candidates, np.inf),
    }


def test_figures_are_those_of_plain_python(made):
    bench, lists, figures = made
    measured = 0
    for view in bench.views:
        if not view.target.any():
            continue
        with_coverage = view.name == "headline" or view.name.startswith("type:")
        for system in lists:
            expected = plain_figures(bench, view, lists[system])
            if not with_coverage:
                del expected[COVERAGE]
            found = {one.metric: one for one in figures if (one.system, one.view) == (system, view.name)}
            assert set(found) == set(expected)
            for name, (value, num_users) in expected.items():
                if num_users <= 2:  # a tenth of the resamples or more, about exp(-2), hold nobody
                    assert found[name].estimate is None, (view.name, name)
                else:
                    assert found[name].estimate.value == pytest.approx(value, rel=1e-5), (view.name, name)
                    measured += 1
    assert measured > 150


def test_every_comparison_is_of_the_model_with_another_on_the_same_users(made):
    bench, _, figures = made
    for name in METRICS:
        model, popular = (figure(figures, system, "headline", name) for system in (MODEL, "popular"))
        assert model.difference is None and model.ratio is None
        if popular.estimate and model.estimate:
            gap = model.estimate.value - popular.estimate.value
            assert popular.difference.value == pytest.approx(gap)
            assert popular.difference.low <= gap <= popular.difference.high
            if popular.ratio:
                assert popular.ratio.value == pytest.approx(model.estimate.value / popular.estimate.value)
    assert figure(figures, "popular", "headline", "NDCG@10").ratio.value > 0
    assert len(bench.views[0].users(bench.split)) > 30


def test_a_system_beside_itself_differs_by_exactly_nothing(made):
    bench, lists, _ = made
    figures = bench.figures({MODEL: [lists[MODEL]], "same": [lists[MODEL]]})
    for name in METRICS:
        same = figure(figures, "same", "headline", name)
        assert same.difference == Estimate(0, 0, 0)
        assert same.ratio == Estimate(1, 1, 1)


def test_a_system_that_did_not_rank_a_view_has_no_figures_there(made):
    bench, lists, _ = made
    few = {name: ranked for name, ranked in lists["popular"].items() if name == "type:music"}
    figures = bench.figures({MODEL: [lists[MODEL]], "few": [few]})
    empty, there = (figure(figures, "few", view, "HR@10") for view in ("headline", "type:music"))
    assert (empty.estimate, empty.difference, empty.ratio) == (None, None, None)
    assert there.estimate is not None and there.difference is not None
    assert (bench.has_headline(few), bench.has_headline(lists[MODEL])) == (False, True)
    assert bench.headline(few) == 0


def test_the_headline_is_what_the_tuning_goes_by(made):
    bench, lists, figures = made
    for system, ranked in lists.items():
        found = figure(figures, system, "headline", "NDCG@10").estimate.value
        assert bench.headline(ranked) == pytest.approx(found)
    by_chance = np.random.default_rng(0).random((len(bench.split.user_id), bench.split.item.num_rows))
    short = bench.rank(lambda users: by_chance[users], only=bench.is_headline, k=10)
    assert list(short) == ["available"]
    assert short["available"].shape[1] == 10
    assert bench.headline(short) == pytest.approx(bench.headline(bench.rank(lambda users: by_chance[users])))


def test_those_are_ranked_who_are_asked_for(made):
    bench, lists, _ = made
    for one in bench.sets:
        asked = {
            int(user)
            for view in bench.views
            if view.candidates == one.name
            for user in view.users(bench.split)
        }
        ranked = lists[MODEL][one.name]
        assert set((ranked[:, :1] >= 0).nonzero()[0].tolist()) <= asked
        if one.name == "available":
            assert set((ranked[:, 0] >= 0).nonzero()[0].tolist()) == asked


def test_summaries_count_users_targets_and_candidates(made):
    bench, _, _ = made
    split = bench.split
    for summary, view in zip(bench.summaries(), bench.views, strict=True):
        assert (summary.name, summary.title, summary.about) == (view.name, view.title, view.about)
        assert summary.num_targets == view.target.sum()
        assert summary.num_users == len(set(split.target_user[view.target].tolist()))
    by_name = {one.name: one for one in bench.summaries()}
    assert by_name["headline"].num_candidates == split.available.sum()
    assert by_name["cold"].num_candidates == (split.available & ~split.warm).sum()


LOO_ITEMS = catalogue(*[f"p{i}" for i in range(6)], "b0", "b1")
LOO_EVENTS = [
    stream(f"u{u}", item, 20 - u - i / 10)
    for u in range(5)
    for i, item in enumerate(("b0", f"p{u}", f"p{u + 1}"))
]


def test_coverage_of_candidates_of_ones_own_is_a_share_of_all_that_were_drawn(tmp_path):
    make_warehouse(tmp_path, LOO_ITEMS, LOO_EVENTS)
    with open_warehouse(tmp_path) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        bench = Bench(warehouse, CONFIG, text_vectors, Parts(tmp_path), division)
        lists = bench.rank(Popularity(np.inf).fit(bench.split))
        figures = bench.figures({MODEL: [lists]})
        assert {row["item_id"] for row in bench.split.item.to_pylist()} >= {f"p{i}" for i in range(6)}
        # All six podcasts stand among somebody's first ten, and no more were drawn.
        assert figure(figures, MODEL, "type:podcast", COVERAGE).estimate.value == 1
        assert bench.summaries()[0].num_candidates == 6


def test_leave_one_out_is_measured_by_hand(tmp_path):
    make_warehouse(tmp_path, LOO_ITEMS, LOO_EVENTS)
    with open_warehouse(tmp_path) as warehouse, leave_one_out(warehouse, text_vectors, 0) as division:
        bench = Bench(warehouse, CONFIG, text_vectors, Parts(tmp_path), division)

        def by_name(users):
            return np.tile(np.arange(bench.split.item.num_rows, dtype=np.float32), (len(users), 1))

        figures = bench.figures({MODEL: [bench.rank(by_name)]})
    # u0 ... u4 left p1 ... p5 out, had streamed p0 ... p4, and p5 stands first in everybody's list.
    places = [5, 4, 3, 2, 1]
    assert figure(figures, MODEL, "headline", "HR@10").estimate.value == 1
    found = figure(figures, MODEL, "headline", "MRR@100").estimate.value
    # Of the podcasts above one's target, one's own is not among: it stands below.
    assert found == pytest.approx(np.mean([1 / place for place in places]))


# What is kept, and what it follows from.


@pytest.fixture
def small(tmp_path):
    events = [stream(f"u{u}", f"p{(u + i) % 8}", 60 - u - 9 * i) for u in range(12) for i in range(5)]
    events += [stream(f"u{u}", f"p{(u + 6) % 8}", -3) for u in range(12)]
    items = [row for i in range(8) for row in catalogue(f"p{i}", title=f"Of p{i}")]
    return make_warehouse(tmp_path, [*items, *catalogue("p8", "b0")], events)


def identity(root, as_of=AS_OF, horizon_days=14, config=CONFIG):
    with open_warehouse(root) as warehouse:
        return bench_on(warehouse, as_of, horizon_days, config).identity


def test_the_identity_of_a_bench_is_that_of_its_inputs(small):
    one = identity(small)
    assert identity(small) == one
    serving = CONFIG.model_copy(update={"serving": CONFIG.serving.model_copy()})
    assert identity(small, config=serving) == one
    others = [
        identity(small, as_of=AS_OF - timedelta(microseconds=1)),
        identity(small, horizon_days=13),
        identity(small, config=CONFIG.model_copy(update={"seed": 1})),
        identity(small, config=CONFIG.model_copy(update={"threads": 2})),
        identity(
            small,
            config=CONFIG.model_copy(update={"blend": CONFIG.blend.model_copy(update={"steps": 7})}),
        ),
        identity(
            small,
            config=CONFIG.model_copy(
                update={"two_tower": CONFIG.two_tower.model_copy(update={"dropout": 0.5})}
            ),
        ),
    ]
    add_events(small, [stream("u0", "b0", -5)])
    others.append(identity(small))  # another target
    add_events(small, [("u0", "p1", "skip", ago(2))])
    others.append(identity(small))  # no stream, but the model reads it
    assert len({repr(other) for other in [one, *others]}) == 1 + len(others)


def test_another_cut_has_a_split_of_its_own(small):
    with open_warehouse(small) as warehouse:
        bench = bench_on(warehouse)
        assert len(bench.bootstrap._times[0]) == 12
        earlier = bench.at(ago(20))
        assert earlier.split.as_of == ago(20)
        assert earlier.split.horizon_days == 14
        assert earlier.identity != bench.identity
        assert len(earlier.bootstrap._times[0]) == len(earlier.split.user_id)
        with pytest.raises(UsageError, match="Nobody newly streams"):
            bench.at(ago(-13))


def counting(monkeypatch, name, fail_at=None):
    """Counts the calls of a function of `run`; that number of them is interrupted."""
    whole, calls = getattr(run_module, name), []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(run_module, name, counted)
    return calls


def evaluate_three(root):
    """Three systems, one after another, in a process of their own as it were."""
    with open_warehouse(root) as warehouse:
        run = Run(bench_on(warehouse), None)
        static = run.static(NOTHING)
        run.add_model(MODEL, "model", "Whole.", static, NOTHING)
        run.add(
            run.bench.part(
                lambda: Part(run.bench.rank(Popularity(3).fit(run.bench.split))),
                step="baseline",
                system="popular",
            ),
            "popular",
            "baseline",
            "Popular.",
        )
        run.add_model("without", "ablation", "No graph.", run.static(NO_GRAPH), NO_GRAPH)
        return run


def test_an_interrupted_run_goes_on_where_it_was(small, monkeypatch):
    static, space = counting(monkeypatch, "fit_static_at"), counting(monkeypatch, "fit_space", fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate_three(small)
    assert (len(static), len(space)) == (2, 2)
    recorder = Recorder()
    with progress.reporting(recorder):
        resumed = evaluate_three(small)
    # Both static layers and the first model are there; the second model is fitted again.
    assert (len(static), len(space)) == (2, 3)
    assert [(one.name, one.reused) for one in resumed.systems] == [
        (MODEL, True), ("popular", True), ("without", False)
    ]  # fmt: skip
    assert [("finished before" in line) for line in recorder.said if "NDCG@10" in line] == [
        True,
        True,
        False,
    ]
    again = evaluate_three(small)
    assert (len(static), len(space)) == (2, 3)
    assert all(one.reused for one in again.systems)
    for name, (lists,) in resumed.lists.items():
        for candidates, ranked in lists.items():
            np.testing.assert_array_equal(again.lists[name][0][candidates], ranked)


def test_a_model_under_two_names_is_fitted_once(small, monkeypatch):
    evaluate_three(small)
    static, space = counting(monkeypatch, "fit_static_at"), counting(monkeypatch, "fit_space")
    with open_warehouse(small) as warehouse:
        run = Run(bench_on(warehouse), None)
        run.add_model("a baseline", "baseline", "No graph.", run.static(NO_GRAPH), NO_GRAPH)
    assert (len(static), len(space)) == (0, 0)
    np.testing.assert_array_equal(
        run.lists["a baseline"][0]["available"], evaluate_three(small).lists["without"][0]["available"]
    )


def test_every_ablation_is_kept_apart_from_the_others_and_from_the_whole_model():
    names = [NOTHING.name, *(one.change.name for one in ABLATIONS)]
    assert len(set(names)) == len(names) == len({one.name for one in ABLATIONS}) + 1


def test_what_goes_on_gives_what_an_uninterrupted_run_gives(small, tmp_path_factory, monkeypatch):
    copy = tmp_path_factory.mktemp("copy")
    (copy / "gfm.duckdb").write_bytes((small / "gfm.duckdb").read_bytes())
    counting(monkeypatch, "fit_space", fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate_three(small)
    monkeypatch.undo()
    resumed, whole = evaluate_three(small), evaluate_three(copy)
    assert [one.curves for one in resumed.systems] == [one.curves for one in whole.systems]
    assert resumed.bench.figures(resumed.lists) == whole.bench.figures(whole.lists)


def test_with_further_seeds_only_what_is_ours_is_fitted_again_and_figures_are_means(small):
    with open_warehouse(small) as warehouse:
        run = Run(bench_on(warehouse), None)
        first, other = run.bench, run.bench.seeded(run.bench.config.seed + 1)
        for bench in (first, other):
            run.bench = bench
            static = run.static(NOTHING)
            run.add_model(MODEL, "model", "Whole.", static, NOTHING)
        popular = first.rank(Popularity(3).fit(first.split))
        alone = [first.figures({MODEL: [lists]}) for lists in run.lists[MODEL]]
        both = first.figures({MODEL: run.lists[MODEL], "popular": [popular]})
    assert [one.name for one in run.systems] == [MODEL]
    assert not np.array_equal(*(lists["available"] for lists in run.lists[MODEL]))
    for metric in METRICS:
        values = [figure(figures, MODEL, "headline", metric).estimate for figures in alone]
        if None in values:
            continue
        assert figure(both, MODEL, "headline", metric).estimate.value == pytest.approx(
            np.mean([one.value for one in values])
        )
    headline = [figure(figures, MODEL, "headline", "NDCG@10").estimate.value for figures in alone]
    assert run.systems[0].by_seed == pytest.approx(headline)


def test_lines_of_further_seeds_are_averaged(small):
    with open_warehouse(small) as warehouse:
        run = Run(bench_on(warehouse), None)
    about = Series("Hits", "streams", [0.0, 1.0], {}, "Of one type.")

    def sample(value):
        return Sample(("HR@10",), np.array([value]), np.full((1000, 1), value))

    run.add_series(about, "HR@10", {"whole": [sample(0.1), sample(0.5)]})
    run.add_series(about, "HR@10", {"whole": [sample(0.3), None]})
    (series,) = run.series.values()
    assert [one.value for one in series.lines["whole"]] == pytest.approx([0.2, 0.5])


def test_a_system_took_what_all_its_parts_took(small):
    run = evaluate_three(small)
    with open_warehouse(small) as warehouse:
        again = Run(bench_on(warehouse), None)
        part = again.static(NOTHING)[1]
        model = again.model_part(again.static(NOTHING), NOTHING)
    assert part.reused and model.reused
    assert run.systems[0].seconds == part.seconds + model.seconds
    assert run.systems[0].peak_mb == max(part.peak_mb, model.peak_mb)
    assert list(run.systems[0].curves) == ["two-tower"] or list(run.systems[0].curves) == [
        "HGNN",
        "two-tower",
    ]


def test_events_before_the_cut_make_every_part_anew(small):
    evaluate_three(small)
    add_events(small, [stream("u1", "p8", 4)])
    assert [one.reused for one in evaluate_three(small).systems] == [False, False, False]


def test_a_model_on_another_static_layer_is_another_part(small):
    with open_warehouse(small) as warehouse:
        run = Run(bench_on(warehouse), None)
        frozen = [run.static(NOTHING, moment) for moment in (ago(14), ago(28))]
        assert not np.array_equal(frozen[0][0].vectors, frozen[1][0].vectors)
        first = run.model_part(frozen[0], NOTHING)
        second = run.model_part(frozen[1], NOTHING)
        assert not second.reused
        assert first.arrays["available"].shape == second.arrays["available"].shape


def test_a_part_with_the_headline_alone_is_not_taken_for_all_lists(small):
    with open_warehouse(small) as warehouse:
        run = Run(bench_on(warehouse), None)
        static = run.static(NOTHING)
        run.model_part(static, NOTHING, run.bench.is_headline)
        part = run.model_part(static, NOTHING)
        assert set(part.arrays) == {one.name for one in run.bench.sets}


def test_a_view_without_targets_has_no_figures_and_does_no_harm(small):
    with open_warehouse(small) as warehouse:
        bench = bench_on(warehouse)
        nobody = replace(
            bench.views[0], name="nobody", target=np.zeros(len(bench.split.target_node), dtype=bool)
        )
        bench = replace(bench, division=replace(bench.division, views=[nobody, *bench.views]))
        lists = bench.rank(Popularity(3).fit(bench.split))
        assert not bench.has_headline(lists)
        assert bench.headline(lists) == 0
        figures = bench.figures({MODEL: [lists]})
        assert {one.metric for one in figures if one.view == "nobody"} == set(METRICS)
        assert all(one.estimate is None for one in figures if one.view == "nobody")
        assert figure(figures, MODEL, "headline", "HR@10").estimate is not None
