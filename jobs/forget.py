"""Remove users from events, edges, counts, vectors, caches and all kept versions, and certify it."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gfm_store.config import load_config
from gfm_store.lifecycle.forgetting import Certificate, forget_user
from jobs.common import ConfigOption, WarehouseOption, job, recorded_root, run

HELP = (
    "Remove a user from events, profiles, quarantine, edges, counts, vectors, caches, reports and all kept "
    "versions, whose files are rewritten, and write a certificate of it.\n\n"
    "A later ingest of the same file does not bring the user back: a salted hash remembers. "
    "`jobs.ingest --readmit ID` lets the user come back."
)
EXAMPLES = """
[bold]Examples[/bold]

    python -m jobs.forget --user u42

    python -m jobs.forget --user u42 --warehouse shop
"""

app = job()


@app.command(help=HELP, epilog=EXAMPLES)
def forget(
    user: Annotated[
        list[str],
        typer.Option("--user", metavar="ID", help="Whom, letter by letter; may be given several times."),
    ],
    warehouse: WarehouseOption = None,
    config: ConfigOption = None,
) -> None:
    root = recorded_root(warehouse, "forget")
    settings = load_config(config)
    for one in dict.fromkeys(user):
        if len(user) > 1:
            typer.echo(one)
        certificate, path = forget_user(root, one, settings)
        for name, text in _lines(certificate).items():
            typer.echo(f"{name:<12} {text}")
        typer.echo(f"Certificate: {path}")


def _lines(certificate: Certificate) -> dict[str, str]:
    vectors = sum(certificate.user_vectors.values())
    lines = {
        "removed": f"{certificate.events:,} events, {certificate.profiles:,} profiles, "
        f"{certificate.quarantined_rows:,} quarantined rows, {vectors:,} vectors",
        "rewritten": f"{len(certificate.user_vectors):,} versions; edges: "
        + (
            ", ".join(f"{name} {old:,} -> {new:,}" for name, (old, new) in certificate.edges.items())
            or "none"
        ),
        "evaluations": f"{certificate.evaluation_parts:,} finished parts"
        + "".join(f", {name}" for name in certificate.reports),
        "weights": f"trained with the user: {', '.join(certificate.trained_with)}; refresh to replace them"
        if certificate.trained_with
        else "no kept version was trained with the user",
    }
    if certificate.still_in_files:
        lines["still in"] = (
            ", ".join(certificate.still_in_files) + ": not files of ours, remove them yourself"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    return run(app, argv, "forget")


if __name__ == "__main__":
    raise SystemExit(main())
