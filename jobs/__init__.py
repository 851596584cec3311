"""Thin entry points: parse, compose, report. Each is `python -m jobs.NAME` and `main(argv) -> exit code`."""

import os

# Idle OpenMP threads sleep instead of spinning: with the default, an ingest or a second refresh on the same
# cores makes training many times slower. It is read when torch is loaded, so it is said before anything is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
