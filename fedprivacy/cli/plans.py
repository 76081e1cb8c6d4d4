"""`fedprivacy plan`: what a plan promises and costs, and whether a policy accepts it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.errors import ConfigurationError

__all__ = ["EXAMPLES", "plan"]

EXAMPLES = (
    "fedprivacy plan examples/hospitals/privacy.toml --clients 20 --length 31",
    "fedprivacy plan privacy.toml --policy client.toml && echo accepted",
    "fedprivacy plan --clients 1000 --corrupt 0.05 --dropout 0.1 --adversary semi-malicious",
    "fedprivacy plan --clients 200 --corrupt 10 --adversary malicious --json",
)
_LENGTH = 1_000_000
_MOST_CLIENTS = 1_000_000


_Path = Annotated[Path | None, typer.Argument(metavar="[PRIVACY.toml]", show_default=False)]
_Policy = Annotated[
    Path | None,
    typer.Option("--policy", metavar="CLIENT.toml", help="A client's policy to check it by."),
]
_Clients = Annotated[
    int | None,
    typer.Option(
        "--clients",
        min=1,
        max=_MOST_CLIENTS,
        metavar="N",
        help="The cohort. With a file, by default the fewest whom the plan allows.",
    ),
]
_Length = Annotated[
    int, typer.Option("--length", min=1, metavar="N", help="Parameters in one update.")
]
_Corrupt = Annotated[
    str | None,
    typer.Option(
        "--corrupt",
        metavar="N|RATE",
        help="Without a file: clients in league with the server, 50 or 0.05.",
    ),
]
_Dropout = Annotated[
    float | None,
    typer.Option("--dropout", metavar="RATE", help="Without a file: the share that may be lost."),
]
_Adversary = Annotated[
    str | None,
    typer.Option(
        "--adversary",
        metavar="NAME",
        help="Without a file: honest-but-curious, semi-malicious or malicious (as it is when "
        "left out).",
    ),
]
_Bits = Annotated[
    int | None,
    typer.Option(
        "--bits",
        min=2,
        max=32,
        metavar="N",
        help="Without a file: bits of a value before it is summed; 16 when left out.",
    ),
]
_MinClients = Annotated[
    int | None,
    typer.Option(
        "--min-clients",
        min=2,
        metavar="N",
        help="Without a file: the fewest in a sum, 2 when left out; safety may ask for more.",
    ),
]
_Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", metavar="NAME", help="Without a file: one by name; auto when left out."
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def plan(
    path: _Path = None,
    *,
    policy: _Policy = None,
    clients: _Clients = None,
    length: _Length = _LENGTH,
    corrupt: _Corrupt = None,
    dropout: _Dropout = None,
    adversary: _Adversary = None,
    bits: _Bits = None,
    min_clients: _MinClients = None,
    protocol: _Protocol = None,
    as_json: _AsJson = False,
) -> None:
    """Say what a plan guarantees and costs, without running it.

    The plan is a file, or made from figures. With a policy it says, too, whether that client
    accepts the plan, with nothing spent before; if not, it exits with 3, or with 4 where its budget
    does not hold one round.
    """
    from fedprivacy.cli.consoles import show
    from fedprivacy.cli.figures import Figures
    from fedprivacy.reporting.plan_report import PlanReport
    from fedprivacy.rounds import ClientPolicy, Plan
    from fedprivacy.rounds.auto import settle
    from fedprivacy.rounds.privacy import check_accepts
    from fedprivacy.rounds.quorum import fewest_clients

    figures = Figures(corrupt, dropout, adversary, bits, min_clients, protocol)
    if path is None:
        if policy is not None:
            raise ConfigurationError("--policy holds against a plan in a file: name one")
        if clients is None:
            raise ConfigurationError("give a plan's file, or the cohort: --clients N")
        read = figures.plan(clients)
    else:
        figures.check_none(path)
        read = Plan.from_toml(path)
    asked = None if policy is None else ClientPolicy.from_toml(policy)
    cohort = fewest_clients(read.aggregation) if clients is None else clients
    report = PlanReport.of(read, clients=cohort, length=length, policy=asked)
    if as_json:
        sys.stdout.write(report.to_json())
    else:
        show(report.parts())
    if asked is not None:
        check_accepts(settle(read, cohort).plan, asked, cohort=cohort, length=length)
