"""A round of one-shot aggregation up to the moment when its clients are to send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedprivacy.arithmetic import modulus_bits
from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import SERVER, Adversary, Cohort, CommitteePlan, Send, SumPlan
from fedprivacy.secagg.oneshot import OneShot, choose_parameters

__all__ = ["CLIENTS", "LENGTH", "MEMBERS", "THRESHOLD", "Quantised", "Round"]

LENGTH, CLIENTS, MEMBERS, THRESHOLD = 1_000_000, 100, 10, 7
CLIP = 1.0


@dataclass(frozen=True)
class Quantised:
    """A float32 vector, read as the integers that are summed."""

    vector: np.ndarray
    bound: int

    def __len__(self):
        return len(self.vector)

    def __getitem__(self, part):
        scaled = np.clip(self.vector[part], -CLIP, CLIP) * np.float32(self.bound / CLIP)
        return np.rint(scaled, out=scaled).astype(np.int64)


class Round:
    """A round up to the moment when its clients are to send."""

    def __init__(self, bits, length=LENGTH):
        self.length = length
        self.bound = (1 << (bits - 1)) - 1
        rng = InsecureTestRng(bits)
        names = [f"c{i:03}" for i in range(CLIENTS)]
        committee = [f"m{i:02}" for i in range(MEMBERS)]
        self.identities = {n: Identity.new(n, rng=rng) for n in (*names, *committee)}
        keys = [(n, identity.key.public) for n, identity in self.identities.items()]
        self.directory = Directory.sign(1, keys, SigningKey.from_seed(rng.bytes(32)))
        self.cohort = Cohort.of(names, rng=rng)
        self.committee = Cohort.of(committee, rng=rng)
        self.rng = rng
        self.plan = SumPlan(
            round_id=bytes(32),
            broadcast=bytes(32),
            suite=Suite(1),
            adversary=Adversary.MALICIOUS,
            cohort_size=CLIENTS,
            cohort_root=self.cohort.root,
            threshold=1,
            corrupt=0,
            min_clients=2,
            length=length,
            modulus_bits=modulus_bits(CLIENTS * self.bound),
            client_bound=self.bound,
            committee=CommitteePlan(self.committee.root, MEMBERS, THRESHOLD, 3),
        )
        self.parameters = choose_parameters(CLIENTS, self.bound, length)
        self.members = [self._member(place) for place in self.committee.memberships()]
        self.server, self.roster = self.begin()

    def _member(self, place):
        return OneShot.member(
            self.plan,
            place,
            identity=self.identities[place.client_id],
            directory=self.directory,
            floor=2,
            rand=self.rng.bytes(OneShot.member_rand_bytes),
        )

    def begin(self):
        """The server after the phase keys, and what it shows to the clients."""
        server = OneShot.server(
            self.plan, self.cohort, self.directory, rng=self.rng, committee=self.committee
        )
        for name, member in zip(self.committee.members, self.members, strict=True):
            for effect in member.start():
                list(server.receive(name, effect.message))
        roster = next(e.message for e in server.advance() if isinstance(e, Send))
        for member in self.members:
            list(member.receive(SERVER, roster))
        return server, roster

    def client(self, index, vector=None):
        """A fresh client with its vector, or with a random one."""
        if vector is None:
            draw = np.random.default_rng(index).uniform(-1, 1, self.length)
            vector = Quantised(draw.astype(np.float32), self.bound)
        place = self.cohort.memberships()[index]
        client = OneShot.client(
            self.plan,
            place,
            identity=self.identities[place.client_id],
            directory=self.directory,
            floor=2,
            rand=self.rng.bytes(OneShot.rand_bytes),
        )
        list(client.contribute(vector))
        return client

    def send(self, client):
        """Everything that a client sends."""
        return [e.message for e in client.receive(SERVER, self.roster) if isinstance(e, Send)]

    @property
    def sizes(self):
        p = self.parameters
        return {
            "length": self.length,
            "clients": CLIENTS,
            "committee": MEMBERS,
            "committee_threshold": THRESHOLD,
            "value_bound": self.bound,
            "degree": p.degree,
            "modulus_bits": p.bits,
            "values_per_coefficient": p.values.count,
            "threads": 1,
        }
