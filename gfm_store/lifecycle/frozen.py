"""What the frozen static layer gives to the items of a dynamic refresh."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gfm_store import progress
from gfm_store.config import Config, warehouse_option
from gfm_store.device import choose_device
from gfm_store.errors import UsageError
from gfm_store.static_layer.encoder import Embedded, ItemEncoder
from gfm_store.static_layer.text import TextEncoder, encode_items
from gfm_store.vectors.arrow import to_numpy
from gfm_store.vectors.static_version import read_table, static_folder
from gfm_store.vectors.text_cache import TextCache
from gfm_store.vectors.version import StaticRecord
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import read_interactions


class FrozenLayer:
    """The encoder and the sentence vectors of a static version, for the items of `item_node`: some came later."""

    def __init__(
        self,
        warehouse: Warehouse,
        item_node: pa.Table,
        static: StaticRecord,
        config: Config,
        quiet: bool = False,
    ) -> None:
        """
        Raises:
            UsageError: later items need a text vector, and the text model is another one by now.
        """
        self._warehouse, self._item_type = warehouse, item_node["item_type"]
        folder = static_folder(warehouse.root, static.version)
        embedded = read_table(folder, "item_embedding", ["item_id", "text_vector"])
        place = pc.index_in(item_node["item_id"], embedded["item_id"].combine_chunks()).combine_chunks()
        rows = pc.fill_null(place, -1).to_numpy()
        known = rows >= 0
        self.text = np.zeros((item_node.num_rows, static.text_dim), dtype=np.float32)
        """(N, text_dim) float32, sentence vectors by node."""
        item_text = warehouse.select("graph/item_text")
        self.text[known] = to_numpy(embedded["text_vector"])[rows[known]]
        if not known.all():
            self._encode_later(item_text.filter(pa.array(~known)), ~known, static, config)
            if not quiet:
                progress.say(
                    f"{(~known).sum():,} items came after the static version; the frozen HGNN embeds them."
                )
        self._encoder = ItemEncoder.load(
            folder, static.item_types, static.graph, static.window_days, static.min_users, static.seed
        ).numbered(rows)
        self._read = self._encoder.read(self.text, item_text["text"].to_pylist())

    def _encode_later(
        self, item_text: pa.Table, later: np.ndarray, static: StaticRecord, config: Config
    ) -> None:
        encoder = TextEncoder(config.text, str(choose_device(config)))
        if encoder.fingerprint != static.text_fingerprint:
            raise UsageError(
                f"text.model or text.max_tokens changed since the static version, which has {static.text_model!r} and "
                f"{static.text_max_tokens}; set them back, or run `python -m jobs.refresh_static "
                f"{warehouse_option(self._warehouse.root)}` first."
            )
        cache = TextCache(self._warehouse.root, encoder.fingerprint)
        self.text[later] = encode_items(item_text, encoder, cache)

    def vectors_at(self, moment: datetime) -> Embedded:
        """HGNN vectors, by node, from what was known before a moment."""
        one = self._encoder
        known = read_interactions(self._warehouse, moment, one.graph, one.window_days, one.min_users)
        return one.embed(self._item_type, self._read, known)
