"""A server killed -9 at any line of its journal, and started again: no sum is opened twice.

What clients and members of a committee sent is written down here, by this test, and decides: in one
round each of them unmasks, or opens, at most once, and all who do name one set of survivors. So it
is where the server's folder was put back, and it knows of no round: then they refuse.
"""

import dataclasses
import os
import signal
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
from fedprivacy.transport.tls.frames import Role
from fedprivacy.transport.tls.link import Came, Link
from fedprivacy.transport.tls.participant import Participant
from tls_server import CLIENTS, consortium
from tlsdrive import HOST, LINK, Certificates, free_port

FIRST = ["session", "clients", "begun", "phase/keys"]
LAST = ["phase/consistency", "unmasking", "phase/unmasking", "ended"]
LINES = {
    "secagg": [*FIRST, "phase/shares", "phase/input", *LAST],
    "oneshot": [*FIRST, "phase/input", "phase/opening", *LAST],
}
INPUT = {"secagg": "masked-input", "oneshot": "sealed-input"}
ANSWER = {"secagg": "unmask-shares", "oneshot": "key-sum"}
ROUNDS = 2
SECONDS = 200.0  # a process imports for long where the machine is busy
PATIENT = dataclasses.replace(LINK, patience=SECONDS)


class Sent:
    """What each party sent, by round: the kinds of its messages, and the sets that it was shown."""

    def __init__(self):
        self.kinds = defaultdict(list)
        self.shown = defaultdict(set)

    def note(self, name, party, message):
        if (body := self._body(message)) is not None:
            self.kinds[party.round_plan.round, name].append(body[0])

    def heard(self, party, message):
        body = self._body(message)
        if body is not None and body[0] == "survivor-set":
            self.shown[party.round_plan.round].add(tuple(body[1]))

    def _body(self, message):
        kind, *fields = msgspec.msgpack.decode(message)
        enveloped = kind in ("envelope", "member-envelope")
        return msgspec.msgpack.decode(fields[1]) if enveloped else None

    def count(self, number, name, kind):
        return self.kinds[number, name].count(kind)


def serving(protocol, folder, port, line, when):
    support = Path(__file__).parents[1] / "support"
    words = [sys.executable, support / "tls_server.py", protocol, folder, port, ROUNDS, line, when]
    paths = [str(support), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([str(word) for word in words], env=environment)


def joined(parties, folder, certificates, port, sent):
    """Clients and members in threads; each with a store of its own on the disk."""
    (folder / "anchors").mkdir()
    for name in parties.identities:
        trains = name in parties.names
        store = ClientStore(folder / f"{name}.db", anchor=folder / "anchors" / f"{name}.json")
        store.pin_authority(parties.stores[name].authority())
        link = Link(
            certificates.of(name),
            HOST,
            port,
            limits=PATIENT,
            rng=InsecureTestRng(f"link/{name}".encode()),
            role=Role.CLIENT if trains else Role.MEMBER,
        )
        participant = Participant(
            link,
            parties.policy,
            parties.identities[name],
            store,
            (lambda _, name=name: parties.update(name)) if trains else None,
            parties.rng.child(f"participant/{name}"),
        )
        listen(link, participant, name, sent)
        link.start()
        thread = threading.Thread(target=participant.run, daemon=True)
        thread.start()
        yield participant, thread, store


def listen(link, participant, name, sent):
    send, receive = link.send, link.next

    def sending(session, message):
        sent.note(name, participant._client or participant._member, message)
        send(session, message)

    def receiving(timeout):
        event = receive(timeout)
        if isinstance(event, Came):
            sent.heard(participant._client or participant._member, event.message)
        return event

    link.send, link.next = sending, receiving


def play(folder, line, when, protocol="secagg", *, put_back=False):
    parties, port, sent = consortium(protocol), free_port(), Sent()
    certificates = Certificates(folder / "certs")
    for identity in parties.identities.values():
        certificates.client(identity)
    server = serving(protocol, folder, port, line, when)
    clients = list(joined(parties, folder, certificates, port, sent))
    try:
        assert server.wait(SECONDS) == -signal.SIGKILL
        if put_back:
            for name in ("journal.jsonl", "model.json", "rounds.jsonl", "ledger.db"):
                (folder / name).unlink(missing_ok=True)
        server = serving(protocol, folder, port, line, "never")
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
    return check(parties, folder, sent)


def check(parties, folder, sent):
    protocol = parties.plan.aggregation.protocol
    opening = parties.plan.aggregation.committee.members or parties.names
    record = RunRecord.from_json((folder / "record.json").read_text("utf-8"))
    assert [r.round for r in record.rounds] == list(range(1, ROUNDS + 1))
    assert record.rounds[-1].outcome == "sum"
    for r in record.rounds:
        answers = {name: sent.count(r.round, name, ANSWER[protocol]) for name in opening}
        assert set(answers.values()) <= {0, 1}, answers
        signed = {sent.count(r.round, name, "consistency-signature") for name in opening}
        assert signed <= {0, 1}
        assert len(sent.shown[r.round]) <= 1
        if r.outcome == "sum":
            assert sum(answers.values()) >= parties.plan.quorum(CLIENTS).threshold
    lines = [
        msgspec.json.decode(text) for text in (folder / "journal.jsonl").read_bytes().splitlines()
    ]
    charged = {r.round for r in record.rounds if r.attempts[-1].unmasking_requested}
    sets = defaultdict(list)
    for step in lines:
        if step["event"] == "unmasking":
            sets[step["round"]].append(step["clients"])
    assert all(len(asked) == 1 for asked in sets.values())
    assert {n for n, r in enumerate(record.rounds, 1) if r.outcome == "sum"} <= set(sets)
    # The ledger knows of a request before the journal does.
    assert set(sets) <= charged
    begun = [(step["round"], step["round_id"]) for step in lines if step["event"] == "begun"]
    assert len({round_id for _, round_id in begun}) == len(begun)
    with BudgetLedger(folder / "ledger.db", clock=lambda: 0) as ledger:
        for reservation in ledger.reservations():
            asked = reservation.request.round in charged
            wanted = ReservationState.SETTLED if asked else ReservationState.VOIDED
            assert reservation.state is wanted
    for name in parties.names:
        for r in record.rounds:
            if r.outcome == "sum" and name in r.attempts[-1].survivors:
                assert INPUT[protocol] in sent.kinds[r.round, name]
    return record


@pytest.mark.parametrize("protocol", LINES)
def test_a_server_that_is_killed_goes_on_with_the_next_round(protocol, tmp_path):
    record = play(tmp_path, "unmasking", "after", protocol)
    assert record.rounds[0].outcome == "aborted"
    assert record.rounds[0].attempts[0].unmasking_requested


@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("protocol", "line"), [(p, at) for p in LINES for at in LINES[p]])
def test_it_is_so_at_every_line_of_its_journal(protocol, line, when, tmp_path):
    play(tmp_path, line, when, protocol)


@pytest.mark.nightly
@pytest.mark.parametrize("protocol", LINES)
def test_a_server_whose_folder_was_put_back_opens_no_round_again(protocol, tmp_path):
    record = play(tmp_path, "phase/unmasking", "before", protocol, put_back=True)
    first = record.rounds[0]
    assert first.outcome == "aborted"
    assert not any(attempt.unmasking_requested for attempt in first.attempts)
    refused = {reason for attempt in first.attempts for reason in attempt.refused.values()}
    assert refused
    assert refused <= {"round-seen", "answered", "attempt-changed"}
