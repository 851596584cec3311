"""The model under evaluation: both layers fitted at a cut, as the refreshes fit them, and scored on a split."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gfm_store.config import Config, GraphConfig
from gfm_store.dynamic_layer.fitting import fit_dynamic
from gfm_store.dynamic_layer.model import DynamicModel
from gfm_store.dynamic_layer.moments import held_out_days
from gfm_store.evaluation.ranking import Scorer
from gfm_store.evaluation.split import Split
from gfm_store.serving.popular import Popularity
from gfm_store.static_layer.encoder import Embedded, ItemEncoder, read_texts
from gfm_store.static_layer.fitting import fit_static, fit_words
from gfm_store.static_layer.newcomers import KnownTexts
from gfm_store.static_layer.structure import structural_coordinates, unit
from gfm_store.warehouse.connection import Warehouse
from gfm_store.warehouse.graph import (
    read_graph,
    read_interactions,
    read_item_nodes,
    read_user_set,
)
from gfm_store.warehouse.history import (
    HistoryTables,
    given_history,
    read_histories,
    read_recent_streams,
    read_training,
)

Curves = dict[str, list[dict[str, float]]]


@dataclass(frozen=True)
class StandIn:
    """Rows of a statement of `sql/evaluation/` that stand in for a table of the warehouse."""

    table: str
    source: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What an ablation does to the model; by default nothing."""

    name: str
    """Tells it from every other change: what was fitted with it is kept under this name."""
    configure: Callable[[Config], Config] = lambda config: config
    stand_ins: tuple[StandIn, ...] = ()
    """What both layers read instead of the warehouse's tables."""
    static_stand_ins: tuple[StandIn, ...] = ()
    """What the static layer reads besides."""
    hgnn: bool = True
    """False: the two-tower gets text vectors where it had HGNN vectors."""
    linear: bool = False
    """True: the structural coordinates that the HGNN reads stand in for what it makes of them."""
    text: bool = True
    """False: the HGNN gets random vectors, which tell items apart and mean nothing, and the two-tower none; without an
    HGNN either, nothing."""


NOTHING = Change("nothing")
NO_GRAPH = Change("no graph", hgnn=False)


