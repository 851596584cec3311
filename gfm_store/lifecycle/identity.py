"""What a version is called: a fingerprint of inputs, parents and the configuration that matters."""

import hashlib
import json
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.warehouse import catalogue
from gfm_store.warehouse.connection import Warehouse


def package_version() -> str:
    """Version of gfm-store; a plain checkout that was never installed has none."""
    try:
        return version("gfm-store")
    except PackageNotFoundError:
        return "checkout"


def fingerprint(prefix: str, warehouse: Warehouse, as_of: datetime, config: Config, **parents: str) -> str:
    """`s-` or `d-` and 12 hex digits; equal for equal inputs, settings, SQL, package, threads and device.

    `item_node` must have been made for `as_of`.
    """
    sections = {"s-": ("seed", "graph", "text", "hgnn"), "d-": ("seed", "two_tower", "blend", "serving")}[
        prefix
    ]
    facts = {
        "snapshot": warehouse.select("graph/snapshot", as_of=as_of).to_pylist()[0],
        "as_of": as_of.isoformat(),
        "config": config.fingerprint(*sections),
        "sql": catalogue.fingerprint("graph", "history"),
        "package": package_version(),
        "threads": config.threads or torch.get_num_threads(),
        "device": choose_device(config).type,
        **parents,
    }
    return prefix + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
