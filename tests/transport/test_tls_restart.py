"""A server killed -9 at any line of its journal, and started again: no round is unmasked twice.

What clients sent is written down here, by this test, and decides: in one round each of them unmasks
at most once, and all who do name one set of survivors.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from fedprivacy.ledger import BudgetLedger, ClientStore, ReservationState
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import RunRecord
from fedprivacy.transport.tls.link import Link
from fedprivacy.transport.tls.participant import Participant
from rounddrive import noisy_house
from tls_server import CLIENTS
from tlsdrive import HOST, LINK, Certificates

LINES = [
    "session",
    "clients",
    "begun",
    "phase/keys",
    "phase/shares",
    "phase/input",
    "phase/consistency",
    "unmasking",
    "phase/unmasking",
    "ended",
]
ROUNDS = 2
SECONDS = 200.0  # a process imports for long where the machine is busy
PATIENT = dataclasses.replace(LINK, patience=SECONDS)


class Sent:
    """What each client sent, by round: the kinds of its messages, and what it was asked."""

    def __init__(self):
        self.kinds = defaultdict(list)

    def note(self, name, number, message):
        kind, *fields = msgspec.msgpack.decode(message)
        if kind == "envelope":
            self.kinds[number, name].append(msgspec.msgpack.decode(fields[1])[0])

    def unmasked(self, number, name):
        return self.kinds[number, name].count("unmask-shares")


def serving(folder, port, line, when):
    support = Path(__file__).parents[1] / "support"
    words = [sys.executable, support / "tls_server.py", folder, port, ROUNDS, line, when]
    paths = [str(support), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([str(word) for word in words], env=environment)


def free_port():
    with socket.create_server((HOST, 0)) as held:
        return held.getsockname()[1]


def joined(parties, folder, certificates, port, sent):
    """Clients in threads; each with a store of its own on the disk."""
    (folder / "anchors").mkdir()
    for name in parties.names:
        store = ClientStore(folder / f"{name}.db", anchor=folder / "anchors" / f"{name}.json")
        store.pin_authority(parties.stores[name].authority())
        link = Link(
            certificates.of(name),
            HOST,
            port,
            limits=PATIENT,
            rng=InsecureTestRng(f"link/{name}".encode()),
        )
        participant = Participant(
            link,
            parties.policy,
            parties.identities[name],
            store,
            lambda _, name=name: parties.update(name),
            parties.rng.child(f"participant/{name}"),
        )
        send = link.send

        def listening(session, message, name=name, participant=participant, send=send):
            client = participant._client
            plan = client.round_plan if client is not None else None
            sent.note(name, plan.round if plan is not None else 0, message)
            send(session, message)

        link.send = listening
        link.start()
        thread = threading.Thread(target=participant.run, daemon=True)
        thread.start()
        yield participant, thread, store


def play(folder, line, when):
    parties, port, sent = noisy_house(CLIENTS), free_port(), Sent()
    certificates = Certificates(folder / "certs")
    for identity in parties.identities.values():
        certificates.client(identity)
    server = serving(folder, port, line, when)
    clients = list(joined(parties, folder, certificates, port, sent))
    try:
        assert server.wait(SECONDS) == -signal.SIGKILL
        server = serving(folder, port, line, "never")
        assert server.wait(SECONDS) == 0
        for participant, thread, store in clients:
            thread.join(20.0)
            assert not thread.is_alive()
            participant.link.close()
            store.close()
    finally:
        server.kill()
        server.wait()
        parties.close()
    check(parties, folder, sent)


def check(parties, folder, sent):
    record = RunRecord.from_json((folder / "record.json").read_text("utf-8"))
    assert [r.round for r in record.rounds] == list(range(1, ROUNDS + 1))
    assert record.rounds[-1].outcome == "sum"
    for r in record.rounds:
        answers = {name: sent.unmasked(r.round, name) for name in parties.names}
        assert set(answers.values()) <= {0, 1}, answers
        if r.outcome == "sum":
            assert sum(answers.values()) >= parties.plan.quorum(CLIENTS).threshold
    lines = [
        msgspec.json.decode(text) for text in (folder / "journal.jsonl").read_bytes().splitlines()
    ]
    sets = defaultdict(list)
    for step in lines:
        if step["event"] == "unmasking":
            sets[step["round"]].append(step["clients"])
    assert all(len(asked) == 1 for asked in sets.values())
    assert {n for n, r in enumerate(record.rounds, 1) if r.outcome == "sum"} <= set(sets)
    begun = [(step["round"], step["round_id"]) for step in lines if step["event"] == "begun"]
    assert len({round_id for _, round_id in begun}) == len(begun)
    with BudgetLedger(folder / "ledger.db", clock=lambda: 0) as ledger:
        for reservation in ledger.reservations():
            asked = reservation.request.round in sets
            wanted = ReservationState.SETTLED if asked else ReservationState.VOIDED
            assert reservation.state is wanted
    for name in parties.names:
        for r in record.rounds:
            if r.outcome == "sum" and name in r.attempts[-1].survivors:
                assert "masked-input" in sent.kinds[r.round, name]


def test_a_server_that_is_killed_goes_on_with_the_next_round(tmp_path):
    play(tmp_path, "unmasking", "after")


@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", LINES)
def test_it_is_so_at_every_line_of_its_journal(line, when, tmp_path):
    play(tmp_path, line, when)
