"""Settings: frozen, unknown keys refused, read from one place."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

import gfm_store
from gfm_store.config import Config, load_config, warehouse_root
from gfm_store.device import choose_device
from gfm_store.errors import ConfigError, UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "gfm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_gives_the_papers_window(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config().graph.window_days == 90


def test_the_working_directory_is_read(tmp_path, monkeypatch):
    written(tmp_path, "[graph]\nwindow_days = 30\n")
    monkeypatch.chdir(tmp_path)
    assert load_config().graph.window_days == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[graph]\nwindow = 30", "unknown setting 'graph.window'; known here: window_days"),
        ("graf = 1", "unknown setting 'graf'; known here: seed"),
        ("[graph]\nwindow_days = 0", "graph.window_days: Input should be greater than or equal to 1"),
        ("[hgnn]\nfanout = [0]", "hgnn.fanout"),
        ("[two_tower]\nlayers = []", "two_tower.layers"),
        ("[two_tower]\npopularity_windows_days = [-1]", "two_tower.popularity_windows_days"),
        ("[graph]\nedge_signals = ['skip']", "edge_signals holds ['skip']"),
        ("[graph]\nfolds = 3", "graph.folds: Input should be 2, 4, 8 or 16"),
        ("[text]\nmodel = ''", "text.model: String should have at least 1 character"),
        ("[hgnn]\nloss = 'margin'", "unknown setting 'hgnn.loss'; known here: hidden_dim"),
        ("memory_limit = 'lots'", "memory_limit"),
        ("seed = -1", "seed: Input should be greater than or equal to 0"),
        ("seed = 99999999999999999999", "seed: Input should be less than"),
        ("[graph]\nwindow_days = 9999999", "graph.window_days: Input should be less than or equal to 36500"),
        ("[two_tower]\nhistory_days = 99999999", "two_tower.history_days"),
        ("[blend]\nlexical_factors = 100000", "blend.lexical_factors"),
        ("[graph", "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        load_config(written(tmp_path, text))
    assert message in str(error.value)


def test_a_file_that_is_asked_for_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "other.toml")


def test_the_papers_form_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper = load_config(Path("paper"))
    assert not paper.blend.enabled
    assert len(paper.hgnn.fanout) == 2
    assert (paper.two_tower.history_days, paper.two_tower.popularity_windows_days) == (90, ())
    assert load_config(Path("default")) == load_config() == Config()
    Path("paper").write_text("seed = 7\n", encoding="utf-8")  # a file comes first
    assert load_config(Path("paper")).seed == 7


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().graph.window_days = 1


def test_a_fingerprint_covers_its_sections_alone():
    one, other = Config(), Config.model_validate({"hgnn": {"hidden_dim": 64}})
    assert one.fingerprint("graph", "text") == other.fingerprint("text", "graph")
    assert one.fingerprint("hgnn") != other.fingerprint("hgnn")


def test_how_many_versions_are_kept_changes_none():
    other = Config.model_validate({"serving": {"keep_versions": 2}})
    assert other.fingerprint("serving") == Config().fingerprint("serving")
    more = Config.model_validate({"serving": {"popular_days": 2}})
    assert more.fingerprint("serving") != Config().fingerprint("serving")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match='device = "cuda": torch finds none here'):
        choose_device(Config(device="cuda"))


def test_every_setting_is_documented():
    for section in (
        Config(),
        Config().graph,
        Config().text,
        Config().hgnn,
        Config().two_tower,
        Config().blend,
        Config().serving,
    ):
        for name, field in type(section).model_fields.items():
            obvious = name in {
                "learning_rate",
                "weight_decay",
                "max_epochs",
                "steps_per_epoch",
                "patience",
                "batch_size",
                "dropout",
            }
            assert field.description or obvious or name in Config.model_fields, name


def test_the_warehouse_is_an_argument_then_the_environment(monkeypatch):
    monkeypatch.setenv("GFM_WAREHOUSE", "elsewhere")
    assert warehouse_root(Path("here")) == Path("here")
    assert warehouse_root() == Path("elsewhere")
    monkeypatch.delenv("GFM_WAREHOUSE")
    assert warehouse_root() == Path("warehouse")


def test_a_store_reads_the_settings_of_the_working_directory(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "[sql]\nmax_result_mb = 1").rename(tmp_path / "gfm.toml")
    with gfm_store.open(published) as store, pytest.raises(UsageError, match="larger than 1 MB"):
        store.sql("SELECT range FROM range(1000000)")
