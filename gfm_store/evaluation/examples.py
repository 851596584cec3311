"""What a reader can look at: example users with reasons, and the space of the items in two dimensions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from gfm_store.evaluation.model import Space
from gfm_store.evaluation.result import Example, ExampleItem, ItemMap
from gfm_store.evaluation.split import Split
from gfm_store.serving.explain import without
from gfm_store.warehouse.history import HistoryTables

NUM_EXAMPLES = 10
HISTORY_SHOWN = 12
LIST_SHOWN = 10
REASONS_SHOWN = 3
MAP_ITEMS = 1_500


def item_map(split: Split, vectors: np.ndarray, seed: int) -> ItemMap | None:
    """Item vectors (N, dim) of available items in two dimensions (t-SNE of the first principal components)."""
    nodes = split.available.nonzero()[0]
    if len(nodes) < 10:
        return None
    nodes = np.sort(np.random.default_rng(seed).permutation(nodes)[:MAP_ITEMS])
    points = vectors[nodes]
    if np.ptp(points, axis=0).max() == 0:
        return None  # one point: no map
    points = PCA(min(30, *points.shape), random_state=seed).fit_transform(points)
    flat = TSNE(perplexity=min(30, len(nodes) // 3), init="pca", random_state=seed).fit_transform(points)
    item = split.item.take(nodes)
    topic = [(genres or [""])[0] or "" for genres in item["genres"].to_pylist()]
    return ItemMap(
        x=np.round(flat[:, 0], 3).tolist(),
        y=np.round(flat[:, 1], 3).tolist(),
        title=_titles(item),
        item_type=item["item_type"].to_pylist(),
        topic=topic,
    )


def examples(split: Split, space: Space, lists: np.ndarray, seed: int) -> list[Example]:
    """Users drawn at random among those with a history and a list (U, k), with the reasons for each item."""
    has_history = np.bincount(_user(space.histories), minlength=len(split.user_id)) > 0
    users = (has_history & (lists[:, 0] >= 0)).nonzero()[0]
    users = np.sort(np.random.default_rng(seed).permutation(users)[:NUM_EXAMPLES])
    return [_example(split, space, int(user), lists[user, :LIST_SHOWN]) for user in users]


def _user(histories: HistoryTables) -> np.ndarray:
    index: np.ndarray = histories.user_event["user_index"].to_numpy()
    return index


def _example(split: Split, space: Space, user: int, listed: np.ndarray) -> Example:
    events = space.histories.user_event.filter(pa.array(_user(space.histories) == user))
    newest = (
        events.group_by("node")
        .aggregate([("event_ts", "max")])
        .sort_by([("event_ts_max", "descending"), ("node", "ascending")])
    )
    newest = newest.slice(0, HISTORY_SHOWN)
    mine = newest["node"].to_numpy().astype(np.int64)
    listed = listed[listed >= 0]
    fall = _fall_without(split, space, user, mine, listed)  # (history, list)
    whole = np.maximum(fall, 0).sum(axis=0)
    targets = split.target_node[split.target_user == user]
    before, after = split.item.take(mine), split.item.take(listed)
    history_title = _titles(before)
    days = [f"{moment:%Y-%m-%d}" for moment in newest["event_ts_max"].to_pylist()]
    history = [
        ExampleItem(item_id, title, item_type, day, False, [])
        for item_id, title, item_type, day in zip(
            before["item_id"].to_pylist(), history_title, before["item_type"].to_pylist(), days, strict=True
        )
    ]
    items = []
    for place, (item_id, title, item_type) in enumerate(
        zip(after["item_id"].to_pylist(), _titles(after), after["item_type"].to_pylist(), strict=True)
    ):
        strongest = np.argsort(-fall[:, place], kind="stable")[:REASONS_SHOWN]
        reasons = [
            (history_title[row], round(float(fall[row, place] / whole[place]), 3))
            for row in strongest
            if fall[row, place] > 0
        ]
        items.append(ExampleItem(item_id, title, item_type, "", bool(listed[place] in targets), reasons))
    return Example(split.user_id[user].as_py(), history, items)


def _fall_without(split: Split, space: Space, user: int, mine: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """(h, l): how much the score of each listed item falls when one item of the history is taken away."""
    nothing = np.zeros(0, dtype=np.int64)
    alone = without(space.histories, user, [nothing, *mine[:, None]])
    vectors = np.concatenate(
        [block for block, _ in space.model.user_vectors(alone, split.as_of, space.vectors, space.item_type)]
    )
    scores = vectors @ space.items[listed].T
    fall: np.ndarray = scores[0] - scores[1:]
    return fall


def _titles(item: pa.Table) -> list[str]:
    titles: list[str] = pc.coalesce(item["title"], item["item_id"]).to_pylist()
    return titles
