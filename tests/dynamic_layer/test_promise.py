"""What newcomers are likely to be streamed at first, told from the newcomers before them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from gfm_store.dynamic_layer.promise import AGE_BINS, Promise, told_of
from gfm_store.static_layer.newcomers import PENALTIES


def test_it_is_a_ridge_regression_beside_the_mean():
    """By scikit-learn, the penalty by the definition of generalised cross-validation."""
    rng = np.random.default_rng(0)
    told = rng.standard_normal((60, 5)).astype(np.float32)
    early = (told @ rng.standard_normal(5) + 3 + rng.standard_normal(60)).astype(np.float32)
    known, new = slice(0, 50), slice(50, 60)

    def error(penalty):
        x, y = told[known].astype(float), early[known] - early[known].mean()
        hat = x @ np.linalg.inv(x.T @ x + penalty * np.eye(5)) @ x.T
        return ((y - hat @ y) ** 2).sum() / (1 - np.trace(hat) / 50) ** 2

    penalty = min(PENALTIES, key=error)
    mean = early[known].mean()
    ridge = Ridge(penalty, fit_intercept=False).fit(told[known], early[known] - mean)
    promise = Promise.fit(torch.from_numpy(told[known]), torch.from_numpy(early[known]))
    found = promise.of(torch.from_numpy(told[new]))
    np.testing.assert_allclose(found, ridge.predict(told[new]) + mean, atol=1e-4)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("count", [0, 1])
def test_with_hardly_anything_to_learn_from_all_promise_the_mean(count):
    promise = Promise.fit(torch.ones(count, 3), torch.full((count,), 2.0))
    assert promise.of(torch.eye(3)).tolist() == [2.0 * count] * 3


def test_told_are_words_categories_types_and_ages():
    lexical, categories = torch.tensor([[0.5], [0.25], [0.0]]), torch.tensor([[True], [False], [True]])
    told = told_of(lexical, categories, torch.tensor([0, 1, 2]), 2, torch.tensor([-1.0, 0.0, 30.0]))
    age = torch.zeros(3, len(AGE_BINS) + 1)
    age[0, 0] = age[1, 1] = age[2, 3] = 1  # unknown; from 0 on; from 30 on
    expected = torch.cat([lexical, categories.float(), torch.tensor([[1.0, 0], [0, 1], [0, 0]]), age], dim=1)
    assert torch.equal(told, expected)