@dataclass(frozen=True)
class StaticAt:
    """What a static layer gives to the items of a split."""

    item_types: list[str]
    """By type index."""
    vectors: np.ndarray
    """(N, dim) float32, by the split's nodes; what the graph does not hold enters by its text."""
    encoder: ItemEncoder | None
    """By the split's nodes; None has text vectors at all moments."""
    curve: list[dict[str, float]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the vectors, in hex."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).tobytes()).hexdigest()

    def numbered(self, place: np.ndarray) -> Self:
        """The same for the items at `place`."""
        encoder = None if self.encoder is None else self.encoder.numbered(place)
        return replace(self, vectors=self.vectors[place], encoder=encoder)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is large."""
        tensors = {} if self.encoder is None else self.encoder.tensors()
        return {"vectors": self.vectors} | {f"encoder.{n}": value.numpy() for n, value in tensors.items()}

    def facts(self) -> dict[str, Any]:
        """All else, as JSON takes it."""
        facts: dict[str, Any] = {"item_types": self.item_types, "curve": self.curve, "encoder": None}
        if self.encoder is not None:
            one = self.encoder
            facts["encoder"] = {
                "item_types": one.item_types,
                "graph": one.graph.model_dump(mode="json"),
                "window_days": one.window_days,
                "min_users": one.min_users,
                "seed": one.seed,
            }
        return facts

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        """From what `arrays` and `facts` gave."""
        encoder, settings = None, facts["encoder"]
        if settings is not None:
            tensors = {
                name.removeprefix("encoder."): torch.from_numpy(value)
                for name, value in arrays.items()
                if name.startswith("encoder.")
            }
            graph = GraphConfig.model_validate(settings["graph"])
            encoder = ItemEncoder.from_tensors(tensors, **settings | {"graph": graph})
        return cls(facts["item_types"], arrays["vectors"], encoder, facts["curve"])


@dataclass(frozen=True)
class Space:
    """A fitted model over a split's users and items. Shapes: U users, N items of the split."""

    users: np.ndarray
    """(U, dim) float32."""
    items: np.ndarray
    """(N, dim) float32."""
    model: DynamicModel
    histories: HistoryTables
    """By the nodes of the split."""
    vectors: np.ndarray
    """(N, dim) float32: what the towers read of items beside text, by the split's nodes."""
    item_type: np.ndarray
    """(N,) int64: the model's type indices."""
    new_in: np.ndarray
    """(U,) object: the country of a user without a history, where it is known; None for all others."""
    popularity: Popularity
    """What these are shown."""
    curves: Curves

    def scorer(self) -> Scorer:
        """Dot products, and what users without a history are shown by their country."""

        def scores(users: np.ndarray) -> np.ndarray:
            found = self.users[users] @ self.items.T
            new_in = self.new_in[users]
            for country in set(new_in) - {None}:
                found[new_in == country] = self.popularity.scores(country)
            return found

        return scores


def fit_static_at(
    warehouse: Warehouse, split: Split, as_of: datetime, config: Config, change: Change = NOTHING
) -> StaticAt:
    """The static layer as of `as_of`, at the split's cut or before it."""
    config = change.configure(config)
    with standing_in(warehouse, as_of, (*change.stand_ins, *change.static_stand_ins)):
        graph = read_graph(warehouse, as_of, config.graph, held_out_days(warehouse, as_of, config))
    text_vector, written = _read_by_hgnn(split, change, config)
    place = pc.index_in(graph.item_node["item_id"], split.item["item_id"].combine_chunks()).to_numpy()
    graph = replace(graph, item_text=pa.table({"text": written.take(place)}))
    if not change.hgnn:
        read = read_texts(text_vector, written.to_pylist(), fit_words(graph, config))
        return StaticAt(graph.item_types, unit(read), None, [])
    if change.linear:
        vectors = np.zeros((split.item.num_rows, config.hgnn.structure_dim), dtype=np.float32)
        vectors[place] = _coordinates(graph.folds.user_set, len(place), config)
        return StaticAt(graph.item_types, vectors, None, [])
    model = fit_static(graph, text_vector[place], config)
    vectors = model.encoder.newcomers(model.encoder.read(text_vector, written.to_pylist()))
    vectors[place] = model.vectors
    number = np.full(split.item.num_rows, -1)
    number[place] = np.arange(len(place))
    encoder = model.encoder.numbered(number)
    curve = [{"loss": epoch.loss, "validation": epoch.validation_mrr} for epoch in model.epochs]
    return StaticAt(graph.item_types, vectors, encoder, curve)


def fit_space(
    warehouse: Warehouse, split: Split, config: Config, static: StaticAt, change: Change = NOTHING
) -> Space:
    """The dynamic layer at the split's cut on top of a static layer, which may be older."""
    config = change.configure(config)
    text = split.text_vector if change.text else np.zeros_like(split.text_vector)
    with standing_in(warehouse, split.as_of, change.stand_ins):
        item_node = read_item_nodes(warehouse, split.as_of)
        tables = read_training(warehouse, split.as_of, config.two_tower)
        place = pc.index_in(item_node["item_id"], split.item["item_id"].combine_chunks()).to_numpy()
        read, written = _read_by_hgnn(split, change, config)
        item_text = pa.table({"text": written.take(place)})
        if static.encoder is not None:
            read = static.encoder.read(read, written.to_pylist())
        vectors_at = _vectors_at(
            warehouse, split.as_of, item_node, read[place], place, static, change, config
        )
        fit = fit_dynamic(item_node, static.item_types, vectors_at, text[place], item_text, tables, config)
        # What the model was not told of comes after its nodes, so that its counts of streams stay where they are.
        new = np.setdiff1d(np.arange(split.item.num_rows), place)
        node = np.concatenate([place, new])
        vectors = np.empty((split.item.num_rows, fit.hgnn_vectors.shape[1]), dtype=np.float32)
        vectors[place] = fit.hgnn_vectors
        vectors[new] = static.vectors[new]
        if static.encoder is not None:
            touched = place[split.warm[place]]
            own = static.encoder.newcomers(read[new])
            vectors[new] = KnownTexts.of(read[touched]).tell(own, read[new], vectors[touched])
        features = fit.model.item_features(split.item.take(node), vectors[node], text[node])
        model = fit.with_newcomers(
            split.item.take(new), vectors[new], written.take(new).to_pylist(), split.as_of
        )
        items = model.item_vectors(features, torch.arange(len(node)), fit.popularity)
        node_id = split.item["item_id"].combine_chunks()
        histories = read_histories(warehouse, split.user_id, node_id, split.as_of, fit.model.history_days)
        recent = read_recent_streams(warehouse, split.as_of, config.serving.popular_days)
        nothing = np.zeros(0, dtype=np.int64)
        nobody = given_history(
            warehouse, nothing, nothing, pa.array([], pa.timestamp("us")), split.as_of, fit.model.history_days
        ).history
    by_node = np.argsort(node)
    model = model.numbered(torch.from_numpy(by_node))
    item_type = features.item_type.numpy()[by_node]
    blocks = list(model.user_vectors(histories, split.as_of, vectors, item_type))
    new_in = np.array(split.country.to_pylist(), dtype=object)
    new_in[np.concatenate([known for _, known in blocks])] = None
    (expected, _), *_ = model.user_vectors(nobody, split.as_of, vectors, item_type)
    items = items[by_node]
    language = split.item["language"].combine_chunks().dictionary_encode()
    curves = {
        "HGNN": static.curve,
        "two-tower": [{"loss": float(part.mean())} for part in np.array_split(fit.losses, 20) if len(part)],
        "towers": [{"loss": e.loss, "validation": e.validation_ndcg} for e in fit.epochs],
    }
    return Space(
        users=np.concatenate([block for block, _ in blocks]),
        items=items,
        model=model,
        histories=histories,
        vectors=vectors,
        item_type=item_type,
        new_in=new_in,
        popularity=Popularity(items @ expected[0], language, recent, split.available),
        curves={name: curve for name, curve in curves.items() if curve},
    )


def _read_by_hgnn(split: Split, change: Change, config: Config) -> tuple[np.ndarray, pa.ChunkedArray]:
    """(N, d) float32 sentence vectors and (N,) texts; what is made of them stands in where there is no HGNN."""
    if change.text:
        return split.text_vector, split.item["text"]
    nothing = pa.chunked_array([[""] * split.item.num_rows])
    if change.hgnn:
        return _random_like(split.text_vector, config.seed), nothing
    return np.zeros_like(split.text_vector), nothing


def _coordinates(user_set: pa.Table, num_items: int, config: Config) -> np.ndarray:
    """(N, structure_dim) float32, by node."""
    user, node = (user_set[name].to_numpy() for name in ("user_index", "node"))
    return structural_coordinates(user, node, num_items, config.hgnn.structure_dim, config.seed)


def _vectors_at(
    warehouse: Warehouse,
    as_of: datetime,
    item_node: pa.Table,
    text: np.ndarray,
    place: np.ndarray,
    static: StaticAt,
    change: Change,
    config: Config,
) -> Callable[[datetime], Embedded]:
    """HGNN vectors at any moment, by the nodes of `item_node`, which stand at `place` among the split's."""
    if change.linear:
        return lambda moment: _alike(
            _coordinates(read_user_set(warehouse, moment, config.graph), len(place), config)
        )
    if static.encoder is None:
        return lambda moment: _alike(static.vectors[place])
    encoder = static.encoder.numbered(place)

    def vectors_at(moment: datetime) -> Embedded:
        with standing_in(warehouse, as_of, change.static_stand_ins):
            known = read_interactions(
                warehouse, moment, encoder.graph, encoder.window_days, encoder.min_users
            )
        return encoder.embed(item_node["item_type"], text, known)

    return vectors_at


def _alike(vectors: np.ndarray) -> Embedded:
    """Without any weights that could have seen something."""
    return Embedded(vectors, vectors)


@contextmanager
def standing_in(warehouse: Warehouse, as_of: datetime, stand_ins: tuple[StandIn, ...]) -> Iterator[None]:
    """What stands in for events never adds an item to those known at `as_of`."""
    with ExitStack() as stack:
        if stand_ins:
            read_item_nodes(warehouse, as_of)
            stack.enter_context(warehouse.stand_in("interaction_event", "evaluation/known_event"))
            stack.enter_context(warehouse.stand_in("item", "evaluation/known_item"))
        for one in stand_ins:
            stack.enter_context(warehouse.stand_in(one.table, one.source, **one.parameters))
        yield


def _random_like(text: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed).standard_normal(text.shape).astype(np.float32)
    unit: np.ndarray = random / np.linalg.norm(random, axis=1, keepdims=True)
    return unit
