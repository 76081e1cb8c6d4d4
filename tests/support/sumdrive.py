"""Drives the parties of one sum, sans-io.

`SETTINGS` lists every protocol with every adversary it is made for; a test that takes a `Setting`
runs under each. What must come out, `oracle` says.
"""

import dataclasses
import functools
from dataclasses import dataclass, field

import numpy as np

from ceremonies import ceremony, worker
from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    PROTOCOLS,
    SERVER,
    SHARED_KEYS,
    Aborted,
    Adversary,
    Cohort,
    Done,
    Persist,
    Send,
    SumPlan,
)


@dataclass(frozen=True)
class Setting:
    """A protocol against an adversary, and the phases in which each client owes one message."""

    protocol: str
    adversary: Adversary
    phases: tuple[str, ...]

    def __str__(self):
        return f"{self.protocol}-{self.adversary.value}"

    @property
    def party(self):
        return PROTOCOLS[self.protocol]

    @property
    def masks(self):
        return self.party.rand_bytes > 0

    @property
    def sparse(self):
        return self.party.sparse

    @property
    def shares_a_key(self):
        return self.protocol in SHARED_KEYS


MALICIOUS = Setting(
    "secagg", Adversary.MALICIOUS, ("keys", "shares", "input", "consistency", "unmasking")
)
CURIOUS = Setting("secagg", Adversary.HONEST_BUT_CURIOUS, ("keys", "shares", "input", "unmasking"))
PLAIN = Setting("plain", Adversary.HONEST_BUT_CURIOUS, ("input",))
PLUS_SEMI = Setting("secagg+", Adversary.SEMI_MALICIOUS, MALICIOUS.phases)
PLUS_CURIOUS = Setting("secagg+", Adversary.HONEST_BUT_CURIOUS, CURIOUS.phases)
SPARSE = [PLUS_SEMI, PLUS_CURIOUS]
SETTINGS = [MALICIOUS, CURIOUS, PLAIN, *SPARSE]
ONE_SHOT = Setting(
    "oneshot", Adversary.MALICIOUS, ("keys", "input", "opening", "consistency", "unmasking")
)
"""Its third role is driven by `oneshotdrive`, and by rounds like any protocol's."""
WITH_COMMITTEES = [*SETTINGS, ONE_SHOT]
BFV = Setting("bfv", Adversary.HONEST_BUT_CURIOUS, ("input", "decryption"))
CKKS = Setting("ckks", Adversary.HONEST_BUT_CURIOUS, BFV.phases)
SHARING = [BFV, CKKS]
"""Clients share a key, of a ceremony that is held only once."""
MASKED = [setting for setting in SETTINGS if setting.masks]


# ---------------------------------------------------------------------- the parties


@functools.cache
def enrolled(clients):
    """Identities of so many clients, and the directory that names them."""
    rng = InsecureTestRng(b"enrolled")
    names = [f"c{i:03}" for i in range(clients)]
    identities = {name: Identity.new(name, rng=rng) for name in names}
    authority = SigningKey.from_seed(rng.bytes(32))
    keys = [(name, identity.key.public) for name, identity in identities.items()]
    return identities, Directory.sign(1, keys, authority)


def shared_key(protocol):
    """What a client is made with beside all else, where clients share a key."""
    return {"key": ceremony(protocol)} if protocol in SHARED_KEYS else {}


def shared_part(protocol):
    """The same of a server."""
    if protocol not in SHARED_KEYS:
        return {}
    return {"admission": ceremony(protocol).server_part, "pool": worker()}


@dataclass
class Outcome:
    """How a run ended, and who was refused on the way."""

    done: Done | None = None
    error: Exception | None = None
    phase: str = ""
    """Where it ended."""
    refused: dict[str, list[Reason]] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    asked: dict[str, list[bytes]] = field(default_factory=dict)
    """What the server sent, by client."""


