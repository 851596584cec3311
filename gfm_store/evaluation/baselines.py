"""What a model must beat, each tuned on the time before the cut: popularity, neighbours, linear models, text, a blend.

A baseline is a frozen dataclass of settings. `grid` lists the settings that tuning tries, `fit` learns from what is
before the cut and returns a `Scorer`. Shapes: P users with an event before the cut, N items, b users of a block. The
streams X (P, N) are 1 where a user ever streamed an item, else 0; a *profile* weighs a user's items by recency. Whoever
knows nothing of a user (no stream) or of an item (no stream, no text) scores 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import norm as sparse_norm
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from gfm_store.evaluation.ranking import Scorer
from gfm_store.evaluation.split import Split

EASE_LIMIT = 12_000
"""The side of the largest matrix that EASE inverts: 0.6 GB."""
COLUMNS_AT_ONCE = 2048
SEED = 0
Kind = TypeVar("Kind")


class Baseline(Protocol):
    """Settings of one way to score every item for every user."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What it does and where it is from, in one sentence."""

    @classmethod
    def grid(cls, tuned: Sequence["Baseline"]) -> Iterator[Self]:
        """The settings that tuning tries; `tuned` are the baselines tuned before this one."""
        ...

    def fit(self, split: Split) -> Scorer:
        """Learn from what is before the cut; the scorer returns finite (b, N) float32."""
        ...


@dataclass(frozen=True)
class Popularity:
    """Users per item who last streamed it inside the trailing window; all of history breaks ties."""

    days: float

    name: ClassVar[str] = "popularity"
    about: ClassVar[str] = (
        "Users who streamed the item in the last days before the cut, the same list for everybody."
    )
    windows: ClassVar[tuple[float, ...]] = (3, 7, 14, 30, 90, 365, np.inf)

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Windows from three days to all time."""
        return (cls(days) for days in cls.windows)

    def fit(self, split: Split) -> Scorer:
        """The same scores for everybody; only the tie-break is not a whole number."""
        ever = popularity(split.streams, np.inf)
        scores = (popularity(split.streams, self.days) + ever / (ever.max(initial=0) + 1)).astype(np.float32)
        return lambda users: np.tile(scores, (len(users), 1))


@dataclass(frozen=True)
class ItemKNN:
    """Cosine between the items' users, shrunk, summed over the profile; an item streamed lately is nearer.

    From item i to item j: sum over the users of both of 2^(-days since j was streamed / stream_half_life_days), over
    sqrt(users of i * users of j) + shrink.
    """

    neighbours: int
    shrink: float
    stream_half_life_days: float
    """Of the neighbour's streams; infinite: the plain cosine."""
    half_life_days: float
    """Of the profile."""

    name: ClassVar[str] = "ItemKNN"
    about: ClassVar[str] = (
        "Items streamed by the users of one's own items, recent streams counting more (shrunk cosine); "
        "Sarwar et al., WWW 2001, with the time weights of Ding and Li, CIKM 2005."
    )

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Shrinkage and half-lives; those that share a similarity are side by side."""
        points = product((500,), (10.0, 100.0), (3.0, 7.0, 30.0, np.inf), (30.0, np.inf))
        return (cls(*point) for point in points)

    def fit(self, split: Split) -> Scorer:
        """Similarities (N, N), sparse."""
        similarity = item_cosine(split, self.neighbours, self.shrink, self.stream_half_life_days)
        return _through_items(split, similarity, self.half_life_days)


@dataclass(frozen=True)
class RP3beta:
    """Random walk user -> item -> user -> item, its end divided by the item's streams to the power of beta.

    W = (D_item^-1 X')^alpha (D_user^-1 X)^alpha D_item^-beta, powers taken entry by entry; the strongest of each row
    are kept.
    """

    alpha: float
    beta: float
    neighbours: int
    half_life_days: float

    name: ClassVar[str] = "RP3beta"
    about: ClassVar[str] = (
        "A random walk of three steps from the user, popular items held down; Paudel et al., ACM TiiS 2017."
    )

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Exponents and half-life."""
        return (cls(a, b, 500, h) for a, b, h in product((0.4, 0.7, 1.0), (0.0, 0.3), (30.0, np.inf)))

    def fit(self, split: Split) -> Scorer:
        """Transitions (N, N), sparse."""
        walk = three_steps(split, self.alpha, self.beta, self.neighbours)
        return _through_items(split, walk, self.half_life_days)


@dataclass(frozen=True)
class EASE:
    """The linear item-item model without self-similarity, in closed form.

    B = -P / diag(P) by columns with a zero diagonal, P = (X'X + l2 I)^-1 over items with streams. Where fewer users
    than items have streams, P is kept as (I - X'(XX' + l2 I)^-1 X) / l2, which is the same (Woodbury). Exact up to
    EASE_LIMIT users or items; with more of both, it knows the EASE_LIMIT most streamed items only.
    """

    l2: float
    half_life_days: float

    name: ClassVar[str] = "EASE"
    about: ClassVar[str] = (
        "The best linear item-to-item model (ridge regression without self-similarity); Steck, WWW 2019."
    )

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Regularisation and half-life; those that share an inverse are side by side."""
        return (cls(*point) for point in product((100.0, 1000.0), (7.0, 30.0, np.inf)))

    def fit(self, split: Split) -> Scorer:
        """An inverse of the smaller side."""
        precision = item_precision(split, self.l2)

        def score(users: np.ndarray) -> np.ndarray:
            profile = _profile(split, users, self.half_life_days)
            mine = profile[:, precision.nodes]
            scores = np.zeros(profile.shape, dtype=np.float32)
            scores[:, precision.nodes] = mine.toarray() - precision.times(mine) / precision.diagonal
            return scores

        return score


@dataclass(frozen=True)
class IALS:
    """Matrix factorisation of streams by alternating least squares; every pair counts, streamed ones more.

    The confidence of a stream is 1 + alpha * 2^(-days / half-life), of what was not streamed 1.
    """

    factors: int
    regularisation: float
    alpha: float
    half_life_days: float
    iterations: int = 15

    name: ClassVar[str] = "iALS"
    about: ClassVar[str] = "Matrix factorisation for implicit feedback; Hu, Koren and Volinsky, ICDM 2008."

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Factors, regularisation, confidence and half-life."""
        return (cls(*point) for point in product((16, 64), (1.0, 10.0, 100.0), (10.0,), (180.0, np.inf)))

    def fit(self, split: Split) -> Scorer:
        """Factors of users (P, factors) and of the n items with streams (n, factors)."""
        nodes = _streams_of_item(split).nonzero()[0]
        confidence = split.streams[:, nodes].astype(np.float32)
        confidence.data = 1 + self.alpha * np.exp2(-confidence.data / self.half_life_days)
        with threadpool_limits(1, "blas"):  # the package warns of more
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularisation,
                iterations=self.iterations,
                num_threads=1,
                random_state=SEED,
            )
            model.fit(sparse.csr_matrix(confidence), show_progress=False)

        def score(users: np.ndarray) -> np.ndarray:
            known = split.known_user[users]
            scores = np.zeros((len(users), split.item.num_rows), dtype=np.float32)
            scores[:, nodes] = (
                np.where(known[:, None] >= 0, model.user_factors[known], 0) @ model.item_factors.T
            )
            return scores

        return score


