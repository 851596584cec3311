"""Versions all of whose files can be read: a machine that loses its power may leave them torn.

Rollbacks look as well, and take a second: torch is not imported for it.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from gfm_store.errors import NotPublishedError
from gfm_store.vectors.publication import TABLES, dynamic_folder
from gfm_store.vectors.static_version import STATIC_TABLES, check_table
from gfm_store.vectors.version import DynamicRecord, StaticRecord


def whole_static(folder: Path) -> StaticRecord:
    """The record of a static version.

    Raises:
        NotPublishedError: a file of the version is gone or torn.
    """
    record = StaticRecord.read(folder)
    for name in STATIC_TABLES:
        check_table(folder, name)
    _check_weights(folder)
    return record


def whole_dynamic(root: Path, publication: Path, version: str) -> DynamicRecord:
    """The record of a version that a publication keeps.

    Raises:
        NotPublishedError: a file of the version is gone or torn.
    """
    folder = dynamic_folder(root, version)
    record = DynamicRecord.read(folder)
    for name in TABLES:
        check_table(publication, name, version)
    _check_weights(folder)
    return record


def _check_weights(folder: Path) -> None:
    weights = list(folder.glob("*.safetensors"))
    if not weights:
        raise NotPublishedError(f"{folder}: there are no weights.")
    try:
        for path in folder.glob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        for path in weights:
            with safe_open(path, "numpy"):  # compares what should be there with the length of the file
                pass
    except (OSError, SafetensorError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotPublishedError(f"{folder}: weights cannot be read ({reason[:200]}).") from error
