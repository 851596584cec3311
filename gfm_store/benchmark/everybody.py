"""Lists for many users at once, beside the matrix product that lies at their bottom."""

import torch

from gfm_store.benchmark.measure import OURS, Measurement, median_ms, memory_above
from gfm_store.serving.ranking import ITEMS_AT_ONCE, USERS_AT_ONCE
from gfm_store.serving.store import Store
from gfm_store.vectors.arrow import to_numpy

K = 10
TIMES = 3


def measure_everybody(store: Store, num_users: int) -> list[Measurement]:
    """`recommend` from histories to lists, and the product of user and item vectors of the same shape in blocks."""
    ids = store.users().slice(0, num_users)
    table = store.sql("SELECT vector FROM retrieval")
    items = torch.from_numpy(to_numpy(table["vector"]))
    users = torch.randn(len(ids), items.shape[1], generator=torch.Generator().manual_seed(0))
    task = f"lists for {len(ids):,} users over {len(items):,} items"

    def product(_: int) -> None:
        for block in users.split(USERS_AT_ONCE):
            for part in items.split(ITEMS_AT_ONCE):
                block @ part.T

    with memory_above() as ours_mb:
        ours = median_ms(lambda _: store.recommend(ids, K), TIMES)
    with memory_above() as product_mb:
        theirs = median_ms(product, TIMES)
    return [
        Measurement(task, OURS, ours, 1.0, ours_mb[0], f"{len(ids) / ours * 1e3:,.0f} users a second"),
        Measurement(
            task, "BLAS product alone", theirs, None, product_mb[0], f"{theirs / ours:.0%} of its rate"
        ),
    ]
