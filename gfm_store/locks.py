"""One writer of a kind at a time, or several readers: a lock on a file that goes with the process, however it ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gfm_store.errors import WarehouseError, WarehouseLockedError


@contextmanager
def exclusive(root: Path, name: str, patience: float = 0.0) -> Iterator[None]:
    """Hold `root`/.`name`.lock inside the block; the folder is made where it is missing.

    Args:
        patience: seconds to wait while another process holds it.

    Raises:
        WarehouseError: the folder cannot be written.
        WarehouseLockedError: another process holds the lock.
    """
    with _held(root, name, fcntl.LOCK_EX, patience, f"Another {name} is writing {root}"):
        yield


@contextmanager
def shared(root: Path, name: str) -> Iterator[None]:
    """Hold the same lock beside others who share it, while nobody holds it alone.

    Raises:
        WarehouseError: the folder cannot be written.
        WarehouseLockedError: another process holds the lock alone.
    """
    with _held(root, name, fcntl.LOCK_SH, 0.0, f"Another job is changing what the {name} reads in {root}"):
        yield


@contextmanager
def _held(root: Path, name: str, kind: int, patience: float, refusal: str) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise WarehouseError(f"{root} cannot be written: {error.strerror}.") from None
    until = time.monotonic() + patience
    with lock:
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    raise WarehouseLockedError(f"{refusal}; try again when it has ended.") from None
                time.sleep(0.05)
        yield
