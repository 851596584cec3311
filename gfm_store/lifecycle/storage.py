"""What a disk does to a writer: one clear error, and readers where they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gfm_store.errors import WarehouseError
from gfm_store.warehouse.connection import DATABASE_ERRORS


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """A full disk, a folder that cannot be written, a file that is missing or torn.

    Raises:
        WarehouseError: one of these came up inside the block.
    """
    try:
        yield
    except (OSError, SafetensorError, *DATABASE_ERRORS) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WarehouseError(
            f"{root} could not be read or written: {reason[:300]}. What is served is unchanged."
        ) from error