@dataclass(frozen=True)
class TfIdf:
    """Cosine between an item's text and the profile's: runs of up to `words` words, the rare ones counting more."""

    words: int
    half_life_days: float

    name: ClassVar[str] = "TF-IDF"
    about: ClassVar[str] = "Items whose text shares rare words with the texts of the user's own."

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Words and half-life; those that share a vocabulary are side by side."""
        return (cls(*point) for point in product((1, 2), (7.0, 30.0, 180.0, np.inf)))

    def fit(self, split: Split) -> Scorer:
        """Term weights (N, V), sparse."""
        return _through_text(split, text_terms(split, self.words), self.half_life_days)


@dataclass(frozen=True)
class SentenceVectors:
    """Cosine between an item's sentence vector and the profile's."""

    half_life_days: float

    name: ClassVar[str] = "sentence vectors"
    about: ClassVar[str] = (
        "Items whose text means the like of the user's own, by the language model's vectors."
    )

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Half-lives."""
        return (cls(days) for days in (7.0, 30.0, 180.0, np.inf))

    def fit(self, split: Split) -> Scorer:
        """Nothing is learned: `split.text_vector` is what there is."""
        return _through_text(split, split.text_vector, self.half_life_days)


@dataclass(frozen=True)
class Blend:
    """Weighted sum of ItemKNN, TF-IDF and the logarithm of popularity, whose weight is 1.

    Each part's greatest score is 1: a user's greatest over unseen items for ItemKNN and TF-IDF, the greatest of all for
    log(1 + users), so that the weights mean the same for everybody. A new user gets popularity alone.
    """

    item_knn: ItemKNN
    tf_idf: TfIdf
    popularity: Popularity
    item_knn_weight: float
    tf_idf_weight: float

    name: ClassVar[str] = "blend"
    about: ClassVar[str] = "Weighted sum of ItemKNN, TF-IDF and the logarithm of popularity."

    @classmethod
    def grid(cls, tuned: Sequence[Baseline]) -> Iterator[Self]:
        """Weights, and popularity's window: the tuned one, the next shorter and the next longer."""
        item_knn, tf_idf = _only(tuned, ItemKNN), _only(tuned, TfIdf)
        at = Popularity.windows.index(_only(tuned, Popularity).days)
        for days in Popularity.windows[max(at - 1, 0) : at + 2]:
            for weights in product((0.0, 0.2, 1.0, 3.0), (0.0, 0.1, 0.3)):
                yield cls(item_knn, tf_idf, Popularity(days), *weights)

    def fit(self, split: Split) -> Scorer:
        """Fits of the parts; those of weight 0 are left out."""
        users_of_item = np.log1p(self.popularity.fit(split)(np.zeros(1, dtype=np.int64)))
        popular = users_of_item / users_of_item.max()
        parts = [
            (weight, part.fit(split))
            for weight, part in ((self.item_knn_weight, self.item_knn), (self.tf_idf_weight, self.tf_idf))
            if weight
        ]

        def score(users: np.ndarray) -> np.ndarray:
            seen = split.seen(users)
            scores = np.repeat(popular, len(users), axis=0)
            for weight, part in parts:
                mine = part(users)
                mine[seen] = 0
                greatest = mine.max(axis=1, keepdims=True, initial=0)
                mine /= np.where(greatest > 0, greatest, 1)  # may be next to nothing: old streams
                scores += np.float32(weight) * mine
            return scores

        return score


