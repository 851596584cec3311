"""Progress of long work: a bar with time left on a terminal, plain lines in a pipe, silence in a library.

    with progress.task("encode text", total=28_095, unit="texts") as task:
        task.advance(128)
    progress.say("data is thin, so the graph reads 360 days")

Library code only calls `task` and `say`; a job chooses what they do with `reporting`.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger("gfm_store")


class Task(Protocol):
    """One piece of long work."""

    def advance(self, amount: float = 1) -> None: ...

    def note(self, text: str) -> None: ...


class Reporter(Protocol):
    """Where progress goes."""

    def task(self, label: str, total: float | None, unit: str) -> AbstractContextManager[Task]: ...

    def say(self, text: str) -> None: ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class SilentReporter:
    """The default: notes go to the `gfm_store` logger, nothing is printed."""

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        yield _SilentTask()

    def say(self, text: str) -> None:
        log.info(text)


class TerminalReporter:
    """Rich progress bars with time left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", style="dim"),
        )
        with Progress(*columns, console=self._console) as bar:
            row = bar.add_task(f"{label:<24}", total=total, unit=unit, text="")

            class BarTask:
                def advance(self, amount: float = 1) -> None:
                    bar.advance(row, amount)

                def note(self, text: str) -> None:
                    bar.update(row, text=text)

            yield BarTask()

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False)


class _LineTask:
    """A line when a task starts to be long, then one every `every` seconds."""

    def __init__(self, label: str, total: float | None, unit: str, every: float) -> None:
        self._label, self._total, self._unit, self._every = label, total, unit, every
        self._done, self._text = 0.0, ""
        self.started = self._printed = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._printed < self._every:
            return
        self._printed = now
        line = f"{self._label}: {self._done:,.0f}"
        if self._total:
            left = (now - self.started) / self._done * (self._total - self._done) if self._done else 0
            line += f" of {self._total:,.0f} {self._unit}, {left:.0f} s left"
        else:
            line += f" {self._unit}, {now - self.started:.0f} s"
        print(f"{line} {self._text}".rstrip(), flush=True)

    def note(self, text: str) -> None:
        self._text = text


class LineReporter:
    """Plain lines, for pipes and log files."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = every

    @contextmanager
    def task(self, label: str, total: float | None, unit: str) -> Iterator[Task]:
        task = _LineTask(label, total, unit, self._every)
        yield task
        seconds = time.monotonic() - task.started
        if seconds >= 2:
            print(f"{label}: done in {seconds:.1f} s", flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)


_SILENT = SilentReporter()
_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def current() -> Reporter:
    """The reporter in force: to be taken along into a thread."""
    return _reporter.get() or _SILENT


def task(label: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Task]:
    """Announce a piece of work of `total` units (None when the end is not known)."""
    return current().task(label, total, unit)


def say(text: str) -> None:
    """Tell the person one thing that they should know."""
    current().say(text)


@contextmanager
def reporting(reporter: Reporter | None = None) -> Iterator[None]:
    """Send progress to `reporter`: by default bars on a terminal and lines elsewhere."""
    if reporter is None:
        reporter = TerminalReporter(Console()) if sys.stdout.isatty() else LineReporter()
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
