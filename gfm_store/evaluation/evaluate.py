"""The evaluation: the model, tuned baselines and ablations on one division of the data, figures with intervals."""

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from itertools import combinations
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.evaluation.ablations import measure_ablations
from gfm_store.evaluation.baselines import BASELINES, Baseline, Popularity, SentenceVectors, clear_caches
from gfm_store.evaluation.bench import Bench
from gfm_store.evaluation.examples import examples, item_map
from gfm_store.evaluation.metrics import overlap, type_shares
from gfm_store.evaluation.model import NO_GRAPH, NOTHING, Space, StaticAt
from gfm_store.evaluation.parts import Part, Parts
from gfm_store.evaluation.protocols import ABOUT, LEAVE_ONE_OUT, leave_one_out, temporal
from gfm_store.evaluation.result import MODEL, Evaluation, Example, GridPoint, ItemMap
from gfm_store.evaluation.run import Run
from gfm_store.evaluation.split import EncodeText, Split
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.text_cache import TextCache
from gfm_store.warehouse.connection import Warehouse, newest_event
from gfm_store.warehouse.sample.truth import knows, true_scores, truth_folder

HGNN_ALONE = "HGNN vectors"
WITHOUT_GRAPH = "two-tower without graph"
ORACLE = "oracle"
HGNN_ABOUT = (
    "Nearest items by HGNN vectors to the user's own, with the half-life of sentence vectors; no two-tower."
)
UNTUNED = "They stand with the first settings of their grids."
OVERLAP_AT = 10
TUNED_AT = 10
"""Length of the lists in tuning: what NDCG@10 needs."""
PACKAGES = (
    "gfm-store",
    "torch",
    "torch-geometric",
    "duckdb",
    "lancedb",
    "pyarrow",
    "numpy",
    "scipy",
    "implicit",
)


def evaluate(
    warehouse: Warehouse,
    config: Config,
    protocol: str,
    as_of: datetime | None = None,
    horizon_days: int = 14,
    *,
    ablations: bool = False,
    seeds: int = 1,
) -> Evaluation:
    """Measure the model beside baselines; nothing that is published is touched.

    Finished parts are kept under the warehouse and reused, so an interrupted evaluation goes on where it was.

    Args:
        as_of: the cut of the temporal protocol; None means `horizon_days` before the newest event.
        ablations: measure what each part of the model is worth, too.
        seeds: the model and its varieties are fitted with so many seeds, from `config.seed` on; figures are means.

    Raises:
        UsageError: there is nothing to predict.
        EmptyWarehouseError: there is nothing before the cut.
    """
    if protocol == LEAVE_ONE_OUT and (ablations or as_of):
        raise UsageError("--ablations and --as-of belong to the temporal protocol; leave them out.")
    encode = _text_encoder(warehouse, config)
    parts = Parts(warehouse.root)
    parts.remove_stale()
    notes: list[str] = []
    if protocol == LEAVE_ONE_OUT:
        with leave_one_out(warehouse, encode, config.seed) as division:
            bench = Bench(warehouse, config, encode, parts, division)
            progress.say(_outline(bench))
            run = Run(bench, None)
            with ExitStack() as stack:
                try:
                    again = stack.enter_context(leave_one_out(warehouse, encode, config.seed + 1))
                    run.tuning = Bench(warehouse, config, encode, parts, again)
                except UsageError:
                    notes.append(f"Baselines could not be tuned: nobody has three items. {UNTUNED}")
                tuned = _tune_all(run)
            _measure(run, tuned, seeds, ablations=None)
    else:
        division = temporal(warehouse, as_of, horizon_days, encode)
        bench = Bench(warehouse, config, encode, parts, division)
        progress.say(_outline(bench))
        _note_the_end(bench, notes)
        run = Run(bench, _tuning_bench(bench, notes))
        _measure(run, _tune_all(run), seeds, ablations=notes if ablations else None)
    return _result(run, protocol, notes)


def _outline(bench: Bench) -> str:
    split = bench.split
    return (
        f"Cut {split.as_of:%Y-%m-%d %H:%M}: {len(split.user_id):,} users with {len(split.target_node):,} new items; "
        f"{int(split.available.sum()):,} items are ranked, {int((split.available & split.warm).sum()):,} with events."
    )


def _note_the_end(bench: Bench, notes: list[str]) -> None:
    end, horizon_end = (
        newest_event(bench.warehouse),
        bench.split.as_of + timedelta(days=bench.split.horizon_days),
    )
    if end < horizon_end - timedelta(days=1):
        notes.append(
            f"The data ends at {end:%Y-%m-%d %H:%M}, inside the horizon, which ends at {horizon_end:%Y-%m-%d %H:%M}: "
            "what users do after that is not there to be found."
        )