BASELINES: tuple[type[Baseline], ...] = (
    Popularity,
    ItemKNN,
    RP3beta,
    EASE,
    IALS,
    TfIdf,
    SentenceVectors,
    Blend,
)
"""In the order of tuning."""


def _only(tuned: Sequence[Baseline], kind: type[Kind]) -> Kind:
    """The tuned baseline of a kind."""
    return next(baseline for baseline in tuned if isinstance(baseline, kind))


def popularity(streams: sparse.csr_array, days: float) -> np.ndarray:
    """(N,) users who last streamed an item inside the trailing window."""
    inside = sparse.csr_array((streams.data <= days, streams.indices, streams.indptr), streams.shape)
    return np.asarray(inside.sum(axis=0), dtype=np.float64).ravel()


def _ones(split: Split) -> sparse.csr_array:
    """(P, N): X."""
    streams = split.streams
    return sparse.csr_array(
        (np.ones(streams.nnz, np.float32), streams.indices, streams.indptr), streams.shape
    )


def _streams_of_item(split: Split) -> np.ndarray:
    """(N,) users who ever streamed the item."""
    return np.bincount(split.streams.indices, minlength=split.item.num_rows)


def _profile(split: Split, users: np.ndarray, half_life_days: float) -> sparse.csr_array:
    """(b, N): 2^(-days / half-life), the days counted from the user's own last stream: only proportions matter."""
    profile = split.profile(users)
    row = np.repeat(np.arange(len(users)), np.diff(profile.indptr))
    newest = np.full(len(users), np.inf)
    np.minimum.at(newest, row, profile.data)
    weight = np.exp2((newest[row] - profile.data) / half_life_days).astype(np.float32)
    return sparse.csr_array((weight, profile.indices, profile.indptr), profile.shape)


def _through_items(split: Split, similarity: sparse.csr_array, half_life_days: float) -> Scorer:
    """Scores profile @ similarity."""
    return lambda users: (_profile(split, users, half_life_days) @ similarity).toarray()


def _through_text(split: Split, vector: Any, half_life_days: float) -> Scorer:
    """Cosines of the profile's sum of `vector` with each of its rows: (N, V), dense or sparse, unit length or zero."""
    across = vector.T.tocsr() if sparse.issparse(vector) else vector.T

    def score(users: np.ndarray) -> np.ndarray:
        taste = _profile(split, users, half_life_days) @ vector
        if sparse.issparse(taste):
            length, inner = sparse_norm(taste, axis=1), (taste @ across).toarray()
        else:
            length, inner = np.linalg.norm(taste, axis=1), taste @ across
        inner /= np.where(length > 0, length, 1)[:, None].astype(inner.dtype)
        return inner

    return score


@lru_cache(maxsize=2)
def item_cosine(
    split: Split, neighbours: int, shrink: float, stream_half_life_days: float
) -> sparse.csr_array:
    """(N, N) from item to neighbour, the strongest of each row, none to itself; see `ItemKNN`."""
    streams, recent = _ones(split), _ones(split)
    recent.data = np.exp2(-split.streams.data / stream_half_life_days)
    both = _without_diagonal(streams.T @ recent)
    norm = np.sqrt(_streams_of_item(split))
    return _strongest(both, both.data / (norm[both.row] * norm[both.col] + shrink), neighbours)


@lru_cache(maxsize=1)
def three_steps(split: Split, alpha: float, beta: float, neighbours: int) -> sparse.csr_array:
    """(N, N) W of RP3beta, the strongest of each row, without the way back to the item itself."""
    streams = _ones(split)
    item, user = (np.maximum(np.asarray(streams.sum(axis=i)), 1) for i in (0, 1))
    back = sparse.diags_array(item**-alpha) @ streams.T
    walk = _without_diagonal(back @ (sparse.diags_array(user**-alpha) @ streams))
    return _strongest(walk, walk.data * item[walk.col] ** -beta, neighbours)


