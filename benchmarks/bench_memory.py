"""What memory a party takes for vectors, measured in a process that holds it alone.

The other parties live in this process and speak to it over pipes; `memory.py` says what is read
from the kernel, and when. A server's memory for vectors is what it takes beyond the same round
over short ones: its control messages are the same.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import pytest
from memory import ADVANCE, CONTRIBUTE, END, RECEIVE, START, STATUS
from sums import Case, Parties, float32_vector

from fedprivacy.arithmetic import packed_size
from fedprivacy.secagg import SERVER, Send

CHILD = Path(__file__).parent / "memory.py"
ROUNDS = 3
SHORT = 64

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="reads /proc/self/status")


class Alone:
    """A party in a process of its own, which ends with the `with` block."""

    def __init__(self, case, name):
        command = [sys.executable, CHILD, msgspec.json.encode(case).decode(), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with self._process.stdin as to, self._process.stdout as back:
            self._to = Connection(os.dup(to.fileno()), readable=False)
            self._from = Connection(os.dup(back.fileno()), writable=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._to.close()
        self._from.close()
        if kind is not None:
            self._process.kill()
        assert self._process.wait() == 0 or kind is not None

    def ask(self, *frames):
        """What the party sends because of these frames, message by message."""
        for frame in frames:
            self._to.send_bytes(frame)
        while recipient := self._from.recv_bytes():
            yield recipient.decode(), self._from.recv_bytes()

    def end(self):
        """The party's idle and its highest resident size, in bytes."""
        self._to.send_bytes(END)
        sizes = msgspec.json.decode(self._from.recv_bytes())
        return sizes["idle"], sizes["peak"]


def messages(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


def in_turn(uploads):
    """One whole upload after the other."""
    return [(name, body) for name, bodies in uploads.items() for body in bodies]


def at_once(uploads):
    """The first chunk of everyone, then the second of everyone."""
    rows = zip(
        *([(name, body) for body in bodies] for name, bodies in uploads.items()), strict=True
    )
    return list(chain.from_iterable(rows))


class Here:
    """The parties in this process; the one called `name` is alone in the other."""

    def __init__(self, case, name, alone):
        self.parties = Parties(case)
        self.name, self.alone = name, alone
        self._server = None if name == SERVER else self.parties.server()
        self._clients = {n: self.parties.client(n) for n in case.names if n != name}

    def start(self, name):
        if name == self.name:
            return [body for _, body in self.alone.ask(START)]
        return messages(self._clients[name].start())

    def answer(self, name, message, phase):
        """What a client says to a message of the server; in phase input with its vector."""
        asked = [(RECEIVE, SERVER.encode(), message)]
        if name == self.name:
            asked += [(CONTRIBUTE,)] if phase == "input" else []
            return [body for frames in asked for _, body in self.alone.ask(*frames)]
        client = self._clients[name]
        answer = messages(client.receive(SERVER, message))
        if phase == "input":
            vector = float32_vector(self.parties.case, name)
            answer += messages(client.contribute(self.parties.encode(name, vector)))
        return answer

    def arrive(self, name, message):
        if self._server is None:
            assert not list(self.alone.ask(RECEIVE, name.encode(), message))
        else:
            assert not list(self._server.receive(name, message))

    def advance(self):
        if self._server is None:
            return list(self.alone.ask(ADVANCE))
        sent = [effect for effect in self._server.advance() if isinstance(effect, Send)]
        return [(effect.recipient, effect.message) for effect in sent]


def beyond_idle(case, name, order=in_turn):
    """What one party of a round takes at most beyond its idle process, in bytes."""
    with Alone(case, name) as alone:
        here = Here(case, name, alone)
        said = {n: here.start(n) for n in case.names}
        for phase in ("shares", "input", "unmasking"):
            said = step(here, said, phase, order)
            assert len(said) == case.clients, phase
        assert not step(here, said, "done", order)
        idle, peak = alone.end()
    return peak - idle


def step(here, said, phase, order):
    """What the clients say in this phase, once the server has what they said before."""
    for sender, body in order(said):
        here.arrive(sender, body)
    return {n: here.answer(n, body, phase) for n, body in here.advance()}


@pytest.mark.parametrize("clients", [4, 16])
@pytest.mark.parametrize("order", [in_turn, at_once])
def test_server(bench, order, clients):
    case = Case(
        clients=clients,
        shares=clients,
        threshold=clients // 2 + 1,
        length=4_000_000,
        value_bits=22,
    )
    sizes = case.sizes
    one_sum = packed_size(case.pipeline.total_length, sizes["modulus_bits"])
    pairs = []

    def once():
        short = dataclasses.replace(case, length=SHORT)
        vectors = beyond_idle(case, SERVER, order) - beyond_idle(short, SERVER, order)
        pairs.append((vectors, one_sum))

    bench.benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
    row = bench.row(
        f"server-memory-{order.__name__.replace('_', '-')}-{clients}",
        "server memory for vectors: highest resident size beyond that with short ones",
        against="one packed sum",
        quantity="bytes",
        pairs=pairs,
        sizes={**sizes, "short_length": SHORT},
    )
    bench.keep(row)


def test_client(bench):
    case = Case(clients=9, shares=9, threshold=5, length=10_000_000, value_bits=16)
    vector_bytes = case.length * np.dtype(np.float32).itemsize
    pairs = []

    def once():
        pairs.append((beyond_idle(case, case.names[0]), vector_bytes))

    bench.benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
    row = bench.row(
        "client-memory",
        "client memory: highest resident size beyond the idle process, the vector included",
        against="the float32 vector",
        quantity="bytes",
        pairs=pairs,
        sizes=case.sizes,
    )
    bench.keep(row)
