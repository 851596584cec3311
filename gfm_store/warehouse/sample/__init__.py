"""The made sample world: podcasts, audiobooks, music and listeners, with a hidden truth kept apart.

`world` defines it, `draw` draws it, `text` words it, `events` lets it happen by way of `choice`, `truth` keeps
what is hidden, and `fill` puts it into an empty warehouse.
"""

from gfm_store.warehouse.sample.fill import SampleSummary, make_sample
from gfm_store.warehouse.sample.truth import true_scores
from gfm_store.warehouse.sample.world import SampleSettings

__all__ = ["SampleSettings", "SampleSummary", "make_sample", "true_scores"]
