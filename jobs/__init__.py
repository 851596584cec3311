"""Thin entry points: parse, compose, report. Each is `python -m jobs.NAME` and `main(argv) -> exit code`."""

import os

# Idle OpenMP threads soon sleep instead of spinning on: by default, a second refresh on the same cores makes
# both some twenty times slower. It is read when torch is loaded, so it is said before anything is.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
