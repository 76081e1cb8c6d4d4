"""A server killed -9 in any phase, and started again: no round is unmasked twice.

What passed between server and clients is written down between them, by a proxy that shares no code
with the package, and decides: whatever the server's own journal says, in one round each client
unmasks at most once, for one of the server's processes, and for one set of survivors.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
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
from tlsdrive import HOST, LINK, Certificates, free_port
from wiretap import DOWN, UP, Passed, Wiretap

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
"""Of the server's journal: it is killed before it writes one, or after."""
PASSING = [
    (DOWN, "invitation", 1),
    (UP, "key-advertisement", 2),
    (DOWN, "roster", 3),
    (UP, "sealed-shares", 3),
    (DOWN, "share-delivery", 2),
    (UP, "masked-chunk", 1),
    (UP, "masked-input", 3),
    (DOWN, "survivor-set", 2),
    (UP, "consistency-signature", 1),
    (UP, "consistency-signature", CLIENTS),
    (DOWN, "unmask-request", 1),
    (DOWN, "unmask-request", CLIENTS),
    (UP, "unmask-shares", 1),
    (UP, "unmask-shares", CLIENTS),
    (DOWN, "settled", 1),
]
"""Messages on their way: it is killed when so many have come by, before the last is passed on."""
ROUNDS = 2
SECONDS = 400.0  # a process imports for long where the machine is busy
PATIENT = dataclasses.replace(LINK, patience=SECONDS, handshake=60.0)


