"""One attempt at one round, frozen: what a client checks, signs for and derives all else from."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.arithmetic import MAX_BITS
from fedprivacy.crypto import Directory, Suite
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Rng
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.quorum import expected_losses, quorum_fault
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import (
    COMMITTEES,
    PROTOCOLS,
    SHARED_KEYS,
    Adversary,
    Cohort,
    CommitteePlan,
    SumPlan,
)
from fedprivacy.secagg.cohort import MAX_COHORT, Digest
from fedprivacy.vector import Pipeline
from fedprivacy.wire import DIGEST_BYTES, Record, digest, encode

__all__ = ["VERSION", "RoundPlan", "broadcast_digest"]

VERSION = 1
_NONE = bytes(DIGEST_BYTES)

_Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Number = Annotated[int, Meta(ge=1, lt=1 << 31)]


def broadcast_digest(broadcast: bytes) -> bytes:
    """The hash of everything that is sent to clients and can influence an update."""
    return digest("broadcast", broadcast)


class RoundPlan(Record, frozen=True):
    """One attempt at one round.

    The round's id hashes the canonical bytes, so that whatever two clients agree on under one id,
    they agree on all of it.
    """

    version: _Number
    plan: Plan
    run_id: _Bytes16
    round: _Number
    attempt: _Number
    nonce: _Bytes16
    cohort_size: Annotated[int, Meta(ge=1, le=MAX_COHORT)]
    cohort_root: Digest
    committee_root: Digest
    """Of the members' names, committed to like the cohort's; zero where there is no committee."""
    directory: Digest
    """Zero where identities play no part."""
    directory_epoch: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    broadcast: Digest
    ledger_head: Digest
    """Zero where no ledger is kept."""
    length: Annotated[int, Meta(ge=1, lt=1 << 40)]
    """Parameters in one update."""
    clip: float
    threshold: _Number
    degree: Annotated[int, Meta(ge=0, lt=MAX_COHORT)]
    """Zero: the complete graph."""
    modulus_bits: Annotated[int, Meta(ge=1, le=MAX_BITS)]

    @classmethod
    def freeze(
        cls,
        plan: Plan,
        cohort: Cohort,
        *,
        run_id: bytes,
        number: int,
        attempt: int,
        broadcast: bytes,
        length: int,
        directory: Directory | None,
        ledger_head: bytes = _NONE,
        clip: float | None = None,
        committee: Cohort | None = None,
        rng: Rng,
    ) -> RoundPlan:
        """The server's plan of one attempt; raises `ConfigurationError` for a cohort too small.

        `ledger_head` is the hash of the ledger's last row, with what this attempt reserves; `clip`
        is the norm in force, by default that of a run's first round; `committee` are the members,
        for a protocol that has any.
        """
        clip = plan.first_clip if clip is None else clip
        size, rules = len(cohort.members), plan.aggregation
        quorum = plan.quorum(size)
        if fault := quorum_fault(rules, size, quorum.threshold, quorum.degree):
            raise ConfigurationError(f"plan.aggregation: {fault}")
        if rules.adversary is not Adversary.HONEST_BUT_CURIOUS and directory is None:
            raise ConfigurationError(
                f"plan.aggregation.adversary = {rules.adversary.value} needs enrolled identities: "
                "sign a directory"
            )
        if rules.adversary is Adversary.HONEST_BUT_CURIOUS and directory is not None:
            raise ConfigurationError(
                f"directory of epoch {directory.epoch} where plan.aggregation.adversary = "
                f"{rules.adversary.value}, whose clients refuse one: leave it out"
            )
        _check_committee(plan, committee, directory)
        frozen = cls(
            version=VERSION,
            plan=plan,
            run_id=run_id,
            round=number,
            attempt=attempt,
            nonce=rng.bytes(16),
            cohort_size=size,
            cohort_root=cohort.root,
            committee_root=committee.root if committee else _NONE,
            directory=directory.digest() if directory else _NONE,
            directory_epoch=directory.epoch if directory else 0,
            broadcast=broadcast_digest(broadcast),
            ledger_head=ledger_head,
            length=length,
            clip=clip,
            threshold=quorum.threshold,
            degree=quorum.degree,
            modulus_bits=plan.pipeline(length, size, clip).modulus_bits(size),
        )
        if protocol := COMMITTEES.get(rules.protocol) or SHARED_KEYS.get(rules.protocol):
            protocol.check(frozen.sum_plan())
        return frozen

    @property
    def round_id(self) -> bytes:
        return digest("round", encode(self))

    @property
    def terms(self) -> bytes:
        """What all attempts at a round have in common: plan, committed cohort, committee.

        The quorum keeps two sums apart within one cohort only, or one committee: with another one
        at the second attempt, those who had not answered at the first could unmask nearly the same
        clients again.
        """
        size = self.cohort_size.to_bytes(4, "big")
        return digest("terms", self.plan.digest(), size, self.cohort_root, self.committee_root)

    @property
    def pipeline(self) -> Pipeline:
        return self.plan.pipeline(self.length, self.cohort_size, self.clip, self.round_id)

    def check(self) -> None:
        """What a client checks of a plan whoever it is; raises `PeerError`.

        `CODEPOINT`, `PLAN`, `ATTEMPTS`, `QUORUM`, `MODULUS`.
        """
        rules = self.plan.aggregation
        if self.version != VERSION:
            raise PeerError(Reason.CODEPOINT, f"version {self.version} where {VERSION} is spoken")
        if rules.protocol not in PROTOCOLS or rules.suite not in {s.label for s in Suite}:
            detail = f"protocol {rules.protocol} with suite {rules.suite} is not spoken"
            raise PeerError(Reason.CODEPOINT, detail)
        if fault := self.plan.fault():
            raise PeerError(Reason.PLAN, fault)
        if not 0.0 < self.clip <= self.plan.update.clip:
            detail = f"clip {self.clip} is outside (0, {self.plan.update.clip}]"
            raise PeerError(Reason.PLAN, detail)
        if (self.committee_root != _NONE) != (rules.protocol in COMMITTEES):
            raise PeerError(Reason.PLAN, "a committee that this protocol lacks, or none for it")
        if self.ledger_head != _NONE and self.plan.noise.trust is Trust.NONE:
            raise PeerError(Reason.PLAN, "a ledger where no noise is added and nothing is charged")
        if self.plan.noise.trust is not Trust.NONE and self.round > self.plan.noise.rounds:
            detail = f"round {self.round} where the noise is for {self.plan.noise.rounds}"
            raise PeerError(Reason.PLAN, detail)
        if self.attempt > rules.attempts:
            detail = f"attempt {self.attempt} where {rules.attempts} are allowed"
            raise PeerError(Reason.ATTEMPTS, detail)
        self._check_quorum()
        self._check_modulus()

    def _check_quorum(self) -> None:
        rules, size = self.plan.aggregation, self.cohort_size
        if fault := quorum_fault(rules, size, self.threshold, self.degree):
            raise PeerError(Reason.QUORUM, fault)
        try:
            quorum = self.plan.quorum(size)
        except ConfigurationError as error:
            raise PeerError(Reason.QUORUM, str(error)) from None
        if (self.threshold, self.degree) != (quorum.threshold, quorum.degree):
            # The guarantee was derived from the plan's: a lower one promises less.
            detail = f"threshold {self.threshold}, degree {self.degree}: the plan leads to others"
            raise PeerError(Reason.PLAN, detail)

    def _check_modulus(self) -> None:
        try:
            pipeline = self.plan.pipeline(self.length, self.cohort_size, self.clip)
            bits = pipeline.modulus_bits(self.cohort_size)
        except ConfigurationError as error:
            raise PeerError(Reason.PLAN, str(error)) from None
        if self.modulus_bits != bits:
            detail = f"modulus of {self.modulus_bits} bits where the bounds imply {bits}"
            raise PeerError(Reason.MODULUS, detail)
        name = self.plan.aggregation.protocol
        if protocol := COMMITTEES.get(name) or SHARED_KEYS.get(name):
            try:
                protocol.check(self.sum_plan())
            except ConfigurationError as error:
                raise PeerError(Reason.PLAN, str(error)) from None

    def sum_plan(self) -> SumPlan:
        """What the protocol beneath needs to know."""
        rules, pipeline = self.plan.aggregation, self.pipeline
        committee = None
        if rules.protocol in COMMITTEES:
            chosen = rules.committee
            committee = CommitteePlan(
                self.committee_root,
                chosen.count,
                self.threshold,
                chosen.corrupt,
                chosen.members,
            )
        return SumPlan(
            round_id=self.round_id,
            broadcast=self.broadcast,
            suite=self.plan.suite,
            adversary=rules.adversary,
            cohort_size=self.cohort_size,
            cohort_root=self.cohort_root,
            # With a committee no client unmasks: any one that is there is enough.
            threshold=1 if committee else self.threshold,
            degree=self.degree,
            dropped=expected_losses(rules, self.cohort_size),
            corrupt=rules.corrupt,
            min_clients=rules.min_clients,
            length=pipeline.total_length,
            modulus_bits=self.modulus_bits,
            client_bound=pipeline.client_bound,
            committee=committee,
        )


def _check_committee(plan: Plan, committee: Cohort | None, directory: Directory | None) -> None:
    rules, path = plan.aggregation, "plan.aggregation.committee"
    if rules.protocol not in COMMITTEES:
        if committee is not None:
            raise ConfigurationError(f"{path} has no use with {rules.protocol}: leave it out")
        return
    if committee is None or len(committee.members) != rules.committee.count:
        raise ConfigurationError(f"{path} has {rules.committee.count} members: commit to so many")
    if rules.committee.members and committee.members != rules.committee.members:
        raise ConfigurationError(f"{path}.members are others, or in another order: keep the plan's")
    for name in committee.members:
        if directory is None or directory.key_of(name) is None:
            raise ConfigurationError(f"{path}: {name} is not in the directory: enrol it")
