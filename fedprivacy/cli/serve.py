"""`fedprivacy serve`: the server of a networked run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import make_folder, read_text
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.cli.status import Status, Stopping
    from fedprivacy.crypto import Directory, SigningKey
    from fedprivacy.rounds import Plan, RunRecord
    from fedprivacy.rounds.books import Books
    from fedprivacy.secagg import Admission
    from fedprivacy.secagg.homomorphic import WorkerProcess
    from fedprivacy.simulation.job import Job
    from fedprivacy.transport.tls.files import ServerFile
    from fedprivacy.transport.tls.hub import Hub
    from fedprivacy.transport.tls.journal import Journal
    from fedprivacy.transport.tls.run import NetworkedRun

__all__ = ["EXAMPLES", "serve"]

EXAMPLES = (
    "fedprivacy serve server.toml",
    "fedprivacy serve server.toml --log-json 2> server.log",
)


def serve(
    server: Annotated[Path, typer.Argument(metavar="SERVER.toml", show_default=False)],
    *,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Write what happens as JSON, a line each.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Run a job's rounds with clients, and a committee's members, that connect by mutual TLS 1.3.

    What happens goes to stderr. Started again in the same run's folder, it goes on after the round
    that was under way. SIGTERM lets the present round end first. Exits with 5 if no round ended
    with a sum.
    """
    from fedprivacy.cli.consoles import accompanying, show
    from fedprivacy.cli.runs import expect_a_sum
    from fedprivacy.cli.status import Status, stopping
    from fedprivacy.transport.tls.files import ServerFile

    file = ServerFile.from_toml(server)
    status = Status(log_json)
    with stopping(status) as stop:
        record = _served(file, server.parent, status, stop)
    if as_json:
        sys.stdout.write(record.to_json())
    else:
        from fedprivacy.reporting.run_report import run_report

        show(run_report(record))
    if not log_json:
        accompanying().print(f"the record is in {server.parent / file.run}", soft_wrap=True)
    if record.rounds:
        expect_a_sum(record)


def _served(file: ServerFile, folder: Path, status: Status, stop: Stopping) -> RunRecord:
    """Every resource of a run, and its end whatever happens."""
    from fedprivacy.errors import Reason
    from fedprivacy.randomness import SystemRng
    from fedprivacy.simulation.job import Job
    from fedprivacy.transport.tls.journal import Journal, Step

    job = Job.from_toml(folder / file.job)
    admission = _admission(file, folder, job.plan)
    run_folder = folder / file.run
    make_folder(run_folder)
    with closing(Journal.open(run_folder)) as journal, _worker(admission) as worker:
        if not journal.past.run_id:
            journal.write(Step("run", run=SystemRng().bytes(16).hex()))
        hub = _hub(file, folder, job.plan, journal, status)
        reason: Reason | None = Reason.CHANNEL_CLOSING
        try:
            run = _run(file, folder, job, journal, hub, status, stop)
            run.admission, run.pool = admission, worker
            record = _rounds(file, run, job, status)
            reason = Reason.CHANNEL_CLOSING if stop() else None
        finally:
            hub.stop(reason)
    return record


def _run(
    file: ServerFile,
    folder: Path,
    job: Job,
    journal: Journal,
    hub: Hub,
    status: Status,
    stop: Stopping,
) -> NetworkedRun:
    """The run, not yet begun; its books are open."""
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds.run_folder import RunFolder
    from fedprivacy.simulation.networked import JobModel
    from fedprivacy.transport.tls.run import NetworkedRun

    model = JobModel(job)
    return NetworkedRun(
        job.plan,
        model,
        _directory(folder / file.directory),
        hub,
        journal,
        RunFolder(folder / file.run),
        file.waits,
        job.file.rounds,
        SystemRng(),
        status,
        _books(file, folder, job.plan, model.length),
        stop,
    )


