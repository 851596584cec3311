"""Real processes that are really killed, at their n-th step or after a while.

A step is a change of the file system: what Python does is seen by an audit hook, what Lance does by wrapping it.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lance import LanceDataset

import gfm_store.vectors.publication as publication
import gfm_store.vectors.static_version as static_version

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["killing", "clones", "gfm_store.lifecycle.refresh", "gfm_store.serving.store"])
CHANGES = {"os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir"}
PATIENCE = 120
"""Seconds for one operation, on a busy machine."""


def kill_at_step(operation: Callable[[Path], object], root: Path, step: int) -> bool:
    """Run `operation(root)` in a process that is killed before its step number `step`; was it, or did it end before?"""
    process = FORKS.Process(target=_run_until, args=(operation, root, step))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def kill_after(operation: Callable[[Path], object], root: Path, longest: float, seed: int) -> bool:
    """The same, killed from outside after a random while of at most `longest` seconds."""
    begun = FORKS.Event()
    process = FORKS.Process(target=_announce, args=(operation, root, begun))
    process.start()
    assert begun.wait(PATIENCE)
    process.join(random.Random(seed).uniform(0, longest))
    process.kill()
    process.join(PATIENCE)
    return process.exitcode != 0


def run(operation: Callable[[Path], object], root: Path) -> None:
    """Run it to its end in a process of its own."""
    assert not kill_at_step(operation, root, sys.maxsize)


def _announce(operation: Callable[[Path], object], root: Path, begun: object) -> None:
    begun.set()
    operation(root)


def _run_until(operation: Callable[[Path], object], root: Path, step: int) -> None:
    left = [step]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def hook(event: str, arguments: tuple) -> None:
        if event in CHANGES or (event == "open" and _writes(arguments, root)):
            count()

    for owner, name in (
        (publication.lance, "write_dataset"),
        (static_version.lance, "write_dataset"),
        (LanceDataset, "restore"),
        (LanceDataset, "cleanup_old_versions"),
    ):
        setattr(owner, name, _counted(getattr(owner, name), count))
    sys.addaudithook(hook)
    operation(root)


def _writes(arguments: tuple, root: Path) -> bool:
    path, mode = arguments[0], arguments[1]
    return isinstance(path, str) and path.startswith(str(root)) and isinstance(mode, str) and "w" in mode


def _counted(change: Callable, count: Callable[[], None]) -> Callable:
    def counted(*arguments: object, **options: object) -> object:
        count()
        return change(*arguments, **options)

    return counted