def _without_diagonal(square: sparse.csr_array) -> sparse.coo_array:
    pairs = square.tocoo()
    other = pairs.row != pairs.col
    return sparse.coo_array((pairs.data[other], (pairs.row[other], pairs.col[other])), shape=pairs.shape)


def _strongest(pairs: sparse.coo_array, value: np.ndarray, count: int) -> sparse.csr_array:
    """The `count` greatest of `value` (nnz,) in each row of `pairs`; ties go to the first column."""
    row, col = pairs.row, pairs.col
    order = np.lexsort((col, -value, row))
    row, col, value = row[order], col[order], value[order].astype(np.float32)
    keep = np.arange(len(row)) - np.searchsorted(row, row) < count
    return sparse.csr_array((value[keep], (row[keep], col[keep])), shape=pairs.shape)


@lru_cache(maxsize=1)
def text_terms(split: Split, words: int) -> sparse.csr_array:
    """(N, V) float32 rows of unit length: terms and their rareness are those of the items known at the cut."""
    text = np.array(split.item["text"].to_pylist(), dtype=object)
    terms = TfidfVectorizer(ngram_range=(1, words), sublinear_tf=True, dtype=np.float32)
    try:
        terms.fit(text[split.known])
    except ValueError:  # no known item has a word
        return sparse.csr_array((len(text), 1), dtype=np.float32)
    return sparse.csr_array(terms.transform(text))


@dataclass(frozen=True)
class Precision:
    """P = (X'X + l2 I)^-1 of n items, whole (n, n), or by K = (XX' + l2 I)^-1 (p, p) of the p users."""

    nodes: np.ndarray
    """(n,)."""
    l2: float
    inverse: np.ndarray
    """P or K."""
    streams: sparse.csr_array | None
    """(p, n): X where `inverse` is K."""
    diagonal: np.ndarray
    """(n,) of P."""

    def times(self, rows: sparse.csr_array) -> np.ndarray:
        """(b, n) float32: rows (b, n) @ P."""
        if self.streams is None:
            return rows @ self.inverse
        through = ((rows @ self.streams.T) @ self.inverse) @ self.streams
        return (rows.toarray() - through) / np.float32(self.l2)


@lru_cache(maxsize=1)
def item_precision(split: Split, l2: float) -> Precision:
    """P over the items with streams, by the smaller of its two forms."""
    streams = _ones(split)
    count = _streams_of_item(split)
    streams = streams[np.diff(streams.indptr) > 0]
    nodes = count.nonzero()[0]
    if min(streams.shape[0], len(nodes)) > EASE_LIMIT:
        nodes = np.sort(np.argsort(-count, kind="stable")[:EASE_LIMIT])
    streams = streams[:, nodes]
    if streams.shape[0] >= len(nodes):
        inverse = _inverse(streams.T @ streams, l2)
        return Precision(nodes, l2, inverse, None, inverse.diagonal().copy())
    inverse = _inverse(streams @ streams.T, l2)
    diagonal = np.empty(len(nodes), dtype=np.float32)
    for begin in range(0, len(nodes), COLUMNS_AT_ONCE):
        block = streams[:, begin : begin + COLUMNS_AT_ONCE].T.tocsr()
        explained = np.asarray(block.multiply(block @ inverse).sum(axis=1)).ravel()
        diagonal[begin : begin + COLUMNS_AT_ONCE] = (1 - explained) / l2
    return Precision(nodes, l2, inverse, streams, diagonal)


def _inverse(gram: sparse.csr_array, l2: float) -> np.ndarray:
    """(gram + l2 I)^-1 float32, by Cholesky, in the memory of one matrix."""
    matrix = gram.toarray(order="F")
    np.fill_diagonal(matrix, matrix.diagonal() + l2)
    factor, failed = lapack.spotrf(matrix, lower=True, clean=False, overwrite_a=True)
    inverse, wrong = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or wrong:
        raise FloatingPointError(f"EASE: X'X + {l2:g} I cannot be inverted in float32.")
    for begin in range(0, len(inverse), COLUMNS_AT_ONCE):  # only the lower half is filled
        end = begin + COLUMNS_AT_ONCE
        inverse[begin:end, end:] = inverse[end:, begin:end].T
        square = np.tril(inverse[begin:end, begin:end])
        inverse[begin:end, begin:end] = square + np.tril(square, -1).T
    return inverse


def clear_caches() -> None:
    """Let go of what fits share: matrices of the last split."""
    for shared in (item_cosine, three_steps, text_terms, item_precision):
        shared.cache_clear()
