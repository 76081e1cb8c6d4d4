"""One sum under a shared key, driven to its end; keys of ceremonies that are held only once."""

import functools
from dataclasses import replace

import numpy as np

from fedprivacy.arithmetic import modulus_bits
from fedprivacy.crypto import Identity, Suite
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import SERVER, SHARED_KEYS, Adversary, Cohort, Done, Send, SumPlan
from fedprivacy.secagg.homomorphic import WorkerProcess

RNG = InsecureTestRng(b"ceremonies")


@functools.cache
def ceremony(protocol="bfv", number=0):
    return SHARED_KEYS[protocol].ceremony(rng=RNG.child(f"{protocol}/{number}"))


@functools.cache
def worker():
    """One process for all tests: it ends with theirs."""
    return WorkerProcess()


class Shared:
    """One sum: plan, server, clients and vectors."""

    def __init__(self, protocol="bfv", clients=4, *, length=3, bound=1000, seed=1, **fields):
        self.party, self.key = SHARED_KEYS[protocol], ceremony(protocol)
        self.names = tuple(f"c{i:03}" for i in range(clients))
        self.cohort = Cohort.of(self.names, rng=InsecureTestRng(b"cohort"))
        self.floor = 2
        plan = SumPlan(
            round_id=b"r" * 32,
            broadcast=b"b" * 32,
            suite=Suite(1),
            adversary=Adversary.HONEST_BUT_CURIOUS,
            cohort_size=clients,
            cohort_root=self.cohort.root,
            threshold=1,
            corrupt=0,
            min_clients=2,
            length=length,
            modulus_bits=modulus_bits(clients * bound),
            client_bound=bound,
        )
        self.plan = replace(plan, **fields)
        draw = np.random.default_rng(seed)
        self.vectors = {n: draw.integers(-bound, bound, length, endpoint=True) for n in self.names}
        self.server = self.make_server()
        self.clients = {n: self.make_client(n) for n in self.names}

    def make_server(self, plan=None):
        return self.party.server(
            plan or self.plan,
            self.cohort,
            None,
            rng=RNG,
            pool=worker(),
            admission=self.key.server_part,
        )

    def _mine(self, name, key):
        identity = Identity.new(name, rng=RNG)
        return {"identity": identity, "directory": None, "floor": self.floor, "key": key}

    def place(self, name):
        return self.cohort.memberships()[self.names.index(name)]

    def make_client(self, name, key=None, plan=None):
        mine = self._mine(name, key or self.key)
        return self.party.client(plan or self.plan, self.place(name), **mine, rand=b"")

    def resumed(self, name, state):
        return self.party.resume(state, self.plan, self.place(name), **self._mine(name, self.key))

    def inputs(self, name, client=None):
        client = client or self.clients[name]
        return sent(client.contribute(self.vectors[name]))

    def give(self, *names):
        """These clients' inputs reach the server."""
        for name in names or self.names:
            for message in self.inputs(name):
                list(self.server.receive(name, message))

    def asked(self):
        """What the server sends each survivor once the input is closed."""
        told = {}
        for effect in self.server.advance():
            if isinstance(effect, Send):
                told.setdefault(effect.recipient, []).append(effect.message)
        return told

    def answers(self, name, messages):
        return [m for told in messages for m in sent(self.clients[name].receive(SERVER, told))]

    def finish(self, told, *, without=()):
        """Survivors answer, but for some; how it ended."""
        for name, messages in told.items():
            if name not in without:
                for message in self.answers(name, messages):
                    list(self.server.receive(name, message))
        (end,) = self.server.advance()
        return end

    def run(self):
        self.give()
        return self.finish(self.asked())

    def exact(self, survivors):
        return sum(self.vectors[name] for name in survivors)


def sent(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


def is_sum(case, end):
    return isinstance(end, Done) and np.array_equal(end.total[:], case.exact(end.survivors))


class _Kept:
    """The tests' own worker, which no run ends."""

    def submit(self, *work):
        return worker().submit(*work)

    def shutdown(self): ...


def keep(monkeypatch, runs):
    """Runs of this module hold no ceremony of their own, and start no process."""
    for name in ("bfv", "ckks"):
        key = ceremony(name)
        monkeypatch.setattr(SHARED_KEYS[name], "ceremony", lambda rng, key=key: key, raising=False)
    monkeypatch.setattr(runs, "WorkerProcess", _Kept)
