"""Whether a new version may be published: how its recipe ranks the last days, beside the served one and popularity.

Both recipes are asked after fits that have not seen those days. The new one's was fitted beside the whole one; the
served one's was kept beside its weights when that version was built, and ends where its own last days began, which is
earlier by the time between the two versions. The HGNN vectors of both are those of the moment before the last days, by
weights of their static versions that have not seen them. In the new recipe's favour: it knows more by the time between
the two, and where it is the papers' towers, their epochs were chosen on the days that are asked. The gate is
there for what is worse beyond doubt, not to find the better of two good ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from scipy.stats import bootstrap

from gfm_store import program, progress
from gfm_store.config import BlendConfig, Config, GateConfig
from gfm_store.dynamic_layer.fitting import DynamicFit
from gfm_store.dynamic_layer.held_out import Entrant, LastDays
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.errors import GfmError
from gfm_store.lifecycle.frozen import FrozenLayer
from gfm_store.vectors.publication import dynamic_folder
from gfm_store.vectors.static_version import static_folder
from gfm_store.vectors.version import DynamicRecord, Estimate, HeldOut, StaticRecord
from gfm_store.warehouse.connection import Warehouse

EARLY = "held_out"
"""Folder, beside a version's weights, of the same recipe fitted without the last days."""


@dataclass(frozen=True)
class Candidate:
    """What a refresh has fitted, before it is published."""

    fit: DynamicFit
    last_days: LastDays | None
    """None where nothing could be held out."""
    static: StaticRecord
    text: np.ndarray
    config: Config


def judge(
    warehouse: Warehouse, item_node: pa.Table, candidate: Candidate, served: DynamicRecord | None
) -> HeldOut | None:
    """How the candidate ranks the last days; None where there are none to ask for.

    What cannot be compared with the served version is not compared, and the note says why.
    """
    days, early, config = candidate.last_days, candidate.fit.early, candidate.config
    if days is None or early is None or not days.num_users:
        return None
    windows = config.two_tower.popularity_windows_days
    new = days.ndcg(Entrant(early, candidate.fit.held_out_vectors, candidate.text, windows, config.blend))
    popular = days.popularity_ndcg(config.serving.popular_days)
    known: dict[str, Any] = {
        "days": days.days,
        "start": days.start,
        "n_users": days.num_users,
        "ndcg": _estimate(new, config.gates),
        "popularity_ndcg": _estimate(popular, config.gates),
        "over_popularity": _estimate(new - popular, config.gates),
    }
    found = HeldOut(**known)
    if (seen := _seen(candidate.static, days)) is not None:
        found = found.model_copy(update={"note": f"flattered: {seen}"})
    elif served is not None:
        try:
            old = _served_ndcg(warehouse, item_node, served, days, config)
        except _NotComparableError as reason:
            found = found.model_copy(update={"note": f"not compared with {served.version}: {reason}"})
        else:
            compared = {
                "served": served.version,
                "served_ndcg": _estimate(old, config.gates),
                "over_served": _estimate(new - old, config.gates),
            }
            found = found.model_copy(update=compared)
    _warn(found)
    return found


def refusal(found: HeldOut | None, config: GateConfig) -> str | None:
    """Why a version is not published, in one sentence; None where nothing speaks against it."""
    if found is None or found.over_served is None or found.served_ndcg is None:
        return None
    if found.n_users < config.min_users or found.over_served.high >= 0:
        return None
    return (
        f"it ranks the last {found.days} days worse than {found.served}, which is served: NDCG@10 "
        f"{found.ndcg.value:.4f} against {found.served_ndcg.value:.4f}, a difference of "
        f"{found.over_served.value:.4f} [{found.over_served.low:.4f}, {found.over_served.high:.4f}] at "
        f"{config.confidence:.0%} over {found.n_users:,} users"
    )


def _warn(found: HeldOut) -> None:
    if found.over_popularity.high < 0:
        progress.say(
            f"Warning: the last {found.days} days are ranked worse than by popularity: NDCG@10 "
            f"{found.ndcg.value:.4f} against {found.popularity_ndcg.value:.4f}."
        )
    if found.note:
        progress.say(f"Quality: {found.note}.")


class _NotComparableError(Exception):
    """The two recipes cannot be asked about these days; the text says why."""


def _seen(static: StaticRecord, days: LastDays) -> str | None:
    """What the early weights of a static version have seen of the last days, in words; None where they have not."""
    if (static.seen_until or static.as_of) <= days.start:
        return None
    return f"the HGNN weights of {static.version} have seen days from {days.start:%Y-%m-%d %H:%M} on"


def _served_ndcg(
    warehouse: Warehouse, item_node: pa.Table, served: DynamicRecord, days: LastDays, config: Config
) -> np.ndarray:
    """(U,) of the served recipe. A version of another program may read other inputs than are made today."""
    root, settings = warehouse.root, served.origin.settings
    if served.held_out is None:
        raise _NotComparableError("nothing could be held out when it was built")
    if served.held_out.start > days.start:
        raise _NotComparableError(f"it has seen the days from {days.start:%Y-%m-%d %H:%M} on")
    try:
        model = DynamicModel.load(dynamic_folder(root, served.version) / EARLY)
        static = StaticRecord.read(static_folder(root, served.static_version))
        if (seen := _seen(static, days)) is not None:
            raise _NotComparableError(seen)
        layer = FrozenLayer(warehouse, item_node, static, config, quiet=True)
        vectors = layer.vectors_at(days.start).early
        windows = tuple(settings["two_tower"]["popularity_windows_days"])
        blend = BlendConfig.model_validate(settings["blend"])
        return days.ndcg(Entrant(model, vectors, layer.text, windows, blend))
    except (GfmError, OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        made = "" if served.origin.package == program.name() else f"; it was made by {served.origin.package}"
        raise _NotComparableError(f"its model cannot be asked ({reason[:120]}){made}") from None


def _estimate(values: np.ndarray, config: GateConfig) -> Estimate:
    """The mean with its bootstrap interval over users."""
    mean = float(values.mean())
    if len(values) < 2 or not np.ptp(values):
        return Estimate(value=mean, low=mean, high=mean)
    interval = bootstrap(
        (values,),
        np.mean,
        confidence_level=config.confidence,
        n_resamples=2_000,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value=mean, low=float(interval.low), high=float(interval.high))
