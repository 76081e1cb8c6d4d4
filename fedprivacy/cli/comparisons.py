"""`fedprivacy compare`: one round of a job under every protocol."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLES", "compare"]

EXAMPLES = (
    "fedprivacy compare examples/hospitals/job.toml",
    "fedprivacy compare examples/hospitals/job.toml --json >kept.json",
    "fedprivacy compare kept.json",
)


def compare(
    job: Annotated[Path, typer.Argument(metavar="JOB.toml|KEPT.json", show_default=False)],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Run the same round under every protocol, and print what each costs and protects from.

    Each runs against the strongest adversary that it withstands, by the policy that the job ships
    for it; what the job's own plan asks for beyond that, and what cannot run, stands as a refusal.
    Nobody is lost in it. Seconds are this machine's, of all clients or members on the mean. A
    comparison that was kept with --json is printed again.
    """
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.cli.files import read_text
    from fedprivacy.reporting.comparison_report import Comparison
    from fedprivacy.simulation.comparison import compared
    from fedprivacy.simulation.job import Job

    if job.suffix == ".json":
        comparison = Comparison.from_json(read_text(job))
    else:
        rows = []
        for row in compared(Job.from_toml(job)):
            accompanying().print(f"{row.protocol}: {row.outcome}", soft_wrap=True)
            rows.append(row)
        comparison = Comparison(tuple(rows))
    if as_json:
        sys.stdout.write(comparison.to_json())
    else:
        show(comparison.parts())
