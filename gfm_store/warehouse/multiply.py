"""A large warehouse out of a small one: its items and users many times over, for measuring speed."""

from pathlib import Path

from gfm_store.warehouse.catalogue import statement
from gfm_store.warehouse.connection import open_warehouse, rewrite_warehouse

SMALL = {"item": "small_item", "user_profile": "small_user", "interaction_event": "small_event"}
COPIED = {"item": "copied_item", "user_profile": "copied_user", "interaction_event": "copied_event"}


def multiply(small: Path, root: Path, copies: int, user_copies: int) -> None:
    """Fill the empty warehouse `root` with `copies` of each item and `user_copies` of each user of `small`.

    Copies are named ID-000000 and so on; a copied user's events are on random copies of the items.
    """
    with open_warehouse(small) as source:
        tables = {name: source.arrow(f"SELECT * FROM {name}") for name in SMALL}
    given = {"copies": copies, "user_copies": user_copies}
    with rewrite_warehouse(root) as warehouse:
        for name, table in tables.items():
            warehouse.register(SMALL[name], table)
        for name, copied in COPIED.items():
            one = statement(f"benchmark/{copied}")
            warehouse.execute(
                f"INSERT INTO {name} BY NAME\n{one.text}", {key: given[key] for key in one.parameters}
            )
