"""What the frozen static layer gives to the items of a dynamic refresh."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gfm_store import progress
from gfm_store.config import Config
from gfm_store.device import choose_device
from gfm_store.errors import UsageError
from gfm_store.static_layer.fitting import load_hgnn
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.static_version import read_table, static_folder
from gfm_store.vectors.text_cache import TextCache
from gfm_store.vectors.version import StaticRecord
from gfm_store.warehouse.connection import Warehouse


def static_vectors(
    warehouse: Warehouse, item_node: pa.Table, static: StaticRecord, config: Config, quiet: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """HGNN (N, dim) and text (N, text_dim) vectors by node; items that came after the static version get theirs
    from their text, through the frozen HGNN."""
    folder = static_folder(warehouse.root, static.version)
    embedded = read_table(folder, "item_embedding", ["item_id", "vector", "text_vector"])
    place = pc.index_in(item_node["item_id"], embedded["item_id"].combine_chunks()).combine_chunks()
    known = pc.is_valid(place).to_numpy(zero_copy_only=False)
    rows = place.drop_null().to_numpy()
    vectors = np.zeros((item_node.num_rows, static.dim), dtype=np.float32)
    text = np.zeros((item_node.num_rows, static.text_dim), dtype=np.float32)
    vectors[known], text[known] = to_numpy(embedded["vector"])[rows], to_numpy(embedded["text_vector"])[rows]
    if not known.all():
        encoder = TextEncoder(config.text, str(choose_device(config)))
        if encoder.fingerprint != static.text_fingerprint:
            raise UsageError(
                "text.model changed since the static version; run `python -m jobs.refresh_static` first."
            )
        new = pa.array(~known)
        cache = TextCache(warehouse.root, encoder.fingerprint)
        text[~known] = encode_items(warehouse.select("graph/item_text").filter(new), encoder, cache)
        hgnn = load_hgnn(folder, static.text_dim, static.dim, len(static.item_types), len(static.fanout))
        vectors[~known] = hgnn.embed_isolated(torch.from_numpy(text[~known])).numpy()
        if not quiet:
            progress.say(
                f"{(~known).sum():,} items came after the static version; their vectors come from their text."
            )
    return vectors, text
