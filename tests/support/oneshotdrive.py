"""Drives the three roles of one-shot aggregation, sans-io."""

import dataclasses
import functools
import itertools
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from fedprivacy.arithmetic import modulus_bits
from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import FedPrivacyError, PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    SERVER,
    Aborted,
    Adversary,
    Cohort,
    CommitteePlan,
    Done,
    Persist,
    Send,
    SumPlan,
)
from fedprivacy.secagg.oneshot import OneShot
from fedprivacy.secagg.oneshot.messages import CommitteeRoster
from fedprivacy.wire import encode

PHASES = ("keys", "input", "opening", "consistency", "unmasking")


@functools.cache
def enrolled(clients, members):
    """Identities of so many clients and members, and the directory that names them."""
    rng = InsecureTestRng(b"one-shot")
    names = [f"c{i:03}" for i in range(clients)] + [f"m{i:02}" for i in range(members)]
    identities = {name: Identity.new(name, rng=rng) for name in names}
    authority = SigningKey.from_seed(rng.bytes(32))
    keys = [(name, identity.key.public) for name, identity in identities.items()]
    return identities, Directory.sign(1, keys, authority)


class Both:
    """A client that is a member: of the two rosters, the first is the member's."""

    def __init__(self, client, member):
        self.client, self.member = client, member
        self.rosters = 0
        self.contribute = client.contribute

    def start(self):
        return itertools.chain(self.member.start(), self.client.start())

    def receive(self, sender, message):
        self.rosters += message[1:].startswith(encode(CommitteeRoster(()))[1:-1])
        if self.rosters == 2:
            self.rosters += 1
            return self.client.receive(sender, message)
        return self.member.receive(sender, message)


@dataclass
class OneShotSum:
    """One sum: its plan, its server, its clients with their vectors, its committee."""

    clients: int = 4
    members: int = 5
    threshold: int = 3
    corrupt_members: int = 0
    length: int = 10
    bound: int = 100
    min_clients: int = 2
    floor: int = 2
    floors: dict = field(default_factory=dict)
    """Of single clients and members."""
    seed: object = 1
    round_id: bytes = b"r" * 32
    vectors: dict = None
    joint: bool = False
    """Whether the first clients are the committee."""

    def __post_init__(self):
        self.identities, self.directory = enrolled(self.clients, self.members)
        self.names = tuple(n for n in self.identities if n[0] == "c")
        self.committee_names = tuple(n for n in self.identities if n[0] == "m")
        if self.joint:
            self.committee_names = self.names[: self.members]
        rng = InsecureTestRng(repr(self.seed).encode())
        self.cohort = Cohort.of(self.names, rng=rng.child("cohort"))
        self.committee = Cohort.of(self.committee_names, rng=rng.child("committee"))
        self.rng = rng
        self.plan = SumPlan(
            round_id=self.round_id,
            broadcast=b"b" * 32,
            suite=Suite(1),
            adversary=Adversary.MALICIOUS,
            cohort_size=self.clients,
            cohort_root=self.cohort.root,
            threshold=1,
            corrupt=0,
            min_clients=self.min_clients,
            length=self.length,
            modulus_bits=modulus_bits(self.clients * self.bound),
            client_bound=self.bound,
            committee=CommitteePlan(
                self.committee.root, self.members, self.threshold, self.corrupt_members
            ),
        )
        if self.vectors is None:
            draw = np.random.default_rng(list(repr(self.seed).encode()))
            self.vectors = {
                n: draw.integers(-self.bound, self.bound, self.length, endpoint=True)
                for n in self.names
            }
        self.server = OneShot.server(
            self.plan, self.cohort, self.directory, rng=rng, committee=self.committee
        )
        self.parties = {n: self.client(n) for n in self.names}
        for name in self.committee_names:
            member = self.member(name)
            self.parties[name] = Both(self.parties[name], member) if self.joint else member

    def client(self, name, rand=None):
        """A fresh client with this name's randomness."""
        return OneShot.client(
            self.plan,
            self.cohort.memberships()[self.names.index(name)],
            identity=self.identities[name],
            directory=self.directory,
            floor=self.floors.get(name, self.floor),
            rand=rand or self.rng.child(name).bytes(OneShot.rand_bytes),
        )

    def member(self, name):
        return OneShot.member(
            self.plan,
            self.committee.memberships()[self.committee_names.index(name)],
            identity=self.identities[name],
            directory=self.directory,
            floor=self.floors.get(name, self.floor),
            rand=self.rng.child(f"{name} as member").bytes(OneShot.member_rand_bytes),
        )

    def exact(self, survivors):
        """The integer sum of these clients' vectors."""
        return sum(self.vectors[name].astype(object) for name in survivors)


