"""The rows of the tables that a version publishes."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import torch

from gfm_store.config import Config
from gfm_store.dynamic_layer.fitting import DynamicFit
from gfm_store.dynamic_layer.history import Popularity
from gfm_store.schema import item_embedding_schema, item_search_schema, retrieval_schema, user_vector_schema
from gfm_store.vectors.arrow import to_arrow
from gfm_store.warehouse.history import TrainingTables


def item_embedding_rows(
    item_node: pa.Table, detail: pa.Table, vectors: np.ndarray, text: np.ndarray, version: str
) -> pa.Table:
    schema = item_embedding_schema(vectors.shape[1], text.shape[1])
    columns = {
        "item_id": item_node["item_id"],
        "item_type": item_node["item_type"],
        "vector": to_arrow(vectors),
        "text_vector": to_arrow(text),
        "embedding_version": pa.repeat(version, len(vectors)),
        **{name: detail[name] for name in detail.column_names},
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def retrieval_rows(item_node: pa.Table, fit: DynamicFit, config: Config, version: str) -> pa.Table:
    """The table that is searched: the available items."""
    schema = retrieval_schema(fit.model.dim)
    items = item_node.take(pa.array(fit.available))
    columns = {
        "item_id": items["item_id"],
        "item_type": items["item_type"],
        "vector": to_arrow(fit.item_vectors),
        "language": items["language"],
        "published_at": items["published_at"],
        "popularity": pa.array(
            recent_streams(fit.popularity, torch.from_numpy(fit.available), config.serving.popular_days)
        ),
        "embedding_version": pa.repeat(version, items.num_rows),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def recent_streams(popularity: Popularity, nodes: torch.Tensor, days: int) -> np.ndarray:
    """(n,) float64: streams of each of `nodes` (n,) in the last days; further back while nobody streamed."""
    now = torch.tensor(-1)
    while True:
        counts = popularity.count(nodes, now, torch.tensor(days))
        if counts.any() or days >= popularity.num_days:
            return counts.double().numpy()
        days *= 2


def user_vector_rows(
    tables: TrainingTables,
    fit: DynamicFit,
    vectors: np.ndarray,
    item_type: np.ndarray,
    as_of: datetime,
    version: str,
) -> pa.Table:
    """Vectors of all users with a history at `as_of`."""
    blocks, kept = [], []
    for block, has_history in fit.model.user_vectors(tables.history, as_of, vectors, item_type):
        blocks.append(block[has_history])
        kept.append(has_history)
    users = tables.history.user_node["user_id"].filter(pa.array(np.concatenate(kept)))
    return pa.table(
        [
            users,
            to_arrow(np.concatenate(blocks)),
            pa.repeat(pa.scalar(as_of, pa.timestamp("us")), len(users)),
            pa.repeat(version, len(users)),
        ],
        schema=user_vector_schema(fit.model.dim),
    )


def item_search_rows(
    item_node: pa.Table, words: pa.Table, vectors: np.ndarray, available: np.ndarray, version: str
) -> pa.Table:
    """The table of search and similarity: the available items, from words and vectors (N, dim) by node."""
    schema = item_search_schema(vectors.shape[1])
    items, words = item_node.take(pa.array(available)), words.take(pa.array(available))
    columns = {
        "item_id": items["item_id"],
        "item_type": items["item_type"],
        **{name: words[name] for name in words.column_names},
        "vector": to_arrow(vectors[available]),
        "language": items["language"],
        "published_at": items["published_at"],
        "embedding_version": pa.repeat(version, items.num_rows),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)
