"""Finished parts: made once, kept by all that they follow from, whole or not there."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pyarrow as pa
import pytest
from worlds import hand_split

from gfm_store.evaluation import parts as module
from gfm_store.evaluation.parts import KEPT_DAYS, Part, Parts, PeakMemory, split_fingerprint

LISTS = {"available": np.array([[3, 1], [2, -1]], dtype=np.int32), "type:../x y": np.eye(2, dtype=np.float32)}
FACTS = {"curve": [{"loss": 0.5, "validation": 0.25}], "title": "Größe", "none": None}


class Maker:
    """Counts how often it is asked."""

    def __init__(self, arrays=None, facts=None):
        self.part = Part(LISTS if arrays is None else arrays, FACTS if facts is None else facts)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.part


def files(root):
    return sorted((root / "evaluation").glob("*"))


def test_a_part_is_made_once_and_read_again(tmp_path):
    make = Maker()
    first = Parts(tmp_path).get(make, step="model", system="x")
    again = Parts(tmp_path).get(make, system="x", step="model")
    assert make.calls == 1
    assert (first.reused, again.reused) == (False, True)
    assert again.facts == FACTS
    assert list(again.arrays) == list(LISTS)
    for name, array in LISTS.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)
    assert (again.seconds, again.peak_mb) == (first.seconds, first.peak_mb)
    assert len(files(tmp_path)) == 1


def test_an_empty_part_is_kept_too(tmp_path):
    make = Maker({}, {})
    for _ in range(2):
        part = Parts(tmp_path).get(make, step="nothing")
    assert make.calls == 1
    assert (part.arrays, part.facts) == ({}, {})


@pytest.mark.parametrize(
    "other", [{"step": "static"}, {"grid": [{"days": 4}]}, {"more": None}, {"as_of": "2024-06-02"}]
)
def test_another_identity_is_another_part(tmp_path, other):
    identity = {"step": "model", "grid": [{"days": 3}], "as_of": "2024-06-01"}
    make = Maker()
    parts = Parts(tmp_path)
    parts.get(make, **identity)
    assert not parts.get(make, **identity | other).reused
    assert parts.get(make, **identity).reused
    assert make.calls == 2


def test_another_program_makes_everything_anew(tmp_path, monkeypatch):
    make = Maker()
    Parts(tmp_path).get(make, step="model")
    monkeypatch.setattr(module.program, "fingerprint", lambda: "another")
    assert not Parts(tmp_path).get(make, step="model").reused
    monkeypatch.undo()
    assert Parts(tmp_path).get(make, step="model").reused


def test_other_sql_makes_everything_anew(tmp_path, monkeypatch):
    make = Maker()
    Parts(tmp_path).get(make, step="model")
    monkeypatch.setattr(module.catalogue, "fingerprint", lambda *folders: "-".join(folders))
    assert not Parts(tmp_path).get(make, step="model").reused


def test_seconds_and_memory_are_those_of_the_making(tmp_path):
    before = psutil.Process().memory_info().rss / 2**20

    def make():
        held = np.ones(200 * 2**17)  # 200 MB
        time.sleep(0.1)
        return Part(facts={"sum": float(held[::4096].sum())})

    part = Parts(tmp_path).get(make, step="heavy")
    assert 0.1 <= part.seconds < 5
    assert 190 <= part.peak_mb - before < 400
    light = Parts(tmp_path).get(Maker(), step="light")
    assert light.peak_mb < part.peak_mb - 150


def test_peak_memory_is_looked_at_even_for_a_moment():
    with PeakMemory() as watch:
        pass
    assert watch.peak_mb == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.2)


def test_a_making_that_fails_leaves_nothing(tmp_path):
    def fail():
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        Parts(tmp_path).get(fail, step="model")
    assert files(tmp_path) == []
    make = Maker()
    assert not Parts(tmp_path).get(make, step="model").reused


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_torn_file_is_made_anew(tmp_path, keep):
    make = Maker()
    Parts(tmp_path).get(make, step="model")
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    again = Parts(tmp_path).get(make, step="model")
    assert not again.reused
    np.testing.assert_array_equal(again.arrays["available"], LISTS["available"])
    assert Parts(tmp_path).get(make, step="model").reused
    assert make.calls == 2


def test_a_file_with_flipped_bits_is_made_anew(tmp_path):
    make = Maker({"a": np.arange(1000)}, {})
    Parts(tmp_path).get(make, step="model")
    (path,) = files(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[2000] ^= 255
    path.write_bytes(whole)
    again = Parts(tmp_path).get(make, step="model")
    assert again.arrays["a"].tolist() == list(range(1000))


def test_a_killed_write_harms_nothing(tmp_path):
    program = (
        "import os, pathlib, signal, numpy as np\n"
        "from gfm_store.evaluation import parts\n"
        "save = np.savez\n"
        "def die(file, **arrays):\n"
        "    save(file, **arrays)\n"
        "    file.truncate(100)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "parts.np.savez = die\n"
        f"made = parts.Parts(pathlib.Path({str(tmp_path)!r}))\n"
        "made.get(lambda: parts.Part({'a': np.arange(9)}), step='model')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = files(tmp_path)
    assert left.suffix != ".npz"
    make = Maker()
    assert not Parts(tmp_path).get(make, step="model").reused
    assert len(files(tmp_path)) == 2
    Parts(tmp_path).remove_stale()
    (kept,) = files(tmp_path)
    assert kept.suffix == ".npz"
    assert Parts(tmp_path).get(make, step="model").reused


def test_nothing_is_pickled(tmp_path):
    Parts(tmp_path).get(Maker(), step="model")
    (path,) = files(tmp_path)
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["array_0", "array_1", "words"]
        assert all(file[name].dtype != object for name in file.files)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        Parts(tmp_path).get(Maker({"a": np.array([{}], dtype=object)}), step="objects")
    assert files(tmp_path) == [path]


def test_what_nobody_used_for_long_is_removed(tmp_path):
    parts, make = Parts(tmp_path), Maker()
    for step in ("old", "used", "new"):
        parts.get(make, step=step)
    long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    for path in files(tmp_path)[:]:
        os.utime(path, (long_ago, long_ago))
    assert parts.get(make, step="used").reused  # used again today
    parts.get(make, step="another")
    parts.remove_stale()
    assert len(files(tmp_path)) == 2
    assert parts.get(make, step="used").reused
    assert not parts.get(make, step="old").reused


def test_there_need_not_be_a_folder(tmp_path):
    Parts(tmp_path / "nowhere").remove_stale()
    assert not (tmp_path / "nowhere").exists()


def changed(array):
    array = array.copy()
    array[0] += 1
    return array


def test_a_splits_fingerprint_tells_all_that_it_holds():
    def split():
        return hand_split(["p", "b", "p"], {(0, 0): 1.0, (1, 1): 2.0}, [(0, 1), (1, 0)], [0, -1])

    one = split()
    assert split_fingerprint(one) == split_fingerprint(split())
    title = pa.array(["a", "b", "c"])
    streams = one.streams.copy()
    streams.data[0] = 1.5
    others = [
        replace(one, horizon_days=15),
        replace(one, as_of=one.as_of.replace(microsecond=1)),
        replace(one, item=one.item.set_column(one.item.schema.get_field_index("title"), "title", title)),
        replace(one, text_vector=changed(one.text_vector)),
        replace(one, streams=streams),
        replace(one, streams=one.streams[:, [1, 0, 2]]),
        replace(one, user_id=pa.array(["u0", "other"])),
        replace(one, known_user=changed(one.known_user)),
        replace(one, target_user=changed(one.target_user)),
        replace(one, target_node=changed(one.target_node)),
    ]
    found = {split_fingerprint(other) for other in [one, *others]}
    assert len(found) == 1 + len(others)