def _tuning_bench(bench: Bench, notes: list[str]) -> Bench | None:
    """The window of the same length before the cut."""
    days = bench.split.horizon_days
    try:
        return bench.at(bench.split.as_of - timedelta(days=days))
    except (UsageError, EmptyWarehouseError):
        notes.append(
            f"Baselines could not be tuned: the {days} days before the cut hold nothing to predict. {UNTUNED}"
        )
        return None


@dataclass(frozen=True)
class Tuned:
    """The best settings of one baseline, and what else was tried."""

    best: Baseline
    grid: list[GridPoint]
    seconds: float


def _tune_all(run: Run) -> dict[str, Tuned]:
    """Every baseline's settings by its name, each tuned with those before it known."""
    tuned: dict[str, Tuned] = {}
    for kind in BASELINES:
        points = list(kind.grid([one.best for one in tuned.values()]))
        tuned[kind.name] = _tune(run.tuning, kind.name, points)
    tuned[HGNN_ALONE] = Tuned(tuned[SentenceVectors.name].best, [], 0.0)
    return tuned


def _tune(bench: Bench | None, name: str, points: Sequence[Baseline]) -> Tuned:
    """By NDCG@10 on the headline of the window before the cut; the first point where there is none."""
    if bench is None:
        return Tuned(points[0], [], 0.0)

    def try_all() -> Part:
        found = []
        with progress.task(f"Tune {name}", len(points), "settings") as task:
            for point in points:
                found.append(
                    bench.headline(bench.rank(point.fit(bench.split), only=bench.is_headline, k=TUNED_AT))
                )
                task.advance()
        return Part(facts={"ndcg": found})

    grid = [_settings(point) for point in points]
    part = bench.part(try_all, step="tune", system=name, grid=grid)
    ndcg = part.facts["ndcg"]
    return Tuned(
        points[int(np.argmax(ndcg))],
        [GridPoint(*one) for one in zip(grid, ndcg, strict=True)],
        part.seconds,
    )


def _settings(baseline: Baseline) -> dict[str, Any]:
    """Fields by name; parts of a blend are settings too."""
    return asdict(cast(Any, baseline))


def _measure(run: Run, tuned: dict[str, Tuned], seeds: int, ablations: list[str] | None) -> None:
    """The model, the baselines, in a made world the truth, and, where there are `ablations` to note, these; then what
    is ours with further seeds."""
    first = run.bench
    for seed in range(first.config.seed, first.config.seed + seeds):
        run.bench = first if seed == first.config.seed else first.seeded(seed)
        static = _measure_model(run)
        if run.bench is first:
            _measure_baselines(run, tuned, static)
        _measure_without_graph(run)
        if run.bench is first:
            _measure_oracle(run)
        if ablations is not None:
            measure_ablations(run, ablations if run.bench is first else [])
    run.bench = first


def _measure_model(run: Run) -> StaticAt:
    bench = run.bench
    static = run.static(NOTHING)
    run.add_model(
        MODEL,
        "model",
        "Both layers, fitted at the cut as the refreshes fit them.",
        static,
        NOTHING,
        extra=lambda space, lists: _to_look_at(bench, space, lists),
    )
    return static[0]


def _measure_baselines(run: Run, tuned: dict[str, Tuned], static: StaticAt) -> None:
    bench = run.bench
    popular = tuned[Popularity.name].best
    new_users = popular.fit(bench.split)(np.zeros(1, dtype=np.int64))[0]
    by_hgnn = replace(bench.split, text_vector=static.vectors)

    def ranked(baseline: Baseline, split: Split) -> Part:
        return Part(bench.rank(baseline.fit(split), new_users))

    for name, one in tuned.items():
        part = bench.part(
            partial(ranked, one.best, by_hgnn if name == HGNN_ALONE else bench.split),
            step="baseline",
            system=name,
            settings=_settings(one.best),
            new_users=_settings(popular),
        )
        about = HGNN_ABOUT if name == HGNN_ALONE else one.best.about
        run.add(part, name, "baseline", about, _settings(one.best), one.grid, one.seconds)
    clear_caches()


def _measure_without_graph(run: Run) -> None:
    run.add_model(
        WITHOUT_GRAPH,
        "baseline",
        "The same two-tower on text vectors: no HGNN, no graph.",
        run.static(NO_GRAPH),
        NO_GRAPH,
    )


def _measure_oracle(run: Run) -> None:
    """In a made world: the ranking by the hidden truth; nothing else may have been ingested into it."""
    warehouse, split = run.bench.warehouse, run.bench.split
    if not truth_folder(warehouse.root).is_dir():
        return
    user_ids, node_ids = split.user_id.to_pylist(), split.item["item_id"]
    if not knows(warehouse.root, user_ids, node_ids.to_pylist()):
        progress.say(
            "The hidden truth does not know all users and items of the warehouse: it is not measured."
        )
        return

    def scorer(users: np.ndarray) -> np.ndarray:
        ids, scores = true_scores(warehouse.root, [user_ids[i] for i in users], split.as_of)
        place = pc.index_in(node_ids, pa.array(ids)).to_numpy()
        return scores[:, place]

    part = run.bench.part(lambda: Part(run.bench.rank(scorer)), step="oracle")
    about = (
        "Ranking by the hidden truth of the made world: the best that anybody can do who knows all tastes."
    )
    run.add(part, ORACLE, "oracle", about)


