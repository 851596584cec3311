"""Thin entry points: parse, compose, report. Each is `python -m jobs.NAME` and `main(argv) -> exit code`."""
