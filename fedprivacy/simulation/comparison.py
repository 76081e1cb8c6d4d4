"""One round of a job under every protocol: what each costs, and what it protects from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import msgspec

from fedprivacy.errors import FedPrivacyError, PolicyRefused
from fedprivacy.randomness import Rng, SystemRng
from fedprivacy.rounds import RoundRecord
from fedprivacy.rounds.record import GuaranteeRecord
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, SHARED_KEYS, Plain
from fedprivacy.simulation.job import FaultSpec, Job, Stores
from fedprivacy.simulation.run import Simulation
from fedprivacy.transport import PhaseMeter, Role

__all__ = ["ComparisonRow", "compared"]


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol in a round in which nobody is lost; zeros where it did not run."""

    protocol: str
    adversary: str
    """The strongest that it withstands; `none` where nothing is hidden."""
    corrupt: int
    """Clients that may be in league with the server."""
    outcome: str
    """`sum`, or why there is none."""
    policy: str
    """The policy by which clients took part; empty where the job ships none, and they ask for just
    what the protocol gives."""
    cannot: tuple[str, ...]
    """What the job's own plan asks for and the protocol cannot do, as refusals; left out here."""
    own_policy: str
    """Why the job's own clients would refuse it; empty where they would not."""
    noise: str
    """Who adds noise: the job's own plan, unless the protocol cannot."""
    clients: int = 0
    exchanges: int = 0
    """Phases in which a client sends."""
    bytes_up: int = 0
    """Of the client that sent most."""
    bytes_down: int = 0
    """Of the client that was sent most; the model, which is broadcast, included."""
    client_seconds: float = 0.0
    """Computing, of one client on the mean."""
    server_seconds: float = 0.0
    member_seconds: float = 0.0
    """Of one member of a committee on the mean."""
    exact: bool = False
    """Whether the sum is exact, and not approximate."""
    may_be_lost: int = 0
    """Clients, at any moment."""
    decrypts: str = ""
    """Who can open a sum, and what it takes."""


class _Watcher:
    """Keeps the meters of the phases."""

    def __init__(self) -> None:
        self.meters: list[PhaseMeter] = []

    def round_started(self, number: int, of: int) -> None:
        """One is enough to know."""

    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None:
        self.meters.append(meter)

    def round_ended(self, record: RoundRecord) -> None:
        """It is in the run's record."""


def compared(job: Job, *, rng: Rng | None = None) -> Iterator[ComparisonRow]:
    """A row a protocol, in the order of the registry; the job's own faults are left out."""
    file = msgspec.structs.replace(job.file, rounds=1, faults=FaultSpec(), stores=Stores.MEMORY)
    job = dataclasses.replace(job, file=file)
    for name in PROTOCOLS:
        yield _row(job, name, SystemRng() if rng is None else rng)


def _row(own: Job, name: str, rng: Rng) -> ComparisonRow:
    strongest = max(PROTOCOLS[name].adversaries, key=lambda a: a.strength).value
    row = ComparisonRow(
        protocol=name,
        adversary="none" if name == Plain.name else strongest,
        corrupt=0,
        outcome="sum",
        policy=f"{name}.toml" if own.policies else "",
        cannot=(),
        own_policy="",
        noise="",
    )
    try:
        job = own.with_policy_for(name)
        row = msgspec.structs.replace(
            row,
            corrupt=0 if name == Plain.name else job.plan.aggregation.corrupt,
            cannot=own.refusals(name),
            own_policy=_refusal(own, job),
            noise=job.plan.noise.trust.value,
        )
        job.policy.check(job.plan)
        return _run(job, row, rng.child(f"compare/{name}"))
    except FedPrivacyError as error:
        return msgspec.structs.replace(row, outcome=str(error))


def _refusal(own: Job, job: Job) -> str:
    """What the job's own policy says of the plan that is run instead."""
    try:
        own.policy.check(job.plan)
    except PolicyRefused as refused:
        return str(refused)
    return ""


def _run(job: Job, row: ComparisonRow, rng: Rng) -> ComparisonRow:
    watcher = _Watcher()
    simulation = Simulation(job, rng=rng)
    try:
        record = simulation.run(watcher)
    finally:
        simulation.close()
    (entry,), guarantee = record.rounds, record.guarantee
    if entry.outcome != "sum":
        reasons = [attempt.reason for attempt in entry.attempts]
        return msgspec.structs.replace(row, outcome=f"no sum: {', '.join(reasons)}")
    up, down, seconds = Counter[str](), Counter[str](), Counter[Role]()
    for meter in watcher.meters:
        up.update(meter.up)
        down.update(meter.down)
        seconds.update(meter.seconds_by_role)
    members = guarantee.committee.size if guarantee.committee else 0
    return msgspec.structs.replace(
        row,
        clients=guarantee.cohort,
        exchanges=sum(1 for meter in watcher.meters if meter.up),
        bytes_up=max(up.values(), default=0),
        bytes_down=max(down.values(), default=0),
        client_seconds=seconds[Role.CLIENT] / guarantee.cohort,
        server_seconds=float(seconds[Role.SERVER]),
        member_seconds=seconds[Role.MEMBER] / members if members else 0.0,
        exact=row.protocol not in SHARED_KEYS or SHARED_KEYS[row.protocol].exact,
        may_be_lost=guarantee.losses,
        decrypts=_who_decrypts(guarantee),
    )


def _who_decrypts(guarantee: GuaranteeRecord) -> str:
    if guarantee.protocol == Plain.name:
        return "the server sees every update"
    if guarantee.protocol in SHARED_KEYS:
        return "every client, any ciphertext"
    if guarantee.protocol in COMMITTEES and guarantee.committee:
        committee = guarantee.committee
        return f"{committee.threshold} of {committee.size} members, one sum"
    others = guarantee.degree or guarantee.cohort
    return f"nobody alone; {guarantee.threshold} of {others} unmask one sum"
