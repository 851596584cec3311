"""What a refresh finds of the versions before it: the same inputs, and a space to lie as."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gfm_store import progress
from gfm_store.dynamic_layer.fitting import DynamicFit
from gfm_store.errors import NotPublishedError
from gfm_store.lifecycle.alignment import align
from gfm_store.lifecycle.refused import refuse
from gfm_store.lifecycle.versions import refused_record, served_record, taking_over
from gfm_store.lifecycle.whole import whole_dynamic, whole_static
from gfm_store.static_layer.fitting import StaticModel
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.publication import (
    dynamic_folder,
    is_published,
    kept_versions,
    open_table,
    published_folder,
    publishing,
    republish,
)
from gfm_store.vectors.static_version import (
    CURRENT,
    is_link,
    read_table,
    static_folder,
    static_folders,
)
from gfm_store.vectors.version import Alignment, DynamicRecord, StaticRecord


def served_before(root: Path) -> DynamicRecord | None:
    """The version that readers see, if any; one that is torn is none."""
    try:
        served = served_record(root)
        if served is not None:
            whole_dynamic(root, published_folder(root), served.version)
        return served
    except NotPublishedError as error:  # the version that is built now mends it
        if not is_published(root):
            raise
        progress.say(f"{error} The new version is not compared with it.")
        return None


def built_before(root: Path, inputs: str, served: DynamicRecord | None) -> DynamicRecord | None:
    """A version from the same inputs needs no fitting: it is published again, or refused again.

    Raises:
        GateError: it was refused, beside the version that is still served.
    """
    if served is None:
        return None
    for name in reversed(kept_versions(published_folder(root))):
        try:
            record = DynamicRecord.read(dynamic_folder(root, name))
            if record.inputs != inputs:
                continue
            whole_dynamic(root, published_folder(root), name)
        except NotPublishedError:
            continue  # it cannot be read, whatever it was made from
        if name == served.version:
            progress.say(f"Version {name} was built from the same inputs and is published; nothing to do.")
            return record
        with publishing(root):
            republish(root, taking_over(root, record))
        progress.say(f"Version {name} was built from the same inputs and is kept; it is published again.")
        return record
    refused = refused_record(root)
    if refused is not None and (refused.inputs, refused.follows) == (inputs, served.version):
        progress.say(f"Version {refused.version} was built from the same inputs before, and refused.")
        raise refuse(root, refused)
    return None


def current_before(root: Path) -> StaticRecord | None:
    """The static version that is current, if any; one that is torn is none."""
    link = root / "static" / CURRENT
    if not is_link(link):
        return None
    try:
        return whole_static(link.resolve())
    except NotPublishedError as error:  # the version that is built now takes its place
        progress.say(f"{error} Another one is built in its place.")
        return None


def static_before(root: Path, inputs: str) -> StaticRecord | None:
    """A static version from the same inputs, if there is one."""
    for folder in static_folders(root):
        try:
            if StaticRecord.read(folder).inputs == inputs:
                return whole_static(folder)
        except NotPublishedError:
            continue  # it cannot be read, whatever it was made from
    return None


def towards_static(
    root: Path, current: StaticRecord, item_node: pa.Table, model: StaticModel
) -> tuple[np.ndarray, Alignment] | None:
    """How to turn a new space so that it lies as the current static version does."""
    before = read_table(static_folder(root, current.version), "item_embedding", ["item_id", "vector"])
    old = to_numpy(before["vector"])
    return align(current.version, item_node["item_id"], model.vectors, before["item_id"], old)


def towards_served(root: Path, item_node: pa.Table, fit: DynamicFit) -> tuple[np.ndarray, Alignment] | None:
    """How to turn a new space, its padding aside, so that it lies as the served one does."""
    folder = published_folder(root)
    before = open_table(folder, "retrieval").to_table(columns=["item_id", "vector"])
    items, old = item_node["item_id"].take(pa.array(fit.available)), to_numpy(before["vector"])
    version = DynamicRecord.read(folder).version
    return align(version, items, fit.item_vectors[:, :-1], before["item_id"], old[:, :-1])
