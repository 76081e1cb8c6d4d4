"""`fedprivacy join`: a client of a networked run, or a member of its committee."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.errors import FedPrivacyError, PeerError, Reason, RoundAborted

if TYPE_CHECKING:
    from fedprivacy.cli.status import Status, Stopping
    from fedprivacy.rounds import ClientPolicy
    from fedprivacy.secagg import GroupKey
    from fedprivacy.simulation.job import Job
    from fedprivacy.transport.tls.files import ClientFile
    from fedprivacy.transport.tls.participant import Participant, Said

__all__ = ["EXAMPLES", "join"]

EXAMPLES = (
    "fedprivacy join client.toml",
    "fedprivacy join member.toml",
    "fedprivacy join client.toml --log-json 2> client.log",
)


def join(
    client: Annotated[Path, typer.Argument(metavar="CLIENT.toml", show_default=False)],
    *,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Write what happens as JSON, a line each.")
    ] = False,
) -> None:
    """Take part in a networked run until it is over, by this client's own policy.

    A client is also a member of the committee where a round draws it, or the plan names it; with
    role = "member" it is a member and nothing else. What happens goes to stderr. A connection that
    breaks is made anew, in the middle of a round as well. Where the server turns this client away
    it exits with 6; where its own policy or budget declined and no round was seen through, with 3
    or 4.
    """
    from fedprivacy.cli.status import Status, stopping
    from fedprivacy.transport.tls.files import ClientFile

    file = ClientFile.from_toml(client)
    status = Status(log_json)
    with stopping(status) as stop:
        _joined(file, client.parent, status, stop)


def _joined(file: ClientFile, folder: Path, status: Status, stop: Stopping) -> None:
    from datetime import UTC, datetime

    from fedprivacy.crypto import Identity
    from fedprivacy.ledger import ClientStore
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds import ClientPolicy
    from fedprivacy.simulation.job import Job
    from fedprivacy.simulation.networked import JobClient
    from fedprivacy.transport.tls.files import address_of
    from fedprivacy.transport.tls.link import Link
    from fedprivacy.transport.tls.participant import Participant

    job = Job.from_toml(folder / file.job) if file.job else None
    policy = ClientPolicy.from_toml(folder / file.policy)
    key = _group_key(policy, (folder / file.policy).parent, job)
    identity = Identity.load(folder / file.identity, Path(file.identity).stem)
    credentials = file.tls.credentials(folder)
    credentials.check(now=datetime.now(UTC), is_client=True)

    def noted(error: PeerError | None) -> None:
        if error is None:
            status.tell("connected", f"connected to {file.server}", server=file.server)
        else:
            status.refused(file.server, error)

    link = Link(
        credentials,
        *address_of(file.server, "client.server"),
        limits=file.limits,
        rng=SystemRng(),
        role=file.role,
        note=noted,
    )
    with ClientStore(folder / file.store) as store:
        link.start()
        try:
            # Data are touched once the server has shown who it is.
            connected = link.connect()
            trains = JobClient.of(job, identity.client_id) if job and connected else None
            participant = Participant(
                link,
                policy,
                identity,
                store,
                trains.update if trains else None,
                SystemRng(),
                lambda said: _tell(status, said),
                stop,
                key,
            )
            ended = participant.run()
        finally:
            link.close()
    _expect_an_answer(participant, ended, stop)


def _group_key(policy: ClientPolicy, folder: Path, job: Job | None) -> GroupKey | None:
    """The clients' part of a key ceremony, where the plan needs one; its path is the policy's."""
    from fedprivacy.errors import ConfigurationError
    from fedprivacy.secagg import SHARED_KEYS, GroupKey

    protocol = job.plan.aggregation.protocol if job else ""
    if protocol not in SHARED_KEYS:
        return None
    if not policy.ceremony:
        raise ConfigurationError(
            f"policy.ceremony is missing, and {protocol} needs the clients' part of a key "
            "ceremony: name its file"
        )
    key = GroupKey.load(folder / policy.ceremony)
    if key.protocol != protocol:
        raise ConfigurationError(
            f"policy.ceremony = {policy.ceremony} is for {key.protocol}, the plan says {protocol}: "
            "take the one of its own ceremony"
        )
    return key


def _tell(status: Status, said: Said) -> None:
    where = f"round {said.round}, attempt {said.attempt}: " if said.round else ""
    why = f": {said.error}" if said.error is not None else ""
    status.tell(
        said.what,
        f"{where}{said.what}{why}",
        round=said.round,
        attempt=said.attempt,
        **({"error": str(said.error)} if said.error is not None else {}),
    )


def _expect_an_answer(
    participant: Participant, ended: FedPrivacyError | None, stop: Stopping
) -> None:
    """Raise why this party did nothing of what it came for."""
    is_over = isinstance(ended, PeerError) and ended.reason is Reason.CHANNEL_CLOSING
    if ended is not None and not is_over:
        raise ended
    if participant.answered or stop():
        return
    if participant.error is not None:
        raise participant.error
    raise RoundAborted(Reason.TOO_FEW, "the run ended before this client saw a round through")