def serving(folder, port, line, when):
    support = Path(__file__).parents[1] / "support"
    words = [sys.executable, support / "tls_server.py", "secagg", folder, port, ROUNDS, line, when]
    paths = [str(support), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([str(word) for word in words], env=environment)


def joined(parties, folder, certificates, tap):
    """Clients in threads; each with a store of its own on the disk."""
    (folder / "anchors").mkdir()
    for name in parties.names:
        store = ClientStore(folder / f"{name}.db", anchor=folder / "anchors" / f"{name}.json")
        store.pin_authority(parties.stores[name].authority())
        link = Link(
            certificates.of(name),
            HOST,
            tap.port_of(name),
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
        link.start()
        thread = threading.Thread(target=participant.run, daemon=True)
        thread.start()
        yield participant, thread, store


class Deadly:
    """Kills a server when so many of a kind of message have come by."""

    def __init__(self, way, tag, count):
        self.wanted, self.left, self.process = (way, tag), count, None
        self._lock = threading.Lock()

    def __call__(self, passed):
        if (passed.way, passed.tag) == self.wanted:
            with self._lock:
                self.left -= 1
                if self.left == 0:
                    self.process.kill()


def play(folder, *, line="none", when="never", deadly=None):
    parties, port = noisy_house(CLIENTS), free_port()
    certificates = Certificates(folder / "certs")
    for identity in parties.identities.values():
        certificates.client(identity)
    files = {name: certificates.of(name) for name in parties.names}
    tap = Wiretap(parties.names, port, certificates.server("tap", HOST), files)
    server = serving(folder, port, line, when)
    if deadly is not None:
        deadly.process, tap.listen = server, deadly
    clients = list(joined(parties, folder, certificates, tap))
    try:
        assert server.wait(SECONDS) == -signal.SIGKILL
        tap.server += 1
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
        tap.close()
        parties.close()
    check_what_passed(parties, folder, rounds_of(tap.passed))
    check_what_was_written(parties, folder)


def rounds_of(passed):
    """What passed, by the round's number: of each client, what follows its invitation to it."""
    rounds, begun, names = defaultdict(list), {}, {}
    for message in passed:
        if message.tag == "invitation":
            plan = message.fields[0]
            begun[message.client] = plan[3]
        elif message.round_id:
            number = begun[message.client]
            # One id, one round, whoever is on the channel.
            assert names.setdefault(message.round_id, number) == number
            rounds[number].append(message)
    assert begun
    return rounds


def check_what_passed(parties, folder, rounds):
    record = RunRecord.from_json((folder / "record.json").read_text("utf-8"))
    for round_record in record.rounds:
        check_round(rounds[round_record.round])
    for round_record in record.rounds:
        if round_record.outcome == "sum":
            passed = rounds[round_record.round]
            answered = {m.client for m in passed if m.tag == "unmask-shares"}
            assert len(answered) >= parties.plan.quorum(CLIENTS).threshold
            told = {tuple(m.fields[0]) for m in passed if m.tag == "survivor-set"}
            assert {len(s) for s in told} == {len(round_record.attempts[-1].survivors)}
            inputs = {m.client for m in passed if m.tag == "masked-input"}
            assert inputs >= set(round_record.attempts[-1].survivors)


def check_round(passed):
    """Nobody unmasks twice, for two of the server's processes, or for two survivor sets."""
    told = defaultdict(set)
    for message in passed:
        if message.way == DOWN and message.tag == "survivor-set":
            told[message.client].add(tuple(message.fields[0]))
    shares = [m for m in passed if m.tag == "unmask-shares"]
    asked = [m for m in passed if m.tag == "unmask-request"]
    for messages in (shares, asked):
        assert max(Counter(m.client for m in messages).values(), default=0) <= 1
    assert len({m.server for m in [*shares, *asked]}) <= 1
    assert len({m.round_id for m in [*shares, *asked]}) <= 1
    assert len({s for client in {m.client for m in shares} for s in told[client]}) <= 1


def check_what_was_written(parties, folder):
    record = RunRecord.from_json((folder / "record.json").read_text("utf-8"))
    assert [r.round for r in record.rounds] == list(range(1, ROUNDS + 1))
    assert record.rounds[-1].outcome == "sum"
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    steps = [msgspec.json.decode(text) for text in lines]
    sets = defaultdict(list)
    for step in steps:
        if step["event"] == "unmasking":
            sets[step["round"]].append(step["clients"])
    assert all(len(asked) == 1 for asked in sets.values())
    assert {n for n, r in enumerate(record.rounds, 1) if r.outcome == "sum"} <= set(sets)
    begun = [step["round_id"] for step in steps if step["event"] == "begun"]
    assert len(set(begun)) == len(begun)
    # The ledger knows of a request before the journal does: one more, where it dies between.
    charged = {r.round for r in record.rounds if r.attempts[-1].unmasking_requested}
    assert set(sets) <= charged
    assert len(charged - set(sets)) <= 1
    with BudgetLedger(folder / "ledger.db", clock=lambda: 0) as ledger:
        for reservation in ledger.reservations():
            asked = reservation.request.round in charged
            wanted = ReservationState.SETTLED if asked else ReservationState.VOIDED
            assert reservation.state is wanted


def test_a_server_that_is_killed_unmasks_no_round_twice(tmp_path):
    play(tmp_path, deadly=Deadly(UP, "unmask-shares", 2))


@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", LINES)
def test_nor_does_it_at_any_line_of_its_journal(line, when, tmp_path):
    play(tmp_path, line=line, when=when)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("way", "tag", "count"), PASSING, ids=[f"{tag}-{n}-{way}" for way, tag, n in PASSING]
)
def test_nor_does_it_whatever_passes_when_it_is_killed(way, tag, count, tmp_path):
    play(tmp_path, deadly=Deadly(way, tag, count))


def test_the_check_sees_a_round_that_is_unmasked_twice():
    """By one client, for two processes, or for two sets; and it takes what is in order."""

    def round_of(*answers):
        for client, server, survivors in answers:
            yield Passed(client, DOWN, server, "survivor-set", b"r", (survivors,))
            yield Passed(client, DOWN, server, "unmask-request", b"r")
            yield Passed(client, UP, server, "unmask-shares", b"r")

    both, one = (0, 1), (0,)
    check_round(list(round_of(("a", 1, both), ("b", 1, both))))
    for wrong in (
        [("a", 1, both), ("a", 1, both)],
        [("a", 1, both), ("b", 2, both)],
        [("a", 1, both), ("b", 1, one)],
    ):
        with pytest.raises(AssertionError):
            check_round(list(round_of(*wrong)))
