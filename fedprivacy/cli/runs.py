"""`fedprivacy run` and `fedprivacy demo`: a job from its first round to its tables."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.errors import BudgetExhausted, MissingExtra, Reason, RoundAborted

if TYPE_CHECKING:
    from fedprivacy.rounds import RunRecord
    from fedprivacy.simulation.job import Job
    from fedprivacy.simulation.run import Simulation
    from fedprivacy.wire import Transcript

__all__ = ["DEMO_EXAMPLES", "RUN_EXAMPLES", "demo", "expect_a_sum", "run"]

RUN_EXAMPLES = (
    "fedprivacy run examples/hospitals/job.toml",
    "fedprivacy run examples/hospitals/job.toml --protocol secagg+",
    "fedprivacy run examples/hospitals/job.toml --protocol plain --seed 2",
    "fedprivacy run examples/hospitals/job.toml --attack",
    "fedprivacy run examples/phones/job.toml",
    "fedprivacy run job.toml --json | jq .simulation_only",
)
DEMO_EXAMPLES = (
    "fedprivacy demo",
    "fedprivacy demo --protocol plain --out /tmp/runs",
)

_ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="Run another protocol than the plan's, with clients who accept it: for comparison.",
    ),
]
_Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, metavar="N", help="Deal the data anew. Keys and masks never hang on it."
    ),
]
_Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where the run gets a folder of its own.")
]
_Attack = Annotated[
    bool,
    typer.Option("--attack", help="End with quick attacks on the run itself, and its report."),
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Print the record, and nothing else, on stdout.")
]


def run(
    job: Annotated[Path, typer.Argument(metavar="JOB.toml", show_default=False)],
    *,
    protocol: _ProtocolName = None,
    seed: _Seed = None,
    out: _Out = Path("runs"),
    attack: _Attack = False,
    as_json: _AsJson = False,
) -> None:
    """Simulate a job: every client and the server in this process.

    Progress goes to stderr. The run's folder receives rounds.jsonl, a line after each round, and
    record.json at the end. Exits with 5 if no round ended with a sum.
    """
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.simulation.job import Job

    wanted = Job.from_toml(job)
    if protocol is not None:
        wanted = wanted.with_protocol(protocol)
    if seed is not None:
        wanted = wanted.with_seed(seed)
    for remark in _remarks(wanted, protocol):
        accompanying().print(remark, soft_wrap=True)
    record, folder = _simulate(wanted, out, attacks=attack)
    if as_json:
        sys.stdout.write(record.to_json())
    else:
        from fedprivacy.reporting.run_report import run_report

        show(run_report(record))
    accompanying().print(f"the record is in {folder}", soft_wrap=True)
    if attack:
        _report(folder)
    expect_a_sum(record)


def demo(
    *,
    protocol: _ProtocolName = None,
    seed: _Seed = None,
    out: _Out = Path("runs"),
    as_json: _AsJson = False,
) -> None:
    """Run the example: twenty hospitals train one classifier of tumours.

    It is `fedprivacy run --attack` on the job that comes with the package: some hospitals are lost
    on the way. It takes some seconds, ends with quick attacks on itself, and writes report.html.
    """
    from fedprivacy.shipped import shipped_path

    job = shipped_path("examples/hospitals/job.toml")
    run(job, protocol=protocol, seed=seed, out=out, attack=True, as_json=as_json)


def _remarks(job: Job, protocol: str | None) -> Iterator[str]:
    """What a reader must know of the protocol that was chosen, a line each."""
    from fedprivacy.rounds.guarantee import defends_against

    if job.why:
        yield job.why
    if protocol is not None:
        rules = job.plan.aggregation
        yield f"protocol = {rules.protocol}: {defends_against(rules)}"


def _simulate(job: Job, out: Path, *, attacks: bool) -> tuple[RunRecord, Path]:
    from fedprivacy.cli.consoles import accompanying
    from fedprivacy.cli.progress import watching
    from fedprivacy.randomness import SystemRng
    from fedprivacy.simulation.run import Simulation
    from fedprivacy.wire import Transcript

    run_id = SystemRng().bytes(16)
    folder = out / f"{time.strftime('%Y%m%d-%H%M%S')}-{run_id[:4].hex()}"
    transcript = Transcript() if attacks else None
    simulation = Simulation(job, folder=folder, run_id=run_id, transcript=transcript)
    try:
        with watching(accompanying()) as observer:
            record = simulation.run(observer)
        if transcript is not None:
            _attack(job, simulation, transcript, record, folder)
        return record, folder  # noqa: TRY300 - the simulation is closed after both
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the rounds that ended are in {folder}") from None
    finally:
        simulation.close()


def _attack(
    job: Job, simulation: Simulation, transcript: Transcript, record: RunRecord, folder: Path
) -> None:
    """Quick attacks on this run, a line each, kept in its folder."""
    from fedprivacy.attacks.own_run import attack_run
    from fedprivacy.attacks.suite_folder import write_results
    from fedprivacy.attacks.view import View
    from fedprivacy.cli.consoles import accompanying
    from fedprivacy.reporting.attacks import result_line

    view = View.of_run(transcript, record, simulation.sums)
    found = attack_run(job.plan, view, simulation.training, job.file.seed)
    for result in found:
        accompanying().print(f"attacked: {result_line(result)}", soft_wrap=True)
    if found:
        write_results(folder, "own-run", found)


def _report(folder: Path) -> None:
    """The page, where the extra for it is installed."""
    from fedprivacy.cli.consoles import accompanying
    from fedprivacy.cli.reports import write_report

    try:
        page, _ = write_report(folder)
    except MissingExtra as missing:
        accompanying().print(f"no report is written: {missing}", soft_wrap=True)
    else:
        accompanying().print(f"the report is {page}", soft_wrap=True)


def expect_a_sum(record: RunRecord) -> None:
    """Raise why no round of a run ended with one."""
    if any(r.outcome == "sum" for r in record.rounds):
        return
    if record.rounds[-1].refusal:
        raise BudgetExhausted(record.rounds[-1].refusal)
    reason = Reason[record.rounds[-1].attempts[-1].reason.upper().replace("-", "_")]
    detail = f"none of {len(record.rounds)} rounds ended with a sum{_declined(record)}"
    raise RoundAborted(reason, detail)


def _declined(record: RunRecord) -> str:
    """How many declined, and what most of them said; nothing where nobody did."""
    told = [said for r in record.rounds for a in r.attempts for said in a.refused.values()]
    if not told:
        return ""
    ((commonest, times),) = Counter(told).most_common(1)
    return f", and clients declined: {commonest} ({times:,} of {len(told):,} times)"