@dataclass
class Sum:
    """One sum: its plan, its server, its clients and their vectors."""

    setting: Setting
    clients: int = 4
    threshold: int = None
    """By default a majority; on a ring, of others around a client, the least that is safe."""
    length: int = 3
    bits: int = 14
    min_clients: int = 2
    corrupt: int = 0
    seed: object = 1
    round_id: bytes = b"r" * 32
    floor: int = 2
    vectors: dict = None
    degree: int = None
    dropped: int = None

    def __post_init__(self):
        self._choose()
        self.identities, directory = enrolled(self.clients)
        self.names = tuple(self.identities)
        self.directory = None
        if self.setting.adversary is not Adversary.HONEST_BUT_CURIOUS:
            self.directory = directory
        rng = InsecureTestRng(repr(self.seed).encode())
        most = ((1 << (self.bits - 1)) - 1) // self.clients
        self.cohort = Cohort.of(self.names, rng=rng.child("cohort"))
        self.plan = SumPlan(
            round_id=self.round_id,
            broadcast=b"b" * 32,
            suite=Suite(1),
            adversary=self.setting.adversary,
            cohort_size=self.clients,
            cohort_root=self.cohort.root,
            threshold=self.threshold,
            degree=self.degree,
            dropped=self.dropped,
            corrupt=self.corrupt,
            min_clients=self.min_clients,
            length=self.length,
            modulus_bits=self.bits,
            client_bound=most if self.setting.shares_a_key else 0,
        )
        self.rand = {n: rng.child(n).bytes(self.setting.party.rand_bytes) for n in self.names}
        if self.vectors is None:
            draw = np.random.default_rng(list(repr(self.seed).encode()))
            self.vectors = {
                n: draw.integers(-most, most, self.length, endpoint=True) for n in self.names
            }
        self.server = self.setting.party.server(
            self.plan,
            self.cohort,
            self.directory,
            rng=self.graph_rng(),
            **shared_part(self.setting.protocol),
        )
        self.parties = {n: self.client(n) for n in self.names}

    def _choose(self):
        """On a ring four neighbours, who are everybody up to five; losses for which it is made."""
        if self.setting.shares_a_key:
            # One answer is a sum.
            self.threshold = 1
        if not self.setting.sparse:
            self.threshold = self.threshold or self.clients // 2 + 1
            self.degree = self.dropped = 0
            return
        curious = self.setting.adversary is Adversary.HONEST_BUT_CURIOUS
        self.degree = self.degree or 4
        if self.threshold is None:
            met = min(self.degree, self.clients - 1)
            least = self.corrupt + 1 if curious else (met + self.corrupt) // 2 + 1
            self.threshold = max(least, 2)
        if self.dropped is None:
            self.dropped = min(2 if curious else 1, self.clients - 1 - self.threshold)

    def graph_rng(self):
        """What the server draws its graph from."""
        return InsecureTestRng(repr(self.seed).encode()).child("graph")

    def client(self, name):
        """A fresh client with this name's randomness."""
        return self.setting.party.client(
            self.plan,
            self.cohort.memberships()[self.names.index(name)],
            identity=self.identities[name],
            directory=self.directory,
            floor=self.floor,
            rand=self.rand[name],
            **shared_key(self.setting.protocol),
        )

    def resumed(self, name, state):
        """A client of this name that goes on where another was suspended."""
        return self.setting.party.resume(
            state,
            self.plan,
            self.cohort.memberships()[self.names.index(name)],
            identity=self.identities[name],
            directory=self.directory,
            floor=self.floor,
            **shared_key(self.setting.protocol),
        )

    def start(self, name):
        """What a client says first, its vector being ready."""
        party = self.parties[name]
        if self.setting.masks:
            return [*party.contribute(self.vectors[name]), *party.start()]
        return [*party.start(), *party.contribute(self.vectors[name])]

    def exact(self, survivors):
        """The integer sum of these clients' vectors."""
        return sum(self.vectors[name].astype(object) for name in survivors)


def refusal(receive, sender, message):
    """The `PeerError` that a message raised, or None."""
    try:
        list(receive(sender, message))
    except PeerError as error:
        return error
    return None


def messages(effects):
    return [effect for effect in effects if isinstance(effect, Send)]


@dataclass
class Drive:
    """Runs a sum to its end; the hooks see what passes and may change it.

    `sent` is how many messages a client sends, an upload counting as one; `partial` how many chunks
    of an upload that it does not finish leave it all the same. `order` puts the messages of a
    phase, a list for each sender, in the order in which they arrive.
    `tamper(sender, phase, bodies)` gives the bytes that arrive in place of those sent.
    """

    sum: Sum
    sent: dict = field(default_factory=dict)
    partial: dict = field(default_factory=dict)
    order: object = None
    tamper: object = None
    after_receive: object = None

    def __post_init__(self):
        self.outcome = Outcome()
        self._count = dict.fromkeys(self.sum.names, 0)

    def run(self):
        said = {name: self.sum.start(name) for name in self.sum.names}
        while True:
            phase = self.sum.server.phase
            self._arrive(phase, {name: self._leaving(name, e) for name, e in said.items()})
            effects = list(self.sum.server.advance())
            for effect in effects:
                if isinstance(effect, Done):
                    total = np.asarray(effect.total)
                    self.outcome.done = dataclasses.replace(effect, total=total)
                elif isinstance(effect, Aborted):
                    self.outcome.error = effect.error
                else:
                    continue
                self.outcome.phase = phase
                return self.outcome
            said = {}
            for effect in messages(effects):
                self.outcome.asked.setdefault(effect.recipient, []).append(effect.message)
                if self._count[effect.recipient] < self.sent.get(effect.recipient, 99):
                    answer = self._answer(effect.recipient, effect.message)
                    said[effect.recipient] = [*said.get(effect.recipient, ()), *answer]

    def _answer(self, name, message):
        effects = []
        try:
            for effect in self.sum.parties[name].receive(SERVER, message):
                effects.append(effect)  # noqa: PERF402 - what came before an error stays
        except PeerError as error:
            self.outcome.failed.setdefault(name, error)
        return effects

    def _leaving(self, name, effects):
        """The messages that get out before the client dies."""
        bodies = [send.message for send in messages(effects)]
        if not bodies:
            return []
        self._count[name] += 1
        if self._count[name] <= self.sent.get(name, 99):
            return bodies
        return bodies[:-1][: self.partial.get(name, 0)]

    def _arrive(self, phase, said):
        if self.tamper is not None:
            said = {name: self.tamper(name, phase, bodies) for name, bodies in said.items()}
        pairs = [(name, body) for name, bodies in said.items() for body in bodies]
        for name, body in self.order(said) if self.order else pairs:
            if (error := refusal(self.sum.server.receive, name, body)) is not None:
                assert error.culprits == (name,)
                self.outcome.refused.setdefault(name, []).append(error.reason)
            if self.after_receive is not None:
                self.after_receive(name, phase)


def marks(effects):
    return [effect for effect in effects if isinstance(effect, Persist)]
