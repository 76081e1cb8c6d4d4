"""Real rounds for an adversary to look at: clients with updates of their own, the round loop whole.

The stage on which attacks are run, and the adversary's own hands where it is malicious: a server
that changes what it sends, and clients in league with it that leave out their noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.view import RoundView
from fedprivacy.dp import DiscreteGaussian, Skellam
from fedprivacy.errors import PeerError
from fedprivacy.randomness import Rng
from fedprivacy.rounds import ClientPolicy, Invitation, Plan, RoundClient, RoundPlan, RoundServer
from fedprivacy.rounds.messages import INVITATION_LIMIT
from fedprivacy.rounds.policy import AggregationFloor, Requirements
from fedprivacy.secagg import SERVER, Adversary, ClientParty, Cohort, Effect, Source
from fedprivacy.simulation.members import Members
from fedprivacy.transport import Channel, Delivery, InProcess, Outcome
from fedprivacy.vector import Update
from fedprivacy.wire import Transcript, decode, encode

__all__ = ["Attempt", "Federation", "Losing", "SwappedBroadcast", "Trainer", "accepting"]

Floats = NDArray[np.float64]
Trainer = Callable[[str, bytes], Floats]
"""From a client's name and what it was sent to its update: a vector, or a row a unit."""


def accepting(plan: Plan) -> ClientPolicy:
    """A policy that accepts this plan, with the plan's own aggregation as its floors."""
    rules = plan.aggregation
    floors = AggregationFloor(
        protocol=(rules.protocol,),
        adversary=rules.adversary,
        min_clients=rules.min_clients,
        corrupt=rules.corrupt,
    )
    return ClientPolicy(require=Requirements(aggregation=floors))


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended: what the server saw, and why clients declined, by name."""

    view: RoundView
    outcome: Outcome = field(repr=False)

    @property
    def stopped(self) -> str:
        """The reason of the clients that declined, or of the abort; empty with a sum."""
        if self.view.sum is not None:
            return ""
        reasons = [r.name for r in self.outcome.refused.values()]
        if self.outcome.error is not None:
            reasons.append(self.outcome.error.reason.name)
        return reasons[0].lower().replace("_", "-") if reasons else "no-sum"


@dataclass(slots=True)
class Federation:
    """Enrolled clients with stores in memory, and the rounds that they take part in.

    `silent` are corrupt clients: they send zeros, and leave out their share of the noise. `loud`
    are corrupt as well: what they send is so many times what their update is encoded as, which no
    range holds them to.
    """

    plan: Plan
    names: tuple[str, ...]
    rng: Rng
    silent: frozenset[str] = frozenset()
    policy: ClientPolicy | None = None
    loud: Mapping[str, int] = field(default_factory=dict)
    _members: Members = field(init=False)
    _run: bytes = field(init=False)

    def __post_init__(self) -> None:
        with_directory = self.plan.aggregation.adversary is not Adversary.HONEST_BUT_CURIOUS
        self._members = Members.enrol(
            self.names, with_directory=with_directory, folder=None, rng=self.rng.child("members")
        )
        self._run = self.rng.child("run").bytes(16)
        self.policy = self.policy or accepting(self.plan)

    @classmethod
    def of(
        cls, plan: Plan, clients: int, *, rng: Rng, silent: int = 0, prefix: str = "client"
    ) -> Federation:
        """So many clients, of whom the last `silent` are corrupt."""
        names = tuple(f"{prefix}-{i:03d}" for i in range(1, clients + 1))
        return cls(plan, names, rng, frozenset(names[clients - silent :]))

    def round(
        self,
        number: int,
        trainer: Trainer,
        *,
        broadcast: bytes,
        length: int,
        channel: Channel | None = None,
        asked: Collection[str] | None = None,
    ) -> Attempt:
        """One attempt at a round over everyone, or over those of the cohort who are asked."""
        cohort = Cohort.of(self.names, rng=self.rng.child(f"cohort/{number}"))
        plan = RoundPlan.freeze(
            self.plan,
            cohort,
            run_id=self._run,
            number=number,
            attempt=1,
            broadcast=broadcast,
            length=length,
            directory=self._members.directory,
            rng=self.rng.child(f"nonce/{number}"),
        )
        rng, transcript = self.rng.child(f"server/{number}"), Transcript()
        server = RoundServer(plan, cohort, self._members.directory, broadcast, rng=rng)
        drive = InProcess(
            server,
            {name: self._client(name, number) for name in self.names},
            lambda name, client: self._update(name, client, trainer, length),
            transcript=transcript,
            channel=channel or _faithful,
        )
        outcome = drive.run(self.names if asked is None else asked)
        total = outcome.aggregate.sum if outcome.aggregate else None
        return Attempt(RoundView.of_server(transcript, outcome.survivors, total), outcome)

    def close(self) -> None:
        """Let go of the clients' stores."""
        self._members.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self, name: str, number: int) -> RoundClient:
        kind = _SilentClient if name in self.silent else RoundClient
        kind = _LoudClient if name in self.loud else kind
        policy = self.policy or accepting(self.plan)
        identity, store = self._members.identities[name], self._members.store(name)
        made = kind(policy, identity, store, rng=self.rng.child(f"client/{name}/{number}"))
        if isinstance(made, _LoudClient):
            made.factor = self.loud[name]
        return made

    def _update(self, name: str, client: RoundClient, trainer: Trainer, length: int) -> Update:
        if name in self.silent:
            # No unit at all, or a vector of zeros.
            return Update(np.zeros((0, length) if self.plan.protects_units else length))
        found = trainer(name, client.broadcast)
        # One vector where a row a unit is asked for is one unit's.
        return Update(found[None] if self.plan.protects_units and found.ndim == 1 else found)