def _to_look_at(bench: Bench, space: Space, lists: dict[str, np.ndarray]) -> dict[str, Any]:
    """Examples and map, where the protocol has lists of all items."""
    if "available" not in lists:
        return {}
    seed = bench.config.seed
    drawn = item_map(bench.split, space.vectors, seed)
    return {
        "examples": [asdict(one) for one in examples(bench.split, space, lists["available"], seed)],
        "item_map": asdict(drawn) if drawn else None,
    }


def _result(run: Run, protocol: str, notes: list[str]) -> Evaluation:
    bench, looks = run.bench, run.looks
    progress.say("Figures and intervals ...")
    if len(run.lists[MODEL]) > 1:
        notes = [_on_seeds(run), *notes]
    return Evaluation(
        protocol=protocol,
        protocol_about=ABOUT[protocol],
        as_of=bench.split.as_of,
        horizon_days=bench.split.horizon_days,
        tuning_as_of=run.tuning.split.as_of if run.tuning else None,
        facts=_facts(run),
        notes=notes,
        views=bench.summaries(),
        systems=run.systems,
        figures=bench.figures(run.lists),
        series=list(run.series.values()),
        item_map=ItemMap(**looks["item_map"]) if looks.get("item_map") else None,
        examples=[Example.from_facts(one) for one in looks.get("examples", [])],
    )


def _on_seeds(run: Run) -> str:
    """How much hangs on the seed: the headline with each, and how alike the lists are."""
    lists, view = run.lists[MODEL], run.bench.views[0]
    model = next(one for one in run.systems if one.name == MODEL)
    told = f"The model and its varieties are fitted with {len(lists)} seeds, and their figures are means"
    if not model.by_seed:
        return f"{told}."
    users = view.users(run.bench.split)
    tops = [one[view.candidates][users, :OVERLAP_AT] for one in lists]
    shared = float(np.mean([overlap(a, b) for a, b in combinations(tops, 2)]))
    by_seed = ", ".join(f"{ndcg:.4f}" for ndcg in model.by_seed)
    return (
        f"{told}: NDCG@10 {by_seed}. Lists of two seeds share {shared:.0%} of their first {OVERLAP_AT} items."
    )


def _facts(run: Run) -> dict[str, Any]:
    """What the figures follow from."""
    bench, split = run.bench, run.bench.split
    return {
        "data": {
            "warehouse": bench.warehouse.root.resolve().name,
            "users before the cut": split.streams.shape[0],
            "users with new items": len(split.user_id),
            "new items": len(split.target_node),
            "items known at the cut": int(split.known.sum()),
            "items available": int(split.available.sum()),
            "available with events": int((split.available & split.warm).sum()),
            "streamed user-item pairs": int(split.streams.nnz),
            "item types": split.item_types,
        },
        "share of item types": _type_shares(run),
        "seeds": [bench.config.seed + i for i in range(len(run.lists[MODEL]))],
        "settings": bench.config.model_dump(mode="json"),
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": {"threads": bench.identity["threads"], "device": bench.identity["device"]},
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _type_shares(run: Run) -> dict[str, dict[str, str]]:
    """Whether one list of all types holds what users do: each type's share of the first ten items, of what these
    users had streamed, and of what they streamed newly; means over users."""
    split, view = run.bench.split, run.bench.views[0]
    lists, users = run.lists[MODEL][0], view.users(run.bench.split)
    if len(split.item_types) < 2 or view.candidates not in lists or not len(users):
        return {}
    top = lists[view.candidates][users, :OVERLAP_AT]
    listed = np.repeat(np.arange(len(users)), (top >= 0).sum(axis=1)), top[top >= 0]
    new = np.searchsorted(users, split.target_user[view.target]), split.target_node[view.target]
    told = {"lists": listed, "streamed before": split.seen(users), "streamed newly": new}
    shares = {
        name: type_shares(user, split.type_index[node], len(split.item_types))
        for name, (user, node) in told.items()
    }
    return {
        item_type: {name: f"{share[i]:.1%}" for name, share in shares.items()}
        for i, item_type in enumerate(split.item_types)
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "not installed"


def _text_encoder(warehouse: Warehouse, config: Config) -> EncodeText:
    encoder = TextEncoder(config.text, str(choose_device(config)))
    cache = TextCache(warehouse.root, encoder.fingerprint)
    return lambda item_text: encode_items(item_text, encoder, cache)
