"""`fedprivacy attack audit`: canaries in real runs of a plan, held against what is accounted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import read_text, write_text
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.attacks.auditing.campaign import Audit, Observed
    from fedprivacy.rounds import Plan, RunRecord
    from fedprivacy.rounds.record import AuditRecord

__all__ = ["AUDIT_EXAMPLES", "audit"]

AUDIT_EXAMPLES = (
    "fedprivacy attack audit",
    "fedprivacy attack audit --run runs/20260102-030405-0a1b2c3d --runs 10",
    "fedprivacy attack audit privacy.toml --clients 20 --rounds 3 --json | jq .lower_bound",
)
_ACCUSED = 1
"""As for any other bug: what ran is not what is claimed."""
_SHIPPED, _ITS_CLIENTS = "attacks/audit/privacy.toml", 12
_KEPT = Path("runs") / "audit"
"""Where the runs of an interrupted audit are kept that is of no run."""

_Plan = Annotated[Path | None, typer.Argument(metavar="PRIVACY.toml", show_default=False)]
_Run = Annotated[
    Path | None,
    typer.Option("--run", metavar="RUN", help="Audit that run's plan, into its record."),
]
_Clients = Annotated[
    int | None, typer.Option("--clients", min=2, metavar="N", help="In each run; those of --run.")
]
_Silent = Annotated[
    int | None,
    typer.Option(
        "--silent",
        min=0,
        metavar="C",
        help="Of them the server's own, without noise; by default as many as the plan allows.",
    ),
]
_Runs = Annotated[int, typer.Option("--runs", min=1, metavar="N", help="To pool.")]
_Rounds = Annotated[
    int, typer.Option("--rounds", min=1, metavar="N", help="In each run, canaries in all.")
]
_Canaries = Annotated[
    int | None,
    typer.Option("--canaries", min=2, metavar="N", help="By default as many as fit, up to 1,024."),
]
_Guesses = Annotated[
    int | None, typer.Option("--guesses", min=2, metavar="N", help="About them; 100.")
]
_Delta = Annotated[float, typer.Option("--delta", metavar="D", help="At which to compare epsilon.")]
_Seed = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="Of the first run; others follow.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the audit alone, on stdout.")]


def audit(
    plan: _Plan = None,
    *,
    run: _Run = None,
    clients: _Clients = None,
    silent: _Silent = None,
    runs: _Runs = 5,
    rounds: _Rounds = 1,
    canaries: _Canaries = None,
    guesses: _Guesses = None,
    delta: _Delta = 1e-7,
    seed: _Seed = 1,
    as_json: _Json = False,
) -> None:
    """Inject canaries into real rounds, and hold what they show against the accountant.

    Worst-case gradients, each a unit of its own at an honest client or at nobody by a coin, under a
    malicious server whose own clients leave out their noise; where the unit is a client, all that
    one sends, or zeros. All runs make one test, fixed before the first, that accuses a correct
    mechanism with a chance of 0.001 at most. It exits with 1 where the claim is refuted. An audit
    that was interrupted goes on where it was. By default it audits the plan that ships for it.
    """
    from fedprivacy.attacks.auditing.campaign import Audit, most_canaries
    from fedprivacy.attacks.auditing.canaries import CanaryRun

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
    _tell(_carried_out(wanted, run, record), as_json=as_json)


def _carried_out(wanted: Audit, run: Path | None, record: RunRecord | None) -> AuditRecord:
    """The audit, into the record of the run that it is of; what was kept on the way is let go."""
    import msgspec

    from fedprivacy.attacks.auditing.campaign import audit_journal
    from fedprivacy.cli.attack_jobs import interruptible
    from fedprivacy.cli.consoles import accompanying
    from fedprivacy.cli.progress import counting

    console = accompanying()
    console.print(_announced(wanted), soft_wrap=True)
    folder = run or _KEPT
    kept = audit_journal(folder)
    with interruptible(folder), counting(console, "runs", wanted.runs) as tell:

        def observe(seen: Observed, earlier: bool) -> None:  # noqa: FBT001 - as it is called
            told = f"seed {seen.seed}: {seen.correct} of {wanted.guesses} guesses were right"
            tell(told + (" (kept)" if earlier else ""))

        found = wanted.carry_out(observe, kept)
    if run is not None and record is not None:
        write_text(run / "record.json", msgspec.structs.replace(record, audit=found).to_json())
        console.print(f"the record in {run} has it", soft_wrap=True)
    kept.remove()
    return found


def _tell(found: AuditRecord, *, as_json: bool) -> None:
    """The figures, and the exit code of the verdict."""
    import msgspec

    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.attacks import audit_report

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
    from fedprivacy.rounds.auto import settle
    from fedprivacy.shipped import shipped_path

    if plan is not None and record is not None:
        raise ConfigurationError(f"{plan} and --run are two plans: name one of them")
    if record is not None:
        return record.plan, clients or record.guarantee.cohort
    if plan is None:
        return Plan.from_toml(shipped_path(_SHIPPED)), clients or _ITS_CLIENTS
    if clients is None:
        raise ConfigurationError(f"how many clients take part under {plan}? Give --clients")
    return settle(Plan.from_toml(plan), clients).plan, clients


def _announced(wanted: Audit) -> str:
    """The test, before the first run."""
    test, run = wanted.registered, wanted.run
    return (
        f"{wanted.runs} runs, {run.rounds} rounds each, {run.clients} clients of whom {run.silent} "
        f"add no noise, {run.canaries} canaries, {wanted.guesses} guesses: held against "
        f"epsilon = {test.epsilon:.4g} at delta = {wanted.delta:g}, error {test.error:g}"
    )
