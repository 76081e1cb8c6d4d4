"""`fedprivacy attack audit`: canaries in real runs of a plan, held against what is accounted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import read_text, write_text
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.attacks.auditing.campaign import Audit
    from fedprivacy.rounds import Plan, RunRecord

__all__ = ["AUDIT_EXAMPLES", "audit"]

AUDIT_EXAMPLES = (
    "fedprivacy attack audit",
    "fedprivacy attack audit --run runs/20260102-030405-0a1b2c3d --runs 10",
    "fedprivacy attack audit privacy.toml --clients 20 --rounds 3 --json | jq .lower_bound",
)
_ACCUSED = 1
"""As for any other bug: what ran is not what is claimed."""
_SHIPPED, _ITS_CLIENTS = "attacks/audit/privacy.toml", 12


def audit(
    plan: Annotated[Path | None, typer.Argument(metavar="PRIVACY.toml", show_default=False)] = None,
    *,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Audit that run's plan, into its record."),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option("--clients", min=2, metavar="N", help="In each run; those of --run."),
    ] = None,
    silent: Annotated[
        int | None,
        typer.Option(
            "--silent",
            min=0,
            metavar="C",
            help="Of them the server's own, without noise; by default as many as the plan allows.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, metavar="N", help="To pool.")] = 5,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, metavar="N", help="In each run, canaries in all.")
    ] = 1,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", min=2, metavar="N", help="A power of two; 1,024 at most."),
    ] = None,
    guesses: Annotated[
        int | None, typer.Option("--guesses", min=2, metavar="N", help="About them; 100.")
    ] = None,
    delta: Annotated[
        float, typer.Option("--delta", metavar="D", help="At which epsilon is compared.")
    ] = 1e-7,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of the first run; others follow.")
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the audit, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Inject canaries into real rounds, and hold what they show against the accountant.

    Worst-case gradients, each a unit of its own at an honest client or at nobody by a coin, under a
    malicious server whose own clients leave out their noise. All runs make one test, fixed before
    the first, that accuses a correct mechanism with a chance of 0.001 at most. It exits with 1
    where the claim is refuted. By default it audits the plan that ships for it.
    """
    import msgspec

    from fedprivacy.attacks.auditing.campaign import Audit, most_canaries
    from fedprivacy.attacks.auditing.canaries import CanaryRun
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.reporting.attacks import audit_report

    record = None if run is None else _record(run)
    asked, cohort = _asked(plan, record, clients)
    quiet = asked.aggregation.corrupt if silent is None else silent
    count = canaries or most_canaries(asked, cohort, quiet)
    wanted = Audit(
        CanaryRun(asked, cohort, count, silent=quiet, rounds=rounds),
        runs=runs,
        guesses=guesses or min(100, count // 4 * 2),
        delta=delta,
        first_seed=seed,
    )
    console = accompanying()
    console.print(_announced(wanted), soft_wrap=True)
    found = wanted.carry_out(
        lambda seed, right: console.print(
            f"seed {seed}: {right} of {wanted.guesses} guesses were right", soft_wrap=True
        )
    )
    if run is not None and record is not None:
        write_text(run / "record.json", msgspec.structs.replace(record, audit=found).to_json())
        console.print(f"the record in {run} has it", soft_wrap=True)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    else:
        show(audit_report(found))
    if found.accused:
        raise typer.Exit(_ACCUSED)


def _record(run: Path) -> RunRecord:
    import msgspec

    from fedprivacy.rounds import RunRecord

    path = run / "record.json"
    try:
        return RunRecord.from_json(read_text(path))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no record of a run: {error}") from None


def _asked(plan: Path | None, record: RunRecord | None, clients: int | None) -> tuple[Plan, int]:
    """The plan, and how many clients a run of it has."""
    from fedprivacy.rounds import Plan
    from fedprivacy.shipped import shipped_path

    if plan is not None and record is not None:
        raise ConfigurationError(f"{plan} and --run are two plans: name one of them")
    if record is not None:
        return record.plan, clients or record.guarantee.cohort
    if plan is None:
        return Plan.from_toml(shipped_path(_SHIPPED)), clients or _ITS_CLIENTS
    if clients is None:
        raise ConfigurationError(f"how many clients take part under {plan}? Give --clients")
    return Plan.from_toml(plan), clients


def _announced(wanted: Audit) -> str:
    """The test, before the first run."""
    test, run = wanted.registered, wanted.run
    return (
        f"{wanted.runs} runs, {run.rounds} rounds each, {run.clients} clients of whom {run.silent} "
        f"add no noise, {run.canaries} canaries, {wanted.guesses} guesses: held against "
        f"epsilon = {test.epsilon:.4g} at delta = {wanted.delta:g}, error {test.error:g}"
    )
