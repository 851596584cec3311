"""The user's side of the blend for one history, in NumPy: so few numbers take PyTorch longer to begin with than to add.

It says what `Blend.user_vectors` says to one user who is served; a test holds the two together.
"""

import numpy as np
from torch import Tensor, nn

from gfm_store.dynamic_layer.blend import RECENT_EVENTS, SKIP, Blend, ItemContext
from gfm_store.dynamic_layer.history import NUM_SIGNALS, OneHistory

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights (out, in) and biases (out,)."""


class OneUser:
    """Reads a blend and its context where they lie; arrays are float32, histories of L events newest first."""

    def __init__(self, blend: Blend, context: ItemContext) -> None:
        self._dim, self._num_types, self._ends = blend.dim, blend.sizes.num_types, np.cumsum(blend.part_dims)
        self._traits, self._categories = _array(context.traits), _array(context.categories)
        self._factors = [_array(table) for table in context.factors]
        self._state_mean, self._state_scale, self._scale = (
            _array(blend.get_buffer(name)) for name in ("state_mean", "state_scale", "scale")
        )
        self._user, self._share = _layers(blend.user), _layers(blend.share)
        self._weak = _softplus(_array(blend.weak))
        self._wait_level, self._wait_type = _array(blend.wait_level), _array(blend.wait_type)
        self._wait_fall = _softplus(_array(blend.wait_fall))
        self._user_categories = _array(blend.user_categories)

    def vector(self, history: OneHistory, profile: np.ndarray, later: float) -> np.ndarray:
        """(blend.dim,).

        Args:
            profile: (P,) bool; later: days from the moment of the context to that of the history.
        """
        node, item_type, age = history.node, history.item_type, history.age
        traits = self._traits[node]
        traits[:, :2] += later * (traits[:, :2] >= 0)
        state = (self._state(history, traits) - self._state_mean) / self._state_scale
        share = _softplus(_through(self._share, state))
        heard, waits, skips = _touched(history)
        vector = np.ones(self._dim, dtype=np.float32)
        momentum, general, *factors = self._ends
        vector[:momentum] = _through(self._user, state) / 4
        begin, log_age = general, np.log1p(age)
        for k, (table, end) in enumerate(zip(self._factors, factors, strict=False)):
            rows = table[node]
            taste = (heard + self._weak * waits) @ rows
            taste *= share[k] / max(np.linalg.norm(taste), 1e-12)
            if waits.any():
                fall = self._wait_fall[k] * log_age
                level = self._wait_level[k] + self._wait_type[np.minimum(item_type, self._num_types)]
                taste += (waits * np.exp(level - fall)) @ rows
            if skips.any():
                taste -= SKIP * share[k] / np.sqrt(skips.sum()) * (skips @ rows)
            vector[begin:end] = taste
            begin = end
        often = heard @ self._categories[node] / max(heard.sum(), 1)
        vector[begin:] = np.concatenate([often, profile]) @ self._user_categories
        return vector * self._scale if len(node) else vector

    def _state(self, history: OneHistory, traits: np.ndarray) -> np.ndarray:
        """(num_state,): as `user_state`."""
        age, signal = history.age, history.signal
        slots = self._num_types * NUM_SIGNALS
        counts = np.bincount(history.item_type * NUM_SIGNALS + signal, minlength=slots)[:slots]
        when = np.log1p(age) / 2
        kinds = np.empty((len(age), 5), dtype=np.float32)
        kinds[:, :2] = np.log1p(np.maximum(traits[:, :2] - age[:, None], 0)) / (2, 3)
        kinds[:, 2:4], kinds[:, 4] = traits[:, 2:], when
        strong = (signal == 0).astype(np.float32)
        shares = np.stack([strong, strong * 0.5 ** (np.arange(len(age)) / RECENT_EVENTS)]).astype(np.float32)
        means = shares @ kinds / np.maximum(shares.sum(axis=1, keepdims=True), 1e-6)
        last = (1.0, when[0]) if len(age) else (0.0, 0.0)
        return np.concatenate([np.log1p(counts), last, means.ravel()]).astype(np.float32)


def _touched(history: OneHistory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(L,) float32 each: as `touched`."""
    node, signal = history.node, history.signal
    same = node[:, None] == node
    since = same & np.tri(len(node), k=-1, dtype=bool)
    strong = signal == 0
    newest = ~(since & strong).any(axis=1)  # no stream of the item since
    heard, skips = strong & newest, (signal == 2) & newest
    waits = (signal == 1) & ~(same & strong).any(axis=1) & ~since.any(axis=1)
    return heard.astype(np.float32), waits.astype(np.float32), skips.astype(np.float32)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().numpy()
    return array


def _layers(net: nn.Module) -> Layers:
    return [(_array(one.weight), _array(one.bias)) for one in net.modules() if isinstance(one, nn.Linear)]


def _through(layers: Layers, values: np.ndarray) -> np.ndarray:
    """(out,) of linear layers with rectifiers between them."""
    *hidden, (weight, bias) = layers
    for inner, offset in hidden:
        values = np.maximum(inner @ values + offset, 0)
    return weight @ values + bias


def _softplus(values: np.ndarray) -> np.ndarray:
    return np.logaddexp(values, np.float32(0))
