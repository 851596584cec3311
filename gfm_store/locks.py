"""One writer of a kind at a time: a lock on a file that goes with the process, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gfm_store.errors import WarehouseError, WarehouseLockedError


@contextmanager
def exclusive(root: Path, name: str) -> Iterator[None]:
    """Hold `root`/.`name`.lock inside the block; the folder is made where it is missing.

    Raises:
        WarehouseError: the folder cannot be written.
        WarehouseLockedError: another process holds the lock.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise WarehouseError(f"{root} cannot be written: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WarehouseLockedError(
                f"Another {name} is writing {root}; try again when it has ended."
            ) from None
        yield
