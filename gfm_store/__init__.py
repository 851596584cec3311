"""gfm-store: a graph foundation model for personalization on your own events.

import gfm_store
store = gfm_store.open("warehouse")
store.recommend("user-42", k=10, item_type="audiobook").to_pandas()
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from gfm_store.errors import GfmError, UsageError

if TYPE_CHECKING:
    from gfm_store.serving.store import Store

__all__ = ["GfmError", "open"]


def open(warehouse: str | PathLike[str] = "warehouse", *, version: str | None = None) -> Store:
    """Open the published version of a warehouse, read-only; `version` opens another that is kept.

    Settings come from `gfm.toml` in the working directory where it exists, as those of the jobs do.

    Raises:
        GfmError: there is no warehouse, nothing is published in it, or `gfm.toml` cannot be used.
    """
    from gfm_store.config import load_config
    from gfm_store.serving.store import Store  # torch takes seconds to import: only when a store is opened

    if not isinstance(warehouse, str | PathLike) or Path(warehouse).is_file():
        raise UsageError(f"A store is opened by the folder of its warehouse; {warehouse!r} is none.")
    return Store(Path(warehouse), version=version, config=load_config())
