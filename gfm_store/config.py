"""All settings, frozen; the only reader of `gfm.toml` and of the environment.

    [graph]
    window_days = 90

    [text]
    model = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"

A key that is not a field here is an error. Paths are not settings: they are arguments.
"""

import hashlib
import json
import os
import shlex
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from gfm_store.errors import ConfigError
from gfm_store.schema import EVENT_TYPES, SKIP_SIGNAL

PACKAGED_TEXT_MODEL = "packaged"
SIZE = r"^\d+(\.\d+)?\s?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
"""DuckDB's way to write an amount of memory."""


MAX_DAYS = 36_500
"""A hundred years: windows that reach further back leave the calendar."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GraphConfig(_Settings):
    """How co-interactions become edges (arXiv 2403.05185, section 3.1)."""

    window_days: int = Field(90, ge=1, le=MAX_DAYS)
    """Length of the window that ends at `as_of`."""
    min_users: int = Field(2, ge=1)
    """An edge needs this many users who interacted with both ends."""
    newest_items_per_user: int = Field(50, ge=2)
    """Only a user's newest items make pairs: bounds the self-join."""
    strongest_neighbours: int = Field(20, ge=1)
    """Neighbours kept per node and relation; an edge stays when either end keeps it."""
    edge_signals: tuple[str, ...] = ("stream",)
    """Event types that make edges."""
    folds: Literal[2, 4, 8, 16] = 4
    """Users are dealt into so many folds; what is learned from a user sees a graph without the user's fold."""
    user_set_days: int = Field(720, ge=1, le=MAX_DAYS)
    """How far back the sets of items go that the HGNN reads and learns to complete."""
    user_set_items: int = Field(200, ge=2)
    """Newest items of such a set."""
    min_coverage: float = Field(0.2, ge=0, le=1)
    """Share of the items in the window that should have an edge; below it the window is doubled, up to all
    of history, and said so. 0 never widens."""

    @model_validator(mode="after")
    def _known_signals(self) -> Self:
        unknown = sorted(set(self.edge_signals) - (set(EVENT_TYPES) - {SKIP_SIGNAL}))
        if unknown or not self.edge_signals:
            raise ValueError(
                f"edge_signals holds {unknown or 'nothing'}; allowed: stream, follow, preview, intent_to_pay"
            )
        return self


class TextConfig(_Settings):
    """The sentence transformer that reads titles, descriptions and genres."""

    model: str = Field(PACKAGED_TEXT_MODEL, min_length=1)
    """"packaged" is all-MiniLM-L6-v2 from a pip package, checked by its hash; else any
    sentence-transformers name or path. Real catalogues want a multilingual one."""
    max_tokens: int = Field(128, ge=8)
    """Longer texts are cut here."""
    batch_size: int = Field(32, ge=1)
    """Texts encoded at once."""