@dataclass
class OneShotOutcome:
    """How a run ended, and who was refused on the way."""

    done: Done | None = None
    source: object = None
    """The sum as the server gave it; in `done` it is an array."""
    error: Exception | None = None
    phase: str = ""
    refused: dict[str, list[Reason]] = field(default_factory=dict)
    """By the server."""
    failed: dict[str, FedPrivacyError] = field(default_factory=dict)
    persisted: list = field(default_factory=list)
    sent: dict = field(default_factory=dict)
    """By sender and phase, what left it; the server's under its name."""


@dataclass
class OneShotDrive:
    """Runs a sum to its end; the hooks see what passes and may change it.

    `lost` are the phases from which on a party says nothing more; `partial` how many messages of an
    upload that it does not finish leave it all the same. `tamper(sender, phase, bodies)` gives what
    arrives at the server, `relay(recipient, phase, body)` the messages that arrive from it.
    `commit(name, effect)` stands for a party's store, and may raise.
    """

    sum: OneShotSum
    lost: dict = field(default_factory=dict)
    partial: dict = field(default_factory=dict)
    tamper: object = None
    relay: object = None
    order: object = None
    commit: object = None

    def __post_init__(self):
        self.outcome = OneShotOutcome()

    def run(self):
        said = {}
        for name, party in self.sum.parties.items():
            effects = list(party.start())
            if name in self.sum.names:
                effects += party.contribute(self.sum.vectors[name])
            said[name] = self._bodies(effects)
        while True:
            phase = self.sum.server.phase
            said = self._arrive(phase, said)
            if self.outcome.error is not None:
                self.outcome.phase = phase
                return self.outcome
            for effect in self.sum.server.advance():
                match effect:
                    case Done():
                        self.outcome.source = effect.total
                        total = np.asarray(effect.total)
                        self.outcome.done = dataclasses.replace(effect, total=total)
                    case Aborted():
                        self.outcome.error = effect.error
                    case Send():
                        self._deliver(effect, said)
                        continue
                    case _:
                        self.outcome.persisted.append((SERVER, effect))
                        continue
                self.outcome.phase = phase
                return self.outcome

    def _is_lost(self, name, phase):
        return name in self.lost and PHASES.index(phase) >= PHASES.index(self.lost[name])

    def _arrive(self, phase, said):
        """What the parties said reaches the server; what it says at once reaches them."""
        answers, arriving = {}, []
        for name, leaving in said.items():
            bodies = leaving
            if self._is_lost(name, phase):
                bodies = leaving[:-1][: self.partial.get(name, 0)]
            if bodies:
                self.outcome.sent[name, phase] = bodies
            tampered = bodies if self.tamper is None else self.tamper(name, phase, bodies)
            arriving += [(name, body) for body in tampered]
        queue = deque(self.order(arriving) if self.order else arriving)
        while queue and self.outcome.error is None:
            self._hear(*queue.popleft(), answers)
            # Members answer in the midst of a phase; what they say later, they say in the next one.
            if phase == "input":
                for member, bodies in answers.items():
                    self.outcome.sent.setdefault((member, phase), []).extend(bodies)
                    told = self.tamper(member, phase, bodies) if self.tamper else bodies
                    queue += [(member, body) for body in told]
                answers.clear()
        return answers

    def _hear(self, name, body, answers):
        try:
            for effect in self.sum.server.receive(name, body):
                if isinstance(effect, Send):
                    self._deliver(effect, answers)
                elif isinstance(effect, Aborted):
                    self.outcome.error = effect.error
        except PeerError as error:
            (culprit,) = error.culprits
            self.outcome.refused.setdefault(culprit, []).append(error.reason)

    def _deliver(self, send, said):
        name, phase = send.recipient, self.sum.server.phase
        self.outcome.sent.setdefault((SERVER, phase), []).append(send.message)
        # Who does not finish an upload is still there for its beginning.
        if self._is_lost(name, phase) and not self.partial.get(name):
            return
        bodies = [send.message] if self.relay is None else self.relay(name, phase, send.message)
        for body in bodies:
            try:
                for effect in self.sum.parties[name].receive(SERVER, body):
                    if isinstance(effect, Send):
                        said.setdefault(name, []).append(effect.message)
                    elif isinstance(effect, Persist):
                        if self.commit is not None:
                            self.commit(name, effect)
                        self.outcome.persisted.append((name, effect))
            except FedPrivacyError as error:
                self.outcome.failed.setdefault(name, error)

    @staticmethod
    def _bodies(effects):
        return [effect.message for effect in effects if isinstance(effect, Send)]
