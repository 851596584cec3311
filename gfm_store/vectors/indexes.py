"""Indexes of the published tables: on the columns that people filter by, and on words."""

import re

import lance
import pyarrow as pa
from lance.query import BooleanQuery, MatchQuery, Occur

SCALAR = {
    "retrieval": {"item_id": "BTREE", "item_type": "BITMAP", "language": "BITMAP", "published_at": "BTREE"},
    "item_search": {"item_id": "BTREE", "item_type": "BITMAP", "language": "BITMAP", "published_at": "BTREE"},
    "item_embedding": {"item_id": "BTREE", "item_type": "BITMAP", "language": "BITMAP", "creator": "BTREE"},
    "user_vector": {"user_id": "BTREE"},
    "co_interaction_edge": {"src_item_id": "BTREE", "dst_item_id": "BTREE"},
}
"""By table and column. BITMAP is for columns of few values."""
WORDS = {"item_search": ["name", "text"]}
"""By table: the columns whose words are found exactly."""


def build_indexes(dataset: lance.LanceDataset, name: str) -> None:
    """Build, anew, the indexes of the published table `name`; each is a further Lance version of it."""
    there = set(dataset.schema.names)
    for column, kind in SCALAR[name].items():
        if column in there:
            dataset.create_scalar_index(column, kind, replace=True)
    for column in there.intersection(WORDS.get(name, [])):
        # Several languages share a column, so words stay as they are: no stemming, no stop words, accents folded.
        dataset.create_scalar_index(
            column,
            "INVERTED",
            replace=True,
            with_position=False,
            base_tokenizer="simple",
            lower_case=True,
            ascii_folding=True,
            stem=False,
            remove_stop_words=False,
        )


def match_words(dataset: lance.LanceDataset, query: str) -> pa.Table:
    """`item_id` and `_score` (BM25, over all of `WORDS`) of every row of `item_search` that holds a word of `query`."""
    words = " ".join(re.findall(r"\w+", query))
    if not words:
        return pa.table({"item_id": pa.array([], pa.string()), "_score": pa.array([], pa.float32())})
    anywhere = BooleanQuery([(Occur.SHOULD, MatchQuery(words, column)) for column in WORDS["item_search"]])
    return dataset.scanner(
        columns=["item_id", "_score"], full_text_query=anywhere, limit=dataset.count_rows()
    ).to_table()
