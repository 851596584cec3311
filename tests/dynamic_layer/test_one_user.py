"""One user by NumPy is what the blend, and the papers' towers, make of the same history."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from fits import NUM_ITEMS, coordinates_at, events_of_tastes, fit, read
from worlds import AS_OF, ago, catalogue, make_warehouse

from gfm_store.dynamic_layer.blend import NUM_TRAITS, Blend, BlendSizes, ItemContext
from gfm_store.dynamic_layer.history import NUM_SIGNALS, HistoryBatch, OneHistory
from gfm_store.dynamic_layer.one_user import OneUser

NUM_NODES, NUM_TYPES, PROFILE = 12, 2, 3


def any_blend(generator):
    """Every number of it is drawn, so that none is left out unnoticed."""
    sizes = BlendSizes(
        3, NUM_TYPES, 2, (4, 5), num_categories=6, num_profile=PROFILE, category_dim=3, level_first=False
    )
    blend = Blend(sizes).eval()
    for one in [*blend.parameters(), *blend.buffers()]:
        one.data = torch.empty_like(one).normal_(generator=generator)
    blend.get_buffer("state_scale").abs_().add_(0.5)
    return blend


def any_context(generator):
    traits = torch.empty(NUM_NODES, NUM_TRAITS).uniform_(0, 60, generator=generator)
    traits[torch.rand(NUM_NODES, generator=generator) < 0.3, 1] = -1.0  # publication is not known
    factors = tuple(torch.empty(NUM_NODES, width).normal_(generator=generator) for width in (4, 5))
    categories = torch.rand(NUM_NODES, 6, generator=generator) < 0.4
    return ItemContext(torch.zeros(NUM_NODES, 3), traits, factors, categories)


@pytest.mark.parametrize("signals", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("later", [0.0, 2.5])
def test_it_is_the_blend_s_user_vector(signals, length, later):
    generator = torch.Generator().manual_seed(length)
    blend, context = any_blend(generator), any_context(generator)
    node = torch.randint(NUM_NODES, (length,), generator=generator)
    item_type = torch.randint(
        NUM_TYPES + 1, (length,), generator=generator
    )  # the last is unknown to training
    signal = torch.tensor(signals)[torch.randint(len(signals), (length,), generator=generator)]
    age = torch.rand(length, generator=generator).mul(40).sort().values
    profile = torch.rand(PROFILE, generator=generator) < 0.5
    empty = torch.zeros(3)  # places behind the history
    batch = HistoryBatch(
        torch.cat([node, empty.long()])[None],
        torch.cat([item_type * NUM_SIGNALS + signal, empty.long() - 1])[None],
        torch.cat([age, empty])[None],
    )
    with torch.no_grad():
        expected = blend.user_vectors(batch, profile[None], context, skips=True, later=later)[0]
    history = OneHistory(*(one.numpy() for one in (node, item_type, signal, age)))
    found = OneUser(blend, context).vector(history, profile.numpy(), later)
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("enabled", [True, False], ids=["blend", "towers"])
def test_a_model_gives_one_user_what_it_gives_all(tmp_path, enabled):
    """Of the newest events alone, of the last days alone, turned as the version is, with a profile."""
    events = [
        *events_of_tastes(),
        *[
            (f"u{user:02}", "p03", kind, ago(user / 10))
            for user in range(0, 60, 3)
            for kind in ("follow", "skip")
        ],
    ]
    users = [{"user_id": f"u{user:02}", "country": ["SE", "BR"][user % 2]} for user in range(62)]
    items = catalogue(*[f"p{i:02}" for i in range(NUM_ITEMS)], published_at=ago(300))
    item_node, tables = read(make_warehouse(tmp_path, items, events, users))
    vectors = coordinates_at(events_of_tastes())(AS_OF)
    fitted = fit(item_node, tables, vectors_at=coordinates_at(events_of_tastes()), steps=20, enabled=enabled)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=2 * (fitted.model.dim - 1,)))[0]
    model = replace(fitted.rotated(rotation.astype(np.float32)).model, history_events=8)
    inputs = model.user_inputs(replace(tables.history, history_days=6))
    everybody = torch.arange(inputs.histories.num_users)
    types = np.zeros(len(vectors), dtype=np.int64)
    as_of = AS_OF + timedelta(days=2)
    expected, known = model.vectors_of(inputs, everybody, as_of, vectors, types)
    one_by_one = [model.vectors_of(inputs, user, as_of, vectors, types) for user in everybody.split(1)]
    found, has_history = (np.concatenate(column) for column in zip(*one_by_one, strict=True))
    assert 10 < known.sum() < len(known) - 10
    np.testing.assert_array_equal(has_history, known)
    np.testing.assert_allclose(found, expected, atol=1e-5)