class _SilentClient(RoundClient):
    """A corrupt client: it follows the protocol, and adds no noise."""

    def _contribute(self, party: ClientParty, plan: RoundPlan, update: Update) -> Iterator[Effect]:
        whole = plan.pipeline
        kept = [
            (stage, spec)
            for stage, spec in zip(whole.stages, whole.specs, strict=False)
            if not isinstance(stage, Skellam | DiscreteGaussian)
        ]
        stages = tuple(stage for stage, _ in kept)
        specs = (*(spec for _, spec in kept), whole.specs[-1])
        quiet = dataclasses.replace(whole, stages=stages, specs=specs)
        vector = quiet.encode(update, rng=self._rng.child("encoding"))
        yield from self._carry_out(party.contribute(vector))


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A vector's integers so many times."""

    inner: Source
    factor: int

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.asarray(self.inner[part]) * self.factor
        return found


class _LoudClient(RoundClient):
    """A corrupt client: it follows the protocol, and scales what it puts into it."""

    factor = 1

    def _contribute(self, party: ClientParty, plan: RoundPlan, update: Update) -> Iterator[Effect]:
        vector = plan.pipeline.encode(update, rng=self._rng.child("encoding"))
        yield from self._carry_out(party.contribute(_Scaled(vector, self.factor)))


def _faithful(delivery: Delivery) -> Iterable[Delivery]:
    return (delivery,)


@dataclass(frozen=True, slots=True)
class Losing:
    """A channel on which these clients' inputs do not arrive; nor is anything sent to them after.

    A server that leaves somebody out looks like this, and so does an honest one that loses them.
    """

    names: frozenset[str]

    def __call__(self, delivery: Delivery) -> Iterable[Delivery]:
        late = delivery.phase not in {"keys", "shares"} and delivery.sender != SERVER
        return () if delivery.client in self.names and late else (delivery,)


@dataclass(frozen=True, slots=True)
class SwappedBroadcast:
    """A server that sends another broadcast than its plan names to these clients."""

    names: frozenset[str]
    broadcast: bytes = field(repr=False)

    def __call__(self, delivery: Delivery) -> Iterable[Delivery]:
        if delivery.sender != SERVER or delivery.recipient not in self.names:
            return (delivery,)
        try:
            found = decode(Invitation, delivery.message, limit=INVITATION_LIMIT)
        except PeerError:
            return (delivery,)
        swapped = Invitation(
            found.round_plan, found.membership, found.directory, self.broadcast, found.ledger
        )
        return (dataclasses.replace(delivery, message=encode(swapped)),)
