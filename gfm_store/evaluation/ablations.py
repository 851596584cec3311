"""What each part of the model is worth: the papers' claims, each a system or a series beside the whole model."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from operator import eq

import numpy as np
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import NAMED, Config
from gfm_store.errors import EmptyWarehouseError, UsageError
from gfm_store.evaluation.baselines import SentenceVectors
from gfm_store.evaluation.bench import Bench
from gfm_store.evaluation.metrics import Sample
from gfm_store.evaluation.model import NO_GRAPH, NOTHING, Change, StandIn
from gfm_store.evaluation.parts import Part
from gfm_store.evaluation.result import MODEL, Series
from gfm_store.evaluation.run import Run
from gfm_store.evaluation.split import Split

ONE_PER_TYPE = "one model per type"
FROZEN = "HGNN frozen"
WITHOUT_HGNN = "without HGNN"
LINEAR = "linear coordinates for the HGNN"
NEITHER = "without text and HGNN"
WINDOWS = 4
"""Successive windows with a refresh of the two-tower each."""
STREAMS_PER_ITEM = (0, 1, 5, 20)
"""The cold-start curve: what is known of each item of the withheld type."""


@dataclass(frozen=True)
class Ablation:
    """One change to the whole model."""

    name: str
    about: str
    change: Change


def _unbalanced(config: Config) -> Config:
    return config.model_copy(update={"hgnn": config.hgnn.model_copy(update={"balanced": False})})


def _homogeneous(config: Config) -> Config:
    return config.model_copy(update={"hgnn": config.hgnn.model_copy(update={"heterogeneous": False})})


def _as_in_the_papers(config: Config) -> Config:
    paper = NAMED["paper"]
    return config.model_copy(update={name: getattr(paper, name) for name in ("hgnn", "two_tower", "blend")})


ABLATIONS = (
    Ablation(
        WITHOUT_HGNN,
        "What the HGNN reads of texts stands in for its vectors everywhere; no graph (arXiv 2403.05185, section 4.3).",
        NO_GRAPH,
    ),
    Ablation(
        LINEAR,
        "Structural coordinates, singular vectors of who touched what, stand in for the HGNN vectors made from them.",
        Change("linear", linear=True),
    ),
    Ablation(
        "without text",
        "The HGNN reads random vectors in place of the text, and nothing else reads text.",
        Change("no text", text=False),
    ),
    Ablation(
        "homogeneous graph",
        "All edges are of one relation in the HGNN; its targets stay balanced by type.",
        Change("homogeneous", configure=_homogeneous),
    ),
    Ablation(
        "without the balanced sampler",
        "Each item type gives as many targets as it has, in place of equally many (arXiv 2403.05185, section 3.2).",
        Change("unbalanced", configure=_unbalanced),
    ),
    Ablation(
        "without weak signals",
        "Follows, previews and intents to pay are left out of histories.",
        Change("strong signals", stand_ins=(StandIn("interaction_event", "evaluation/strong_event"),)),
    ),
    Ablation(
        NEITHER,
        "Nothing tells one item's contents or company from another's: momentum and categories are left.",
        Change("no graph, no text", hgnn=False, text=False),
    ),
    Ablation(
        "papers' form",
        "Settings `paper`: two HGNN layers, histories of 90 days, fully connected towers alone, on the same sets.",
        Change("papers", configure=_as_in_the_papers),
    ),
)


def measure_ablations(run: Run, notes: list[str]) -> None:
    """Take all ablations in; what the data does not allow is told in `notes`."""
    for one in ABLATIONS:
        run.add_model(one.name, "ablation", one.about, run.static(one.change), one.change)
    if len(run.bench.split.item_types) > 1:
        _measure_one_per_type(run)
        _measure_withheld(run)
    else:
        notes.append("The data has one item type: a model per type and a withheld type are not computable.")
    _measure_frozen(run, notes)


def _measure_one_per_type(run: Run) -> None:
    """Both layers fitted on the items and events of one type alone, for each type."""
    parts = []
    for item_type in run.bench.split.item_types:
        alone = Change(
            f"{item_type} alone",
            stand_ins=(
                StandIn("interaction_event", "evaluation/event_of_type", {"item_type": item_type}),
                StandIn("item", "evaluation/item_of_type", {"item_type": item_type}),
            ),
        )
        try:
            static = run.static(alone)
        except EmptyWarehouseError:
            continue  # the type has no event before the cut: nothing to fit, and no list
        part = run.model_part(static, alone, only=partial(eq, f"type:{item_type}"))
        parts += [part, static[1]]
    whole = Part({name: lists for part in parts[::2] for name, lists in part.arrays.items()})
    about = (
        "A static and a dynamic layer of its own for each type, which see no other type (arXiv 2403.07478)."
    )
    run.add(
        replace(whole, reused=all(part.reused for part in parts)), ONE_PER_TYPE, "ablation", about, also=parts
    )


def _measure_withheld(run: Run) -> None:
    """The sparsest type enters by its text alone, and then by few streams per item."""
    split = run.bench.split
    streams = np.bincount(split.type_index[split.streams.indices], minlength=len(split.item_types))
    sparse = split.item_types[int(np.argmin(streams))]

    def few(per_item: int) -> tuple[StandIn, ...]:
        parameters = {"item_type": sparse, "per_item": per_item, "as_of": split.as_of}
        return (StandIn("interaction_event", "evaluation/event_but_few", parameters),)

    name = f"HGNN without {sparse}"
    static = run.static(Change(f"{sparse} withheld", stand_ins=few(0)))
    about = (
        f"No event on {sparse} items reaches the HGNN, so they enter by their text; the two-tower sees all."
    )
    run.add_model(name, "ablation", about, static, Change(name, static_stand_ins=few(0)))
    view = next(one for one in run.bench.views if one.name == f"type:{sparse}")

    def sample(lists: dict[str, np.ndarray]) -> Sample | None:
        sums = run.bench.sums(view, lists)
        return run.bench.bootstrap.sample(view.users(split), sums) if sums else None

    curve = [
        run.model_part(
            static,
            Change(f"{per_item} streams of each {sparse}", stand_ins=few(per_item)),
            only=partial(eq, view.candidates),
        )
        for per_item in STREAMS_PER_ITEM
    ]
    constant = {"whole model": MODEL, "text neighbours": SentenceVectors.name}
    about_curve = Series(
        name=f"Cold start of {sparse}: HR@10",
        x_title="streams known of each item",
        x=list(map(float, STREAMS_PER_ITEM)),
        lines={},
        about=f"{sparse} is withheld from HGNN training. Of each of its items so many streams are known "
        "afterwards: to the HGNN, whose weights stay, when it embeds them, and to all that learns from users.",
    )
    lines = {"withheld from the HGNN": [sample(part.arrays) for part in curve]} | {
        label: [sample(run.lists[system][-1])] * len(STREAMS_PER_ITEM) for label, system in constant.items()
    }
    run.add_series(about_curve, "HR@10", lines)


def _measure_frozen(run: Run, notes: list[str]) -> None:
    """The two-tower refreshed over successive windows on the HGNN of the first, against an HGNN retrained each time."""
    bench = run.bench
    split, days = bench.split, timedelta(days=bench.split.horizon_days)
    cuts = [split.as_of - days * i for i in range(WINDOWS - 1, -1, -1)]
    try:
        benches = [bench.at(cut) for cut in cuts[:-1]]
        frozen, _ = frozen_part = run.static(NOTHING, cuts[0])
    except (UsageError, EmptyWarehouseError):
        notes.append(f"The data does not reach back over {WINDOWS} windows: a frozen HGNN is not computable.")
        return
    about = f"The HGNN's weights are of {WINDOWS - 1} windows before the cut; its vectors are made anew."
    run.add_model(FROZEN, "ablation", about, frozen_part, NOTHING, {"trained at": f"{cuts[0]:%Y-%m-%d}"})
    lines: dict[str, list[Sample | None]] = {"frozen": [], "retrained": []}
    with progress.task("Frozen and retrained", len(cuts), "windows") as task:
        for other in benches:
            there = Run(other, None)
            retrained = there.static(NOTHING)
            place = _places(other.split, split)
            kept = (frozen.numbered(place), frozen_part[1])
            lines["frozen"].append(
                _headline(other, there.model_part(kept, NOTHING, other.is_headline).arrays)
            )
            part = there.model_part(retrained, NOTHING, other.is_headline)
            lines["retrained"].append(_headline(other, part.arrays))
            task.advance()
    lines["frozen"].append(_headline(bench, run.lists[FROZEN][-1]))
    lines["retrained"].append(_headline(bench, run.lists[MODEL][-1]))
    about_lines = Series(
        name="Frozen HGNN: NDCG@10",
        x_title=f"windows of {split.horizon_days} days after the HGNN was trained",
        x=[float(i) for i in range(WINDOWS)],
        lines={},
        about="The two-tower is fitted anew at each cut: on the HGNN of the first cut, and on one retrained then.",
    )
    run.add_series(about_lines, "NDCG@10", lines)


def _places(split: Split, among: Split) -> np.ndarray:
    """(N,) nodes in `among`, a later split, of the items of `split`."""
    place: np.ndarray = pc.index_in(split.item["item_id"], among.item["item_id"].combine_chunks()).to_numpy()
    return place


def _headline(bench: Bench, lists: dict[str, np.ndarray]) -> Sample | None:
    view = bench.views[0]
    sums = bench.sums(view, lists)
    return bench.bootstrap.sample(view.users(bench.split), sums, False) if sums else None
