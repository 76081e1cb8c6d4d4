"""The server's side of one attempt at one round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from fedprivacy.crypto import Directory
from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.ledger import SignedHead
from fedprivacy.randomness import Rng
from fedprivacy.rounds.admission import check_server_apart
from fedprivacy.rounds.messages import (
    ENVELOPE_LIMIT,
    Envelope,
    Invitation,
    MemberEnvelope,
    MemberRefusal,
    Refusal,
    Settled,
    Summons,
    reason_of,
)
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import (
    COMMITTEES,
    PROTOCOLS,
    SHARED_KEYS,
    Aborted,
    Admission,
    Cohort,
    CommitteeServerParty,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    SendToMember,
    ServerParty,
    Source,
)
from fedprivacy.vector import Aggregate
from fedprivacy.wire import decode, encode

__all__ = ["RoundServer"]

_Heard = Envelope | Refusal | MemberEnvelope | MemberRefusal

_ANSWERED = frozenset({"consistency", "unmasking", "decryption"})
"""The phases that clients answer once a round."""


class RoundServer:
    """One attempt at one round, over a committed cohort.

    `invite` says whom to ask: all of the cohort, or, at a later attempt, those whom nothing
    excludes, and likewise of the `committee`, where the protocol has one. `receive` raises
    `PeerError` with the culprit, who is then out of the attempt; a message of another attempt has
    none. `rng` draws the graph of neighbours, where there is one, and the noise, where the server
    is trusted with it. `ledger` is the head that the plan names. Processes of a `pool`, whose owner
    ends it, share the work of unmasking. `admission` is the server's part of a key ceremony, for a
    protocol whose clients share a key; native code then reads what they send in the pool's process.
    """

    def __init__(
        self,
        round_plan: RoundPlan,
        cohort: Cohort,
        directory: Directory | None,
        broadcast: bytes,
        *,
        rng: Rng,
        ledger: SignedHead | None = None,
        pool: Executor | None = None,
        committee: Cohort | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._plan = round_plan
        self._round_id = round_plan.round_id
        self._cohort = cohort
        self._members = frozenset(cohort.members)
        self._directory = encode(directory) if directory else b""
        self._broadcast = broadcast
        self._ledger = encode(ledger) if ledger else b""
        self._committee = committee
        self._holders = frozenset(committee.members if committee else ())
        self._opener: CommitteeServerParty | None = None
        self._party = self._made(directory, rng, pool, admission)
        self._check_apart(directory, ledger)
        self._rng = rng
        self._refused: dict[str, Reason] = {}
        self._members_refused: dict[str, Reason] = {}
        self._heard: set[str] = set()
        self._asked = False
        self._unmasking = False
        self._aggregate: Aggregate | None = None
        self._last = 0
        self._next_clip = round_plan.clip

    def _made(
        self,
        directory: Directory | None,
        rng: Rng,
        pool: Executor | None,
        admission: Admission | None,
    ) -> ServerParty:
        name, agreed = self._plan.plan.aggregation.protocol, self._plan.sum_plan()
        if (shared := SHARED_KEYS.get(name)) is not None:
            return shared.server(
                agreed, self._cohort, directory, rng=rng, pool=pool, admission=admission
            )
        if (protocol := COMMITTEES.get(name)) is None:
            return PROTOCOLS[name].server(agreed, self._cohort, directory, rng=rng, pool=pool)
        self._opener = protocol.server(
            agreed, self._cohort, directory, rng=rng, pool=pool, committee=self._committee
        )
        return self._opener

    def _check_apart(self, directory: Directory | None, ledger: SignedHead | None) -> None:
        try:
            check_server_apart(self._plan, directory, ledger)
        except PeerError as error:
            raise ConfigurationError(
                f"{error.detail}: sign the ledger's heads with a key that the directory has not"
            ) from None

    @property
    def plan(self) -> Plan:
        """What everyone agreed on before the run."""
        return self._plan.plan

    @property
    def phase(self) -> str:
        return self._party.phase

    @property
    def waiting_for(self) -> frozenset[str]:
        """Who may still answer in this phase; when empty, there is no use in waiting."""
        return self._party.waiting_for

    @property
    def refused(self) -> dict[str, Reason]:
        """Who declined this attempt, and why; one that is a client and a member, as a client."""
        return self._members_refused | self._refused

    @property
    def answers_requested(self) -> bool:
        """Whether anyone was asked to sign or to unmask: a later attempt would be declined."""
        return self._asked

    @property
    def unmasking_requested(self) -> bool:
        """Whether anything was asked of clients from which a sum could be revealed."""
        return self._unmasking

    @property
    def aggregate(self) -> Aggregate | None:
        """The decoded sum, once the attempt has ended well."""
        return self._aggregate

    @property
    def next_clip(self) -> float:
        """The norm to clip to in the next round: this one's, unless a sum has moved it."""
        return self._next_clip

    def invite(self, members: Iterable[str]) -> Iterator[Send]:
        """Ask these of the cohort and of the committee; the others are out of this attempt."""
        asked = set(members)
        for place in self._committee.memberships() if self._committee else ():
            if place.client_id in asked:
                summons = Summons(self._plan, place, self._directory, self._ledger)
                yield SendToMember(place.client_id, encode(summons))
            elif self._opener:
                self._opener.exclude_member(place.client_id)
        for place in self._cohort.memberships():
            if place.client_id not in asked:
                self._party.exclude(place.client_id)
                continue
            invitation = Invitation(
                self._plan, place, self._directory, self._broadcast, self._ledger
            )
            yield Send(place.client_id, encode(invitation))

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message of a client or a member; raises `PeerError` and nothing else."""
        try:
            body = self._read(sender, message)
        except PeerError as error:
            if error.reason is Reason.WRONG_ROUND:
                raise
            self.exclude(sender)
            raise error.blame(sender) from None
        if isinstance(body, Envelope | MemberEnvelope):
            yield from self._carry_out(self._party.receive(sender, body.body))
            self._heard.add(sender)
        elif self.phase != "done" and isinstance(body, Refusal):
            self._refused.setdefault(sender, reason_of(body))
            self._party.exclude(sender)
        elif self.phase != "done" and self._opener:
            self._members_refused.setdefault(sender, reason_of(body))
            self._opener.exclude_member(sender)

    def _read(self, sender: str, message: bytes) -> _Heard:
        body: _Heard = decode(_Heard, message, limit=ENVELOPE_LIMIT)
        as_member = isinstance(body, MemberEnvelope | MemberRefusal)
        is_of = sender in (self._holders if as_member else self._members)
        if body.round_id != self._round_id and not (is_of and _declined_unread(body)):
            # Perhaps only late: from another attempt, in which the sender was what it is not in
            # this one. Nobody is to blame.
            raise PeerError(Reason.WRONG_ROUND, f"{sender} speaks of another attempt")
        if not is_of:
            role = "committee" if as_member else "cohort"
            raise PeerError(Reason.UNKNOWN_SENDER, f"not of the committed {role}")
        return body

    def advance(self) -> Iterator[Effect]:
        """The deadline of the present phase has passed."""
        yield from self._carry_out(self._party.advance())

    def settled(self, ledger: SignedHead) -> Iterator[Send]:
        """Give everyone who took part, and did not decline, a receipt.

        `ledger` is the head that was signed after this attempt was settled. Nobody answers.
        """
        receipt = encode(Settled(self._round_id, encode(ledger)))
        for name in self._cohort.members:
            if name in self._heard and name not in self._refused:
                yield Send(name, receipt)

    def exclude(self, client_id: str) -> None:
        """Expect nothing more from this client, nor from it as a member: its channel is gone."""
        self._party.exclude(client_id)
        if self._opener:
            self._opener.exclude_member(client_id)

    def _carry_out(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        for effect in effects:
            match effect:
                case SendChunk(recipient, body):
                    yield SendChunk(recipient, encode(Envelope(self._round_id, body)))
                case SendToMember(recipient, body):
                    self._asked = self._asked or self.phase in _ANSWERED
                    yield SendToMember(recipient, encode(MemberEnvelope(self._round_id, body)))
                case Send(recipient, body):
                    self._asked = self._asked or self.phase in _ANSWERED
                    yield Send(recipient, encode(Envelope(self._round_id, body)))
                case Persist(mark=Mark.UNMASKING):
                    self._unmasking = True
                    yield effect
                case Done(total=total) if total is not None:
                    yield self._decoded(effect, total)
                case _:
                    yield effect

    def _decoded(self, done: Done, total: Source) -> Done | Aborted:
        plan, pipeline = self._plan.plan, self._plan.pipeline
        added = None
        if plan.noise.trust is Trust.SERVER:
            noise = plan.noise_stage(self._plan.cohort_size)
            added = noise.added(pipeline.specs[-1], rng=self._rng.child("noise"))

        def seen(values: NDArray[np.int64]) -> NDArray[np.int64]:
            values = values if added is None else added(values)
            self._last = int(values[-1])
            return values

        try:
            aggregate = pipeline.decode(total, clients=len(done.survivors), added=seen)
        except PeerError as error:
            return Aborted(RoundAborted(error.reason, error.detail))
        if plan.adaptive.quantile:
            self._next_clip = plan.next_clip(pipeline, self._last)
        self._aggregate = dataclasses.replace(
            aggregate, weight=plan.update.public_weight or aggregate.weight
        )
        # The sum without the server's own noise goes no further than here.
        return done if added is None else dataclasses.replace(done, total=None)

    def __repr__(self) -> str:
        return f"RoundServer(round {self._plan.round}, attempt {self._plan.attempt}, {self.phase})"


def _declined_unread(body: _Heard) -> bool:
    """A refusal by a client that could not even read the plan names no attempt."""
    return isinstance(body, Refusal | MemberRefusal) and not any(body.round_id)
