"""What a version is called: a fingerprint of inputs, parents and the configuration that matters."""

import hashlib
import json
from datetime import datetime

import torch

from gfm_store import program
from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.vectors.version import Origin
from gfm_store.warehouse import catalogue
from gfm_store.warehouse.connection import Warehouse, newest_event

SECTIONS = {"s-": ("seed", "graph", "text", "hgnn"), "d-": ("seed", "two_tower", "blend", "serving")}
"""Settings that matter, by what a version's name begins with."""


def read_origin(prefix: str, warehouse: Warehouse, as_of: datetime, config: Config) -> Origin:
    """What a version of the warehouse as of a moment is made from; `item_node` must have been made for `as_of`."""
    snapshot = warehouse.select("graph/snapshot", as_of=as_of).to_pylist()[0]
    return Origin(
        n_events=snapshot["n_events"],
        event_digest=snapshot["event_digest"],
        item_digest=snapshot["item_digest"],
        profile_digest=snapshot["profile_digest"],
        newest_event=newest_event(warehouse),
        last_ingest_id=warehouse.scalar("SELECT max(ingest_id) FROM interaction_event"),
        sql=catalogue.fingerprint("graph", "history"),
        config=config.fingerprint(*SECTIONS[prefix]),
        settings=config.inputs(*SECTIONS[prefix]),
        package=program.name(),
        threads=config.threads or torch.get_num_threads(),
        device=choose_device(config).type,
    )


def version_name(prefix: str, origin: Origin, as_of: datetime, **parents: str) -> str:
    """`s-` or `d-` and 12 hex digits; equal for equal inputs, settings, SQL, package, threads, device and parents.

    What the warehouse holds at or after `as_of`, and in which order it came, is not part of it.
    """
    facts = origin.model_dump(mode="json", exclude={"settings", "newest_event", "last_ingest_id"})
    facts |= {"as_of": as_of.isoformat(), **parents}
    return prefix + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
