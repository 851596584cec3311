"""Names and types that outside programs rely on: signals, tables, columns, Arrow schemas.

The warehouse tables themselves are made by `sql/warehouse/`; a test holds the two together.
"""

import pyarrow as pa

SCHEMA_VERSION = 1
"""Version of the tables in `gfm.duckdb`; a warehouse with any other version is refused."""

STRONG_SIGNALS = ("stream",)
"""What a user has *seen*, what counts as a *target*, what makes edges."""
WEAK_SIGNALS = ("follow", "preview", "intent_to_pay")
"""Join histories, and edges where configured."""
SKIP_SIGNAL = "skip"
"""Neither strong nor weak: it pushes down."""
EVENT_TYPES = (*STRONG_SIGNALS, *WEAK_SIGNALS, SKIP_SIGNAL)

TIMESTAMP = pa.timestamp("us")
"""All moments are UTC without a zone, in microseconds."""

ITEM = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("item_type", pa.string(), nullable=False),
        ("title", pa.string()),
        ("description", pa.string()),
        ("genres", pa.list_(pa.string())),
        ("language", pa.string()),
        ("creator", pa.string()),
        ("published_at", TIMESTAMP),
        ("withdrawn_at", TIMESTAMP),
        ("markets", pa.list_(pa.string())),
    ]
)
INTERACTION_EVENT = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("event_ts", TIMESTAMP, nullable=False),
        ("seconds_played", pa.float64()),
    ]
)
USER_PROFILE = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        ("country", pa.string()),
        ("age_band", pa.string()),
    ]
)
"""Further columns are allowed and taken as categorical features."""

CO_INTERACTION_EDGE = pa.schema(
    [
        ("src_item_id", pa.string()),
        ("src_type", pa.string()),
        ("dst_item_id", pa.string()),
        ("dst_type", pa.string()),
        ("n_users", pa.int64()),
        ("weight", pa.float64()),
    ]
)


def vector_type(dim: int) -> pa.DataType:
    """Fixed-size list of float32, which LanceDB and DuckDB both read as a vector of `dim`."""
    return pa.list_(pa.float32(), dim)


def item_embedding_schema(dim: int, text_dim: int) -> pa.Schema:
    """`item_embedding`: HGNN vector (`dim`), text vector (`text_dim`), then the item's own columns."""
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("item_type", pa.string(), nullable=False),
            ("vector", vector_type(dim)),
            ("text_vector", vector_type(text_dim)),
            ("embedding_version", pa.string()),
            *[ITEM.field(i) for i in range(2, len(ITEM))],
        ]
    )


def retrieval_schema(dim: int) -> pa.Schema:
    """`retrieval`: the table that is searched; all rows have the same norm."""
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("item_type", pa.string(), nullable=False),
            ("vector", vector_type(dim)),
            ("language", pa.string()),
            ("published_at", TIMESTAMP),
            ("popularity", pa.float64()),
            ("embedding_version", pa.string()),
        ]
    )


def item_search_schema(dim: int) -> pa.Schema:
    """`item_search`: the available items, by meaning and by words: `name` (title, creator) and `text` are indexed."""
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("item_type", pa.string(), nullable=False),
            ("title", pa.string()),
            ("name", pa.string()),
            ("text", pa.string()),
            ("vector", vector_type(dim)),
            ("language", pa.string()),
            ("published_at", TIMESTAMP),
            ("embedding_version", pa.string()),
        ]
    )


def user_vector_schema(dim: int) -> pa.Schema:
    """`user_vector`: same length and same dot product as `retrieval`."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            ("vector", vector_type(dim)),
            ("as_of", TIMESTAMP),
            ("embedding_version", pa.string()),
        ]
    )


RECOMMENDATION = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int64()),
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("embedding_version", pa.string()),
    ]
)

SIMILAR_ITEM = pa.schema(
    [
        ("query_item_id", pa.string()),
        ("rank", pa.int64()),
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("score", pa.float64()),
        ("embedding_version", pa.string()),
    ]
)
FOUND_ITEM = pa.schema(
    [
        ("rank", pa.int64()),
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("title", pa.string()),
        ("score", pa.float64()),
        ("embedding_version", pa.string()),
    ]
)
EXPLANATION = pa.schema(
    [
        ("reason", pa.string()),
        ("item_id", pa.string()),
        ("share", pa.float64()),
        ("rank_without", pa.int64()),
        ("title", pa.string()),
        ("n_users", pa.int64()),
        ("weight", pa.float64()),
        ("rank", pa.int64()),
        ("rank_without_all", pa.int64()),
    ]
)
VERSION = pa.schema(
    [
        ("embedding_version", pa.string()),
        ("static_version", pa.string()),
        ("as_of", TIMESTAMP),
        ("built_at", TIMESTAMP),
        ("n_items", pa.int64()),
        ("n_users", pa.int64()),
        ("n_pairs", pa.int64()),
        ("index_kind", pa.string()),
        ("index_recall", pa.float64()),
        ("validation_ndcg", pa.float64()),
        ("is_published", pa.bool_()),
    ]
)
"""The table `version` of SQL: one row for each version that is kept."""
KEPT_ITEM_EMBEDDING = "_item_embedding_"
"""Prefix of what `item_embedding_history` of SQL is put together from: the item_embedding of each kept version."""