class HGNNConfig(_Settings):
    """The heterogeneous graph neural network and its training (arXiv 2403.07478, section 3.1)."""

    hidden_dim: int = Field(128, ge=8)
    """Width of every layer and of the item vectors."""
    fanout: tuple[PositiveInt, ...] = Field((10,), min_length=1)
    """Neighbours sampled per node and relation, one number a layer, nearest layer first. (The papers: two layers.)"""
    lexical_dim: int = Field(512, ge=0, le=4_096)
    """Rank of the factors from the words of titles, descriptions and genres that are read beside the sentence vectors;
    0 reads none. (The papers: none.)"""
    structure_dim: int = Field(128, ge=1, le=4_096)
    """Rank of the structural coordinates (who touched what) that items have beside their text."""
    dropout: float = Field(0.2, ge=0, lt=1)
    temperature: float = Field(0.1, gt=0)
    """Of the softmax, at the start; it is learned. (The papers use a margin.)"""
    context_items: int = Field(16, ge=1)
    """Items of a user's set from whose mean another one of it is told."""
    num_negatives: int = Field(1024, ge=1)
    """Random catalogue items per step, shared by its targets."""
    batch_size: int = Field(512, ge=2)
    """Targets per step."""
    early_epochs: int = Field(4, ge=1)
    """First, without the last days before `as_of`: gates ask what weights are worth that have not seen them."""
    epochs: int = Field(7, ge=1)
    """Then with everything, from there; all of them with everything where too little was known before the last days."""
    steps_per_epoch: int = Field(60, ge=1)
    """At least."""
    epoch_share: float = Field(0.25, ge=0)
    """Where users' sets are many, an epoch has so many steps more that its targets are this share of all entries."""
    max_steps_per_epoch: int = Field(1_000, ge=1)
    """What that is bounded by, and with it the time that a static refresh takes."""
    validation_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of the users whose sets are held out of a training, to see how it goes (of the second one some that the
    first had learned from)."""
    validation_targets: int = Field(4096, ge=1)
    """At most this many held-out targets are ranked per epoch."""
    learning_rate: float = Field(2e-3, gt=0)
    """At the top of a one-cycle schedule."""
    weight_decay: float = Field(1e-2, ge=0)
    heterogeneous: bool = True
    """Each pair of item types is a relation with weights of its own; False makes all items one type to the graph."""
    balanced: bool = True
    """Every item type gives as many targets as any other."""


class TwoTowerConfig(_Settings):
    """Histories and training pairs, and the papers' user and item tower (arXiv 2403.07478, section 3.2)."""

    layers: tuple[PositiveInt, ...] = Field((512, 256, 128), min_length=1)
    """Widths of the fully connected layers; the last one is the output."""
    history_days: int = Field(720, ge=1, le=MAX_DAYS)
    """A user's history is this long (the papers: 90). Where people come seldom, a short one is empty; where they
    come often, `history_events` bounds it."""
    history_events: int = Field(50, ge=1)
    """Newest events of the history that are read."""
    train_days: int = Field(90, ge=1, le=MAX_DAYS)
    """Pairs are learned from the last days before `as_of`."""
    min_pairs: int = Field(20_000, ge=1)
    """With fewer pairs than this the training window is doubled until it has them, and said so."""
    validation_days: int = Field(7, ge=1, le=MAX_DAYS)
    """The last days before `as_of`, held out first: they decide what the parts of the blend weigh, for how many epochs
    towers learn, and whether a version is published; doubled while they hold fewer than `min_validation_pairs`."""
    min_validation_pairs: int = Field(500, ge=1)
    """See `validation_days`."""
    validation_users: int = Field(2_000, ge=1)
    """At most this many users are asked about the last days."""
    popularity_windows_days: tuple[PositiveInt, ...] = (1, 3, 7, 14, 30, 90)
    """Trailing windows whose log counts join the score with learned weights per user; () leaves the
    papers' model as it is."""
    dropout: float = Field(0.1, ge=0, lt=1)
    num_negatives: int = Field(256, ge=0)
    """Catalogue items per step that are negatives beside the in-batch ones."""
    batch_size: int = Field(1024, ge=2)
    max_epochs: int = Field(8, ge=1)
    patience: int = Field(2, ge=1)
    """Epochs without a better validation before stopping, but never fewer than `patience_steps` steps."""
    patience_steps: int = Field(100, ge=0)
    """Where data is thin, an epoch is few steps, and two of them say little."""
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    scalar_learning_rate: float = Field(0.05, gt=0)
    """Of the temperature and the general popularity weights: few numbers that must go far in few steps."""
    averaging: float = Field(0.98, ge=0, lt=1)
    """Decay per step of the moving average of the weights; the average is what is validated and published."""
    categorical_dim: int = Field(16, ge=1)
    """Width of the embedding of each categorical feature (language, genre, country, ...)."""
    max_vocabulary: int = Field(1_000, ge=1)
    """Most frequent values kept per categorical feature; the others are unknown."""


class BlendConfig(_Settings):
    """Momentum of items, linear factors and categories in one dot product, learned on snapshots."""

    enabled: bool = True
    """False trains the papers' towers in its place."""
    horizon_days: int = Field(14, ge=1, le=MAX_DAYS)
    """A snapshot is asked for the days that follow it; at most a quarter of the training window, but at least up to the
    next snapshot."""
    min_horizon_days: int = Field(3, ge=1, le=MAX_DAYS)
    """The newest snapshots can be asked for fewer days, but not for fewer than this: what is newest counts."""
    max_snapshots: int = Field(12, ge=1)
    """Moments before `as_of`, evenly over the training window."""
    targets_per_user: int = Field(5, ge=1)
    """First new items of a user after a snapshot, so that the busy do not drown the others."""
    momentum_dim: int = Field(16, ge=1)
    """Dimensions in which users differ about what is rising, new or established."""
    lexical_factors: int = Field(128, ge=1, le=4_096)
    """Rank of the factors from the words of titles, descriptions and genres."""
    category_dim: int = Field(16, ge=1)
    """Dimensions in which categories (languages, genres, the profile) meet."""
    max_categories: int = Field(32, ge=1)
    """Most frequent values that are categories, of each column."""
    newcomer_cost: float = Field(0.01, ge=0, lt=1)
    """Share of the NDCG@10 of the last days that lists may lose, so that items nobody has streamed yet get a place."""
    steps: int = Field(400, ge=1)
    """Of the optimizer, one snapshot a step; at least, fewer where so few targets would be learned by heart."""
    passes: float = Field(1.5, ge=0)
    """Where targets are many, so many steps more that each is drawn so often."""
    max_steps: int = Field(4_000, ge=1)
    """What that is bounded by, and with it the time that a dynamic refresh takes."""
    batch_size: int = Field(512, ge=2)
    """Targets per step."""
    num_negatives: int = Field(1024, ge=1)
    """Items known at the snapshot that are candidates beside the targets."""
    learning_rate: float = Field(3e-3, gt=0)
    """At the top of a one-cycle schedule."""
    weight_decay: float = Field(1e-4, ge=0)
    momentum_weight_decay: float = Field(3.0, ge=0)
    """Of the nets that read how an item is doing. Few items hold most streams, so these would learn them by heart."""
    level_weight_decay: float = Field(1.0, ge=0)
    """Of the net that learns the general level first, where the last days are told better so."""
    averaging: float = Field(0.98, ge=0, lt=1)
    """Decay per step of the moving average of the weights, which is what is kept."""


