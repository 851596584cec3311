"""`sql/` and `jobs` are found in a plain checkout, an editable install and an installed wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ASK = (
    "import jobs.refresh_dynamic as job, pathlib\n"
    "from gfm_store.warehouse.catalogue import sql_folder, statements\n"
    "folders = ('warehouse', 'graph', 'history', 'audit', 'ingest', 'sample', 'evaluation', 'query', 'benchmark')\n"
    "names = [one.name for folder in folders for one in statements(folder)]\n"
    "print(sql_folder(), pathlib.Path(job.__file__).parent, len(names), sep='\\n')\n"
)
N_STATEMENTS = len(list((ROOT / "sql").rglob("*.sql")))


def answer(cwd, path=None, program=ASK):
    """Where a fresh interpreter finds sql/ and jobs, and how many statements there are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    sql, jobs, count = shown.stdout.splitlines()
    return Path(sql), Path(jobs), int(count)


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("gfm_store-*.whl"))


def test_a_plain_checkout():
    assert answer(ROOT) == (ROOT / "sql", ROOT / "jobs", N_STATEMENTS)


@pytest.mark.slow
def test_a_wheel_holds_the_sql_and_the_jobs_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert (
        len([name for name in names if name.startswith("gfm_store/sql/") and name.endswith(".sql")])
        == N_STATEMENTS
    )
    assert "jobs/refresh_dynamic.py" in names
    report = {path.name for path in (ROOT / "gfm_store/evaluation/report").glob("report.*")}
    assert report == {"report.css", "report.html.jinja"}
    assert {f"gfm_store/evaluation/report/{name}" for name in report} <= set(names)
    assert {name.split("/")[0] for name in names} == {"gfm_store", "jobs", "gfm_store-0.1.0.dist-info"}


@pytest.mark.slow
def test_an_installed_wheel(wheel, tmp_path):
    target = tmp_path / "site"
    pip("install", "--quiet", "--no-deps", "--target", target, wheel)
    assert answer(tmp_path, target) == (target / "gfm_store" / "sql", target / "jobs", N_STATEMENTS)


@pytest.mark.slow
def test_an_editable_install(tmp_path):
    checkout, prefix = tmp_path / "checkout", tmp_path / "prefix"
    for name in ("gfm_store", "jobs", "sql"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout)
    # Without --ignore-installed pip would take the installation away that the tests run in.
    pip("install", "--quiet", "--no-deps", "--ignore-installed", "--prefix", prefix, "--editable", checkout)
    site = next(prefix.rglob("site-packages"))
    # A site folder's .pth files are what makes it editable; it comes before this environment's own.
    first = f"import site, sys\nold = list(sys.path)\nsite.addsitedir({str(site)!r})\n"
    first += "sys.path[:] = [p for p in sys.path if p not in old] + old\n"
    assert answer(tmp_path, program=first + ASK) == (checkout / "sql", checkout / "jobs", N_STATEMENTS)
