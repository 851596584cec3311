"""Imports go one way, and the networks know nothing but torch and PyG."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND = {"arguments", "errors", "schema", "config", "progress", "device", "locks", "program"}
ORDER = [
    "warehouse",
    "vectors",
    "static_layer",
    "dynamic_layer",
    "serving",
    "evaluation",
    "lifecycle",
    "benchmark",
]
# warehouse and vectors stand side by side: neither knows the other.
ALLOWED = {
    layer: GROUND | set(ORDER[: i + 1]) - ({"warehouse"} if layer == "vectors" else set())
    for i, layer in enumerate(ORDER)
}
FILES = sorted((ROOT / "gfm_store").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layers_of(names: set[str]) -> set[str]:
    """The parts of gfm_store among dotted names."""
    parts = {name.split(".")[1] for name in names if name.startswith("gfm_store.")}
    return parts & (GROUND | set(ORDER))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_only_what_is_below_it(path):
    layer = path.relative_to(ROOT / "gfm_store").parts[0]
    if layer == "__init__.py":
        return  # the front door opens the store
    below = GROUND if layer.removesuffix(".py") in GROUND else ALLOWED[layer]
    assert layers_of(imported(path)) - below == set()


def test_the_library_never_imports_its_jobs():
    for path in FILES:
        assert not [name for name in imported(path) if name.split(".")[0] == "jobs"], path


def test_only_vectors_imports_lance():
    users = {
        path.relative_to(ROOT / "gfm_store").parts[0]
        for path in FILES
        if imported(path) & {"lance", "lancedb"}
    }
    assert users == {"vectors"}


def test_only_the_warehouse_imports_duckdb():
    users = {path.relative_to(ROOT / "gfm_store").parts[0] for path in FILES if "duckdb" in imported(path)}
    assert users == {"warehouse"}


def test_no_job_imports_another():
    names = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"common", "__init__"}
    for path in (ROOT / "jobs").glob("*.py"):
        assert not imported(path) & {f"jobs.{name}" for name in names}, path


@pytest.mark.parametrize("name", ["static_layer/hgnn", "dynamic_layer/two_tower", "dynamic_layer/blend"])
def test_networks_import_torch_and_pyg_only(name):
    outside = {module.split(".")[0] for module in imported(ROOT / "gfm_store" / f"{name}.py")}
    assert outside - set(sys.stdlib_module_names) <= {"torch", "torch_geometric", "gfm_store"}


def test_nothing_is_pickled():
    for path in FILES:
        assert not imported(path) & {"pickle", "joblib", "cloudpickle"}, path
        assert "torch.load" not in path.read_text(encoding="utf-8"), path
