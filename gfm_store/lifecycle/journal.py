"""The last run of each job that writes: when, how it ended, and what it said.

<warehouse>/log/<job>.json     the run
<warehouse>/log/<job>.log      its lines

A run that was killed left no end; the process that it names is gone.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = "log"
OUTCOMES = {0: "done", 2: "failed", 3: "refused", 130: "interrupted"}


def utc_now() -> datetime:
    """The wall clock, for records only: nothing is computed from it."""
    return datetime.now(UTC).replace(tzinfo=None)


class JobRun(BaseModel):
    """One run of a job."""

    model_config = ConfigDict(frozen=True)

    job: str
    started_at: datetime
    process: int
    process_started: float
    """Process numbers are used again: number and start together name one."""
    ended_at: datetime | None = None
    exit_code: int | None = None

    @property
    def outcome(self) -> str:
        """done, failed, refused, interrupted, running or killed."""
        if self.exit_code is not None:
            return OUTCOMES.get(self.exit_code, "failed")
        try:
            alive = psutil.Process(self.process).create_time() == self.process_started
        except psutil.Error:
            alive = False
        return "running" if alive else "killed"


@dataclass
class Journal:
    """Writes down a run; a warehouse that cannot be written to is no reason for a job to fail."""

    root: Path
    job: str
    _lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        process = psutil.Process()
        self._run = JobRun(
            job=self.job,
            started_at=utc_now(),
            process=process.pid,
            process_started=process.create_time(),
        )
        self.note(f"{self.job} started")

    def note(self, text: str) -> None:
        """One thing that the job said."""
        self._lines.append(f"{utc_now():%Y-%m-%d %H:%M:%S} {text}")
        self._write()

    def end(self, exit_code: int) -> None:
        """The run is over."""
        self._run = self._run.model_copy(update={"ended_at": utc_now(), "exit_code": exit_code})
        self.note(f"{self.job} ended: {self._run.outcome}")

    def _write(self) -> None:
        if not self.root.is_dir():
            return  # not made yet: a job that fails at once shall not make it
        folder, name = self.root / FOLDER, self.job.replace(" ", "_")
        try:
            folder.mkdir(exist_ok=True)
            for ending, text in (
                (".log", "\n".join(self._lines) + "\n"),
                (".json", self._run.model_dump_json(indent=2)),
            ):
                partial = folder / f".{name}{ending}.new"
                partial.write_text(text, encoding="utf-8")
                partial.replace(folder / f"{name}{ending}")
        except OSError:
            return


def last_runs(root: Path) -> list[JobRun]:
    """The last run of each job, the newest first; what does not read is left out."""
    runs = []
    for path in (root / FOLDER).glob("[!.]*.json"):
        try:
            runs.append(JobRun.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError):
            continue
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


def log_file(run: JobRun) -> str:
    """Where its lines are, under the warehouse."""
    return f"{FOLDER}/{run.job.replace(' ', '_')}.log"
