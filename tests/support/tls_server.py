"""A server in a process of its own, which kills itself at a line of its journal.

`python tls_server.py PROTOCOL FOLDER PORT ROUNDS LINE WHEN`: with WHEN `before` the line is not yet
written, with `after` it is, and nothing that follows from it has left; with `never` it lives.
"""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

from fedprivacy.crypto import SigningKey
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds.books import Books
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.transport.tls.hub import Hub
from fedprivacy.transport.tls.journal import Journal, Step
from fedprivacy.transport.tls.run import NetworkedRun
from rounddrive import RUN_ID, noisy_house
from tlsdrive import HOST, LIMITS, Certificates, Waits

CLIENTS = 5
# A busy machine must not look like clients that fall silent.
CALM = dataclasses.replace(LIMITS, handshake=60.0, heartbeat=5.0)
MEMBERS = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'


def consortium(protocol):
    """Five clients, and for one-shot aggregation four members besides, of whom three open a sum."""
    if protocol == "oneshot":
        return noisy_house(CLIENTS, protocol=protocol, committee=MEMBERS, value_bits=8)
    return noisy_house(CLIENTS, protocol=protocol)


class Toy:
    """A model of eight values that no round moves."""

    length = 8
    broadcast = b"weights"

    def __init__(self):
        self.steps = 0

    def step(self, aggregate, survivors, plan):
        self.steps += 1

    def idle(self):
        return None

    def summary(self, rounds):
        return None

    def save(self):
        return str(self.steps).encode()

    def restore(self, state):
        self.steps = int(state)


class Silent:
    def round_started(self, number, of): ...
    def phase_ended(self, number, attempt, meter): ...
    def round_ended(self, record): ...


class Deadly(Journal):
    """Ends the process, without a word, at one line."""

    __slots__ = ("line", "when")

    def write(self, step):
        event = f"{step.event}/{step.phase}" if step.event == "phase" else step.event
        hit = event == self.line
        if hit and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(step)
        if hit and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def serve(protocol, folder, port, rounds, line, when):
    parties = consortium(protocol)
    opened = Journal.open(folder)
    journal = Deadly(opened.path, opened.past, opened._file)
    journal.line, journal.when = line, when
    if not journal.past.run_id:
        Journal.write(journal, Step("run", run=RUN_ID.hex()))

    def begin(client, session):
        fresh = session.hex() not in journal.past.sessions
        if fresh:
            journal.write(Step("session", client=client, session=session.hex()))
        return fresh

    certificates = Certificates.__new__(Certificates)
    certificates.folder = folder / "certs"
    hub = Hub(
        certificates.of("server"),
        parties.directory,
        RUN_ID,
        limits=CALM,
        committee=parties.plan.aggregation.committee.members,
        begin=begin,
    )
    books = Books.open(
        parties.plan,
        Toy.length,
        folder / "ledger.db",
        operator=SigningKey.from_seed(bytes(32)),
        reason="test",
        clock=lambda: int(time.time()),
        rng=SystemRng(),
    )
    run = NetworkedRun(
        parties.plan,
        Toy(),
        parties.directory,
        hub,
        journal,
        RunFolder(folder),
        Waits(60.0, 60.0, 20.0),
        rounds,
        SystemRng(),
        Silent(),
        books,
    )
    run.recover()
    hub.start(HOST, port)
    run.gather(CLIENTS, 90.0)
    run.run()
    hub.stop(None)
    books.close()
    journal.close()
    parties.close()


if __name__ == "__main__":
    name, where, *numbers, at, moment = sys.argv[1:]
    serve(name, Path(where), *map(int, numbers), at, moment)
