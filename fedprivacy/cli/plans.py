"""`fedprivacy plan`: what a plan promises and costs, and whether a policy accepts it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLES", "plan"]

EXAMPLES = (
    "fedprivacy plan examples/hospitals/privacy.toml --clients 20 --length 31",
    "fedprivacy plan privacy.toml --policy client.toml && echo accepted",
)
_LENGTH = 1_000_000


def plan(
    path: Annotated[Path, typer.Argument(metavar="PRIVACY.toml", show_default=False)],
    *,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="CLIENT.toml", help="A client's policy to check it by."),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            "--clients",
            min=1,
            max=1_000_000,
            metavar="N",
            help="The cohort. By default the fewest whom the plan allows.",
        ),
    ] = None,
    length: Annotated[
        int, typer.Option("--length", min=1, metavar="N", help="Parameters in one update.")
    ] = _LENGTH,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what a plan guarantees and costs, without running it.

    With a policy it says, too, whether that client accepts the plan; if not, it exits with 3.
    """
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.plan_report import PlanReport
    from fedprivacy.rounds import ClientPolicy, Plan
    from fedprivacy.rounds.quorum import fewest_clients

    read = Plan.from_toml(path)
    asked = None if policy is None else ClientPolicy.from_toml(policy)
    cohort = fewest_clients(read.aggregation) if clients is None else clients
    report = PlanReport.of(read, clients=cohort, length=length, policy=asked)
    if as_json:
        sys.stdout.write(report.to_json())
    else:
        show(report.parts())
    if asked is not None:
        asked.check(read, threshold=read.quorum(cohort).threshold, cohort=cohort)
