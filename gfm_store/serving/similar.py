"""Items like other items, across types."""

import numpy as np
import pyarrow as pa

from gfm_store.schema import SIMILAR_ITEM
from gfm_store.serving.filters import ItemFilter
from gfm_store.serving.lists import check_whole
from gfm_store.serving.ranking import top_k
from gfm_store.serving.session import Session


def similar_items(session: Session, item_ids: list[str], k: int, wanted: ItemFilter) -> pa.Table:
    """The k available items most similar to each of `item_ids`, as SIMILAR_ITEM; an item is not similar to itself.

    Raises:
        UsageError: k below 1, an item that is not known, a filter that fits no item.
    """
    check_whole(k, "k")
    bound = session.bound
    node = bound.known_nodes(item_ids)
    allowed = wanted.allowed(bound) & session.offered
    own = bound.row_of_node[node]
    itself = (own >= 0).nonzero()[0], own[own >= 0]
    ranked = top_k(bound.similarity_queries(node), bound.search_vector, k, itself, allowed)
    query, place = (ranked.row >= 0).nonzero()
    row = pa.array(ranked.row[query, place])
    return pa.table(
        [
            pa.array(item_ids, pa.string()).take(pa.array(query)),
            pa.array(place + 1),
            bound.retrieval["item_id"].take(row),
            bound.retrieval["item_type"].take(row),
            pa.array(ranked.score[query, place].astype(np.float64)),
            pa.repeat(bound.record.version, len(query)),
        ],
        schema=SIMILAR_ITEM,
    )