def _rounds(file: ServerFile, run: NetworkedRun, job: Job, status: Status) -> RunRecord:
    from fedprivacy.transport.tls.files import address_of
    from fedprivacy.transport.tls.health import Health

    hub, books, named = run.hub, run.books, job.plan.aggregation.committee.members
    health = Health(
        lambda: {
            "status": "stopping" if run.stops() else "ok",
            "run": run.run_id.hex(),
            "round": status.number,
            "of": job.file.rounds,
            "phase": status.phase,
            "connected": len(hub.connected),
        }
    )
    try:
        if books is not None:
            run.files.keep("operator.pub", books.operator_text)
        run.recover()
        if file.health:
            health.start(*address_of(file.health, "server.health"))
        port = hub.start(*address_of(file.listen, "server.listen"))
        host = file.listen.rpartition(":")[0]
        members = f" and {len(named)} members of the committee" if named else ""
        status.tell(
            "listening",
            f"listening on {host}:{port} for {job.file.clients} clients{members}",
            host=host,
            port=port,
            run=run.run_id.hex(),
        )
        run.gather(job.file.clients, file.times.gather)
        return run.run()
    finally:
        if file.health:
            health.stop()
        if books is not None:
            books.close()


def _admission(file: ServerFile, folder: Path, plan: Plan) -> Admission | None:
    """The server's part of a key ceremony, where the plan's clients share a key."""
    from fedprivacy.secagg import SHARED_KEYS, Admission
    from fedprivacy.secagg.homomorphic.native import require

    protocol = plan.aggregation.protocol
    if protocol not in SHARED_KEYS:
        return None
    require()
    if not file.ceremony:
        raise ConfigurationError(
            f"server.ceremony is missing, and {protocol} needs the server's part of a key "
            "ceremony: run `fedprivacy keys ceremony`, and name it"
        )
    admission = Admission.load(folder / file.ceremony)
    if admission.protocol != protocol:
        raise ConfigurationError(
            f"server.ceremony = {file.ceremony} is for {admission.protocol}, the plan says "
            f"{protocol}: take the one of its own ceremony"
        )
    return admission


@contextmanager
def _worker(admission: Admission | None) -> Iterator[WorkerProcess | None]:
    """Where native code reads what clients send, if they share a key; ready when this is."""
    if admission is None:
        yield None
        return
    from fedprivacy.secagg.homomorphic import WorkerProcess
    from fedprivacy.secagg.homomorphic.native import warm

    with WorkerProcess() as worker:
        worker.submit(warm, admission.protocol).result()
        yield worker


def _hub(file: ServerFile, folder: Path, plan: Plan, journal: Journal, status: Status) -> Hub:
    from datetime import UTC, datetime

    from fedprivacy.transport.tls.hub import Hub
    from fedprivacy.transport.tls.journal import Step

    credentials = file.tls.credentials(folder)
    credentials.check(now=datetime.now(UTC), is_client=False)

    def begin(client: str, session: bytes) -> bool:
        """Whether this session's id was never used; it is then on the disk."""
        if session.hex() in journal.past.sessions:
            return False
        journal.write(Step("session", client=client, session=session.hex()))
        status.tell("connected", f"{client} is connected", client=client)
        return True

    return Hub(
        credentials,
        _directory(folder / file.directory),
        journal.past.run_id,
        limits=file.limits,
        committee=plan.aggregation.committee.members,
        begin=begin,
        note=status.refused,
    )


def _directory(path: Path) -> Directory:
    from fedprivacy.crypto import Directory

    return Directory.from_json(read_text(path))


def _books(file: ServerFile, folder: Path, plan: Plan, length: int) -> Books | None:
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds.books import Books
    from fedprivacy.rounds.rules import Trust

    if plan.noise.trust is Trust.NONE:
        return None
    place = file.ledger or f"{file.run}/ledger.db"
    return Books.open(
        plan,
        length,
        place if "://" in place else folder / place,
        operator=_operator(folder / (file.operator or f"{file.run}/operator.key")),
        reason="serve",
        clock=lambda: int(time.time()),
        rng=SystemRng(),
    )


def _operator(path: Path) -> SigningKey:
    from fedprivacy.crypto import Identity
    from fedprivacy.randomness import SystemRng

    if not path.exists():
        if not path.parent.is_dir():
            raise ConfigurationError(f"server.operator = {path}: its folder is not there")
        Identity.new("operator", rng=SystemRng()).save(path)
    return Identity.load(path, "operator").key
