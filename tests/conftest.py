"""One small published world for all tests that only read, and a copy of it for those that write."""

import shutil
from pathlib import Path

import pytest

from gfm_store.config import Config

QUICK = {
    "threads": 2,
    "text": {"max_tokens": 32},
    "hgnn": {
        "hidden_dim": 32,
        "lexical_dim": 32,
        "structure_dim": 16,
        "context_items": 4,
        "num_negatives": 64,
        "batch_size": 128,
        "epochs": 3,
        "steps_per_epoch": 10,
    },
    "two_tower": {"layers": [64, 32], "max_epochs": 3, "min_pairs": 1000, "min_validation_pairs": 100},
    "blend": {"steps": 40, "max_snapshots": 4, "lexical_factors": 16},
}
"""Settings that build a version in seconds."""


@pytest.fixture(scope="session")
def quick() -> Config:
    return Config.model_validate(QUICK)


@pytest.fixture(scope="session")
def published(tmp_path_factory, quick) -> Path:
    """A warehouse with the made world and one published version. Not to be written to."""
    from gfm_store.lifecycle.refresh import refresh_dynamic
    from gfm_store.warehouse.sample import SampleSettings, make_sample

    root = tmp_path_factory.mktemp("world") / "warehouse"
    make_sample(root, SampleSettings(users=300, items=150, days=60, events=15_000))
    refresh_dynamic(root, quick)
    return root


@pytest.fixture
def world(published, tmp_path) -> Path:
    """A copy of `published` that a test may change."""
    root = tmp_path / "warehouse"
    shutil.copytree(published, root, symlinks=True)
    return root
