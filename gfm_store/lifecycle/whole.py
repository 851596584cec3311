"""Versions all of whose files can be read: a machine that loses its power may leave them torn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.errors import NotPublishedError
from gfm_store.serving.partition import Partition
from gfm_store.static_layer.encoder import ItemEncoder
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
    with _told(folder):
        load_encoder(folder, record)
    return record


def load_encoder(folder: Path, record: StaticRecord) -> ItemEncoder:
    """The weights of a static version."""
    return ItemEncoder.load(
        folder, record.item_types, record.graph, record.window_days, record.min_users, record.seed
    )


def whole_dynamic(root: Path, publication: Path, version: str) -> DynamicRecord:
    """The record of a version that a publication keeps.

    Raises:
        NotPublishedError: a file of the version is gone or torn.
    """
    folder = dynamic_folder(root, version)
    record = DynamicRecord.read(folder)
    for name in TABLES:
        check_table(publication, name, version)
    with _told(folder):
        DynamicModel.load(folder)
        Partition.load(folder)
    return record


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotPublishedError(f"{folder}: weights cannot be read ({reason[:200]}).") from error
