"""What users without a history are shown: what the model expects of anybody, and what is streamed where they are.

    score(item, country) = (streams in the country + PRIOR_STREAMS * prior) / (all of its streams + PRIOR_STREAMS)
    prior(item, country) ~ p(item) * how much more the item's language is heard in the country than anywhere

`p` is the softmax of the model's scores for an empty history: how much an item is streamed of late, how new it is and
whether it is rising, weighed as they foretold new streams in the past.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PRIOR_STREAMS = 100
"""As many streams of its own a country has before they count as much as what is expected."""


class Popularity:
    """Scores of n items at a moment, by country.

    Args:
        expected: (n,) float32, the model's scores for an empty history.
        language: (n,) dictionary-encoded.
        recent: `recent_stream` of the moment; node is a place among the n.
        listed: (n,) bool: the items that are shown; others are scored beside them, as if nobody had streamed them.
    """

    def __init__(
        self, expected: np.ndarray, language: pa.DictionaryArray, recent: pa.Table, listed: np.ndarray
    ) -> None:
        recent = recent.filter(pa.array(listed[recent["node"].to_numpy()], pa.bool_()))
        self._node, self._streams = (recent[name].to_numpy() for name in ("node", "n_streams"))
        country = recent["country"].combine_chunks().dictionary_encode()
        self._countries: list[str] = country.dictionary.to_pylist()
        self._country = pc.fill_null(country.indices, -1).to_numpy(zero_copy_only=False)
        self._num_languages = len(language.dictionary) + 1
        self._language = pc.fill_null(language.indices, self._num_languages - 1).to_numpy(
            zero_copy_only=False
        )
        self._listed = listed
        self._anywhere = self._count(np.ones(len(self._node), dtype=bool))
        self._expected = np.exp(expected - expected.max(initial=-np.inf, where=listed))
        self._expected /= max(self._expected[listed].sum(), 1e-12)

    def scores(self, country: str | None) -> np.ndarray:
        """(n,) float32; for an unknown country, what is expected anywhere."""
        share = self._expected
        if country in self._countries:
            here = self._count(self._country == self._countries.index(country))
            prior = self._expected * self._language_lift(here)[self._language]
            prior /= max(prior[self._listed].sum(), 1e-12)
            share = (here + PRIOR_STREAMS * prior) / (here.sum() + PRIOR_STREAMS)
        scores: np.ndarray = share.astype(np.float32)
        return scores

    def _count(self, which: np.ndarray) -> np.ndarray:
        return np.bincount(self._node[which], self._streams[which], minlength=len(self._language))

    def _language_lift(self, here: np.ndarray) -> np.ndarray:
        """(languages,): share of each language in a country over its share anywhere."""
        there = np.bincount(self._language, here, minlength=self._num_languages) / max(here.sum(), 1.0)
        anywhere = np.bincount(self._language, self._anywhere, minlength=self._num_languages)
        lift: np.ndarray = there / np.maximum(anywhere / max(self._anywhere.sum(), 1.0), 1e-12)
        return lift
