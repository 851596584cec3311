"""Search by meaning and by words together.

    score = MEANING * cosine(query text, item text) + words / (the best match's words) + PERSONAL * fit to a user

`words` is BM25 over title and creator, and over all of an item's text. Sums of scores find exact names, which a
fusion of ranks does not: of 200 creators of the made world, the first hit is theirs for 99%, by ranks for 23%. On
titles of two real catalogues, in part or with a typing error, the sum finds about as much as the better side alone, or
more.
"""

from functools import lru_cache

import numpy as np
import pyarrow as pa

from gfm_store.arguments import one_text
from gfm_store.config import TextConfig, warehouse_option
from gfm_store.dynamic_layer.similarity import text_query
from gfm_store.errors import UsageError
from gfm_store.schema import FOUND_ITEM
from gfm_store.serving.filters import ItemFilter
from gfm_store.serving.lists import check_whole
from gfm_store.serving.ranking import top_k
from gfm_store.serving.session import AskedUsers, Session
from gfm_store.static_layer.text import TextEncoder
from gfm_store.vectors.indexes import match_words

MEANING = 0.5
"""Weight of the meaning beside the words."""
PERSONAL = 0.25
"""Weight of a user's scores, scaled to [0, 1] over what may be found."""
MAX_WORDS = 1_000


def search(session: Session, query: str, k: int, wanted: ItemFilter, user: AskedUsers | None) -> pa.Table:
    """The k available items that fit `query` best, as FOUND_ITEM.

    Raises:
        UsageError: an empty or too long query, k below 1, a filter that fits no item.
    """
    check_whole(k, "k")
    if not one_text(query, "the query").strip():
        raise UsageError("the query is empty; write what to look for, as a text.")
    if (n_words := len(query.split())) > MAX_WORDS:
        raise UsageError(f"the query has {n_words:,} words; at most {MAX_WORDS:,} are searched for.")
    bound = session.bound
    allowed = wanted.allowed(bound) & session.offered
    if user is not None and (in_market := session.in_market(user.country[0])) is not None:
        allowed &= in_market
    text = _encoder(session).encode([query])[0]
    scores = MEANING * (bound.search_vector @ text_query(text, bound.search_vector.shape[1])) + _words(
        session, query
    )
    if user is not None and user.has_history[0]:
        scores += PERSONAL * _scaled(bound.retrieval_vector @ user.vector[0], allowed)
    ranked = top_k(np.ones((1, 1), dtype=np.float32), scores[:, None].astype(np.float32), k, allowed=allowed)
    rows = ranked.row[0][ranked.row[0] >= 0]
    row = pa.array(rows)
    return pa.table(
        [
            pa.array(np.arange(1, len(rows) + 1)),
            bound.retrieval["item_id"].take(row),
            bound.retrieval["item_type"].take(row),
            bound.attribute["title"].take(row),
            pa.array(ranked.score[0][: len(rows)].astype(np.float64)),
            pa.repeat(bound.record.version, len(rows)),
        ],
        schema=FOUND_ITEM,
    )


def _words(session: Session, query: str) -> np.ndarray:
    """(n,) float32 in [0, 1]: how well each row's words match, 1 for the best."""
    bound = session.bound
    matched = match_words(bound.tables.open("item_search"), query)
    scores = np.zeros(bound.retrieval.num_rows, dtype=np.float32)
    row = bound.row_of_node[bound.nodes_of(matched["item_id"].to_pylist())]
    scores[row] = matched["_score"].to_numpy()
    return scores / max(scores.max(initial=0.0), 1e-12)


def _scaled(scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """To [0, 1] over what is allowed."""
    low, high = scores[allowed].min(initial=np.inf), scores[allowed].max(initial=-np.inf)
    scaled: np.ndarray = (scores - low) / max(high - low, 1e-12)
    return scaled


def _encoder(session: Session) -> TextEncoder:
    """The encoder that made a version's text vectors.

    Raises:
        UsageError: the model is another one by now.
    """
    static, root = session.bound.static_record, session.bound.tables.root
    config = TextConfig(model=static.text_model, max_tokens=static.text_max_tokens)
    encoder = _loaded(config, static.text_fingerprint)
    if encoder.fingerprint != static.text_fingerprint:
        raise UsageError(
            f"the text model {static.text_model!r} changed since the version was built, so queries cannot be compared "
            f"with its items. Run `python -m jobs.refresh_static {warehouse_option(root)}` and `python -m "
            f"jobs.refresh_dynamic {warehouse_option(root)}`."
        )
    return encoder


@lru_cache(maxsize=1)
def _loaded(config: TextConfig, fingerprint: str) -> TextEncoder:
    """Loaded anew where a version wants another one under the same name."""
    return TextEncoder(config, "cpu")
