"""The version that a gate refused last: whole, so that it can be looked at, and published all the same.

<warehouse>/refused/d-.../weights      what `dynamic/d-...` of a published version holds
<warehouse>/refused/d-.../tables       the tables that would have been published
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from gfm_store.config import warehouse_option
from gfm_store.errors import GateError, NotPublishedError
from gfm_store.lifecycle.checks import check_written
from gfm_store.lifecycle.storage import storage_errors
from gfm_store.lifecycle.versions import refused_record, remove_unkept, taking_over
from gfm_store.vectors.publication import TABLES, publish, publishing
from gfm_store.vectors.static_version import new_folder, read_table, write_table
from gfm_store.vectors.version import REFUSED, DynamicRecord


def keep_refused(
    root: Path, record: DynamicRecord, write_weights: Callable[[Path], None], tables: Mapping[str, pa.Table]
) -> None:
    """Keep a version that is not published, in the place of the one that was refused before."""
    remove_refused(root)
    with new_folder(root / REFUSED, record.version) as partial:
        for name in ("weights", "tables"):
            (partial / name).mkdir()
        write_weights(partial / "weights")
        for name, rows in tables.items():
            write_table(partial / "tables", name, rows)


def refuse(root: Path, record: DynamicRecord) -> GateError:
    """What to raise for a refused version."""
    return GateError(
        f"{record.version} is not published: {record.refused}. `python -m jobs.versions publish {record.version} "
        f"--force {warehouse_option(root)}` publishes it all the same."
    )


def publish_refused(root: Path, record: DynamicRecord, keep: int, force: bool) -> DynamicRecord:
    """Let readers see the refused version after all.

    Raises:
        GateError: it was not forced.
        NotPublishedError: it is not there any more.
        WarehouseLockedError: another publication is at work.
    """
    if not force:
        raise refuse(root, record)
    folder = root / REFUSED / record.version
    with storage_errors(root), publishing(root):
        if refused_record(root) != record:  # the user who was forgotten meanwhile would come back with it
            raise NotPublishedError(f"{record.version} is not kept in {root} any more.")
        record = taking_over(root, record)
        tables = {name: read_table(folder / "tables", name) for name in TABLES}
        with new_folder(root / "dynamic", record.version) as partial:
            shutil.copytree(folder / "weights", partial, copy_function=os.link, dirs_exist_ok=True)
            record.write(partial)
        publish(root, record, tables, keep, lambda written: check_written(written, record))
        remove_refused(root)
        remove_unkept(root)
    return record


def remove_refused(root: Path) -> None:
    """Forget what was refused."""
    shutil.rmtree(root / REFUSED, ignore_errors=True)