class ServingConfig(_Settings):
    """What is published, and what the lists for users without history look like."""

    keep_versions: int = Field(5, ge=1)
    """Published versions that stay readable, the newest included."""
    popular_days: int = Field(14, ge=1, le=MAX_DAYS)
    """`popularity` counts the streams of the last days before `as_of`; doubled while no item has any."""
    index_rows: int = Field(50_000, ge=1)
    """From so many items on a request reads the nearest lists of an index; below, exact search is as fast."""
    index_recall: float = Field(0.98, ge=0, le=1)
    """Recall@10 against exact search that an index must reach under every filter it is measured with."""


class SqlConfig(_Settings):
    """Bounds of one statement of `store.sql`."""

    timeout_seconds: float = Field(60, gt=0)
    """A statement that takes longer is stopped."""
    memory_limit: str = Field("4GB", pattern=SIZE)
    """DuckDB's memory; beyond it DuckDB spills to disk."""
    max_temporary: str = Field("20GB", pattern=SIZE)
    """What it may spill."""
    max_result_mb: int = Field(1024, ge=1)
    """Size of the result, which is held in memory."""


class GateConfig(_Settings):
    """What keeps a version from being published, and when the static layer counts as stale."""

    confidence: float = Field(0.99, gt=0.5, lt=1)
    """Of the interval of the difference to the served version, which must lie wholly below 0 to refuse a new one."""
    min_users: int = Field(50, ge=1)
    """With fewer users than this in the last days nothing is refused."""
    max_new_items: float = Field(0.1, ge=0, le=1)
    """A static refresh is due when more than this share of the available items came after it."""
    max_edge_churn: float = Field(0.5, ge=0, le=1)
    """Or when more than this share of the edges of then and now is not in both."""
    min_hgnn_share: float = Field(0.8, ge=0, le=1)
    """Or when the frozen vectors find today's linked items with less than this share of the MRR of then."""


class Config(_Settings):
    """Everything that can be set. `fingerprint` names what matters for a version."""

    seed: int = Field(0, ge=0, lt=2**32)
    """The one source of randomness."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of torch and DuckDB; None takes all cores."""
    memory_limit: str | None = Field(None, pattern=SIZE)
    """DuckDB's memory, such as "4GB"; beyond it DuckDB spills to disk. None takes DuckDB's default."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """"auto" takes a GPU where there is one."""

    graph: GraphConfig = GraphConfig()
    text: TextConfig = TextConfig()
    hgnn: HGNNConfig = HGNNConfig()
    two_tower: TwoTowerConfig = TwoTowerConfig()
    blend: BlendConfig = BlendConfig()
    serving: ServingConfig = ServingConfig()
    sql: SqlConfig = SqlConfig()
    gates: GateConfig = GateConfig()

    def fingerprint(self, *sections: str) -> str:
        """SHA-256, in hex, of what `inputs` gives: equal settings, equal fingerprint."""
        return hashlib.sha256(json.dumps(self.inputs(*sections), sort_keys=True).encode()).hexdigest()

    def inputs(self, *sections: str) -> dict[str, Any]:
        """The named sections as JSON takes them, less how many versions are kept, which changes none of them."""
        return self.model_dump(mode="json", include=set(sections), exclude={"serving": {"keep_versions"}})


NAMED = {
    "default": Config(),
    "paper": Config(
        hgnn=HGNNConfig(fanout=(15, 10), lexical_dim=0),
        two_tower=TwoTowerConfig(history_days=90, popularity_windows_days=()),
        blend=BlendConfig(enabled=False),
    ),
}
"""Settings by name. `paper`: an HGNN of two layers that reads sentence vectors, histories of 90 days, and the fully
connected towers alone. What the HGNN learns from stays: it completes sets, where the papers pull linked pairs."""


def load_config(path: Path | None = None) -> Config:
    """Read `path`, or `gfm.toml` of the working directory where it exists, or the defaults.

    A path that is one of `NAMED`, and no file, stands for the settings of that name.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds an unknown or impossible setting.
    """
    if path is not None and str(path) in NAMED and not path.exists():
        return NAMED[str(path)]
    if path is None:
        path = Path("gfm.toml")
        if not path.exists():
            return Config()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(NAMED)
        raise ConfigError(f"{path}: no such configuration file, nor one of the names {names}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + _explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            section = Config if len(problem["loc"]) == 1 else type(getattr(Config(), str(problem["loc"][0])))
            known = ", ".join(section.model_fields)
            lines.append(f"unknown setting {where!r}; known here: {known}")
        else:
            lines.append(f"{where}: {problem['msg']}")
    return "; ".join(lines)


def warehouse_root(path: Path | None = None) -> Path:
    """The warehouse folder: the argument, else `GFM_WAREHOUSE`, else `warehouse`."""
    return path or Path(os.environ.get("GFM_WAREHOUSE") or "warehouse")


def warehouse_option(root: Path) -> str:
    """What names a warehouse to a job, as a shell takes it."""
    return f"--warehouse {shlex.quote(str(root))}"
