"""`fedprivacy attack`: known attacks against a plan, each beside its control."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli import audits
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError, FedPrivacyError, MissingExtra

if TYPE_CHECKING:
    from fedprivacy.attacks.result import AttackResult
    from fedprivacy.cli.attack_jobs import Job

__all__ = ["app"]


class Suite(enum.Enum):
    """The names of `fedprivacy.attacks.suites`, known before any of it is loaded."""

    QUICK = "quick"
    FULL = "full"


app = group(
    "Run known attacks on real rounds, and see what an adversary still gets.",
    "fedprivacy attack list",
    "fedprivacy attack run differencing",
    "fedprivacy attack audit",
)
command(app, "audit", *audits.AUDIT_EXAMPLES)(audits.audit)


@command(app, "list", "fedprivacy attack list")
def list_attacks() -> None:
    """Name every attack, who it takes and what it measures."""
    from fedprivacy.attacks.registry import ATTACKS
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.attacks import attack_list

    show(attack_list(ATTACKS.values()))


_Scenario = Annotated[Path | None, typer.Argument(metavar="SCENARIO.toml", show_default=False)]
_Suite = Annotated[
    Suite | None,
    typer.Option(
        metavar="NAME",
        help="Run all that ships instead: quick, a seed each, or full, five.",
        show_choices=False,
    ),
]
_Seeds = Annotated[
    list[int] | None,
    typer.Option(
        min=0, metavar="N", help="Run with this seed instead of the scenario's; repeatable."
    ),
]
_Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="PKG.MOD:FACTORY", help="Attack your torch module; with --data."
    ),
]
_Data = Annotated[
    str | None, typer.Option("--data", metavar="PKG.MOD:LOADER", help="Your (inputs, labels).")
]
_Plan = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="PRIVACY.toml",
        help="Your plan, a Flower app's say, beside the first setting.",
    ),
]
_Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Of the attack; repeatable."),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Keep results in a run's folder, or another; runs/attacks-NAME for a suite.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the results alone, on stdout.")]


@command(
    app,
    "run",
    "fedprivacy attack run lira",
    "fedprivacy attack run analytic --seed 7 --seed 8",
    "fedprivacy attack run --suite quick --out runs/20260102-030405-0a1b2c3d",
    "fedprivacy attack run --suite quick --plan flower-app/privacy.toml",
    "fedprivacy attack run lira --model app.task:net --data app.task:load --plan privacy.toml",
    "fedprivacy attack run scenario.toml --json | jq '.[].measured'",
)
def run(
    scenario: _Scenario = None,
    *,
    suite: _Suite = None,
    seed: _Seeds = None,
    model: _Model = None,
    data: _Data = None,
    plan: _Plan = None,
    option: _Options = None,
    out: _Out = None,
    as_json: _Json = False,
) -> None:
    """Run attacks and their controls on the plans that their scenarios name.

    The name of an attack stands for the scenario that ships with it.
    Progress goes to stderr, and a line for each departure from expected.json beside a scenario.
    What is kept in a folder is not run again: a run that was interrupted goes on where it was, and
    `fedprivacy report DIR` shows it.
    An attack that fails does not prove privacy.
    """
    from fedprivacy.cli.attack_jobs import Job, Yours, run_all, suite_jobs
    from fedprivacy.cli.consoles import accompanying

    yours = Yours.read(model, data, plan, option or [])
    seeds = tuple(dict.fromkeys(seed or ()))
    leaves_out: tuple[type[FedPrivacyError], ...] = ()
    if scenario is not None and suite is None:
        jobs = [Job.of(scenario, yours, seeds)]
    elif suite is not None and scenario is None:
        out = out or Path("runs") / f"attacks-{suite.value}"
        jobs = suite_jobs(suite.value, yours, seeds)
        # An extra that is not there; of a plan of one's own, what it is not for as well.
        leaves_out = (MissingExtra,) if plan is None else (MissingExtra, ConfigurationError)
    else:
        raise ConfigurationError("give a scenario, an attack's name or --suite: one of them")
    results = run_all(jobs, out, leaves_out=leaves_out)
    _tell(jobs, results, as_json=as_json)
    if out is not None:
        accompanying().print(f"the results are in {out / 'attacks'}", soft_wrap=True)


def _tell(
    jobs: Sequence[Job], results: dict[Path, tuple[AttackResult, ...]], *, as_json: bool
) -> None:
    """The results, and where they depart from what is expected."""
    from fedprivacy.attacks.expected import Expected
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.reporting.attacks import attack_report

    if as_json:
        every = [each.to_json().rstrip() for found in results.values() for each in found]
        sys.stdout.write(f"[{','.join(every)}]\n")
    for job in jobs:
        if job.path not in results:
            continue
        found = results[job.path]
        if not as_json:
            show(attack_report(job.scenario.attack.about, found))
        expected = None if job.scenario.is_changed else Expected.beside(job.path)
        if expected is not None:
            prefix = f"{job.scenario.attack.name}: " if len(jobs) > 1 else ""
            for line in expected.faults(found) or ["as expected.json says"]:
                accompanying().print(prefix + line, soft_wrap=True)
