"""A client that is killed at any moment, and started again, never answers a round twice.

A real process with a real store on a real disk, and a real SIGKILL. The other clients forget
everything, as if the server had turned them: whatever stops a second answer is this client's own.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy.errors import PeerError, Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.rounds import RoundClient
from fedprivacy.secagg import SERVER, Send
from fedprivacy.transport import InProcess
from fedprivacy.wire import Transcript
from rounddrive import Forgetful, house_of
from sumdrive import CURIOUS, MALICIOUS, PLUS_SEMI

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ME = "c001"
SIGNED = re.compile(b"(consistency|inclusion)-signature")
ANSWERS = (SIGNED, re.compile(b"unmask-shares"))

# In order: what a process does in one round, and the places in which it may die. Messages of the
# malicious setting: keys, shares, a chunk, the end of the input, the signature, the shares opened.
UNANSWERED = [
    *("before begin", "inside begin", "after begin"),
    *("before 1", "after 1", "before 2", "after 2"),
    *("before mark_spent", "inside mark_spent", "after mark_spent"),
    *("before 3", "after 3", "before 4", "after 4"),
    "before mark_answered",
]
ANSWERED = ["inside mark_answered", "after mark_answered", "before 5", "after 5"]
LAST = ["before 6", "after 6"]
CASES = [(MALICIOUS, point, False) for point in UNANSWERED]
CASES += [(MALICIOUS, point, True) for point in ANSWERED + LAST]
CASES += [(CURIOUS, point, False) for point in UNANSWERED[-3:]]
CASES += [(CURIOUS, point, True) for point in ANSWERED]
CASES += [(PLUS_SEMI, UNANSWERED[-1], False), *((PLUS_SEMI, point, True) for point in ANSWERED)]


class Remote:
    """A client in another process, as the transport sees it."""

    def __init__(self, store, anchor, setting, point):
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "mortal.py"),
                str(store),
                str(anchor),
                setting.protocol,
                setting.adversary.value,
                point,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{HERE.parent / 'support'}{os.pathsep}{ROOT}"},
        )
        self.round_plan = None
        self.failures = []

    def receive(self, sender, message):
        yield from self._tell(f"receive {message.hex()}")
        self.round_plan = "accepted"

    def contribute(self, update):
        yield from self._tell("contribute " + ",".join(str(v) for v in update.values))

    def suspend(self):
        (sealed,) = self._tell("suspend now")
        return sealed.message

    def resume(self, sealed):
        assert not list(self._tell(f"resume {sealed.hex()}"))

    def _tell(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return
        for said in self.process.stdout:
            if said == "done\n":
                return
            if said.startswith("failed"):
                self.failures.append(said)
            else:
                yield Send(SERVER, bytes.fromhex(said))

    def end(self):
        """Its exit status; a negative one is the signal that it died of."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "client").mkdir()
    return tmp_path / "client" / "store.sqlite", tmp_path / "anchor" / "me.json"


def answers(transcript):
    """How often this client sent each kind of answer."""
    mine = [e.message[:100] for e in transcript.entries if e.sender == ME]
    return [sum(bool(tag.search(message)) for message in mine) for tag in ANSWERS]


def run(house, attempt, client, transcript):
    clients = {n: house.client(n, 1, attempt) for n in house.names if n != ME}
    clients = {ME: client, **clients}
    drive = InProcess(house.server(1, attempt), clients, house.update, transcript=transcript)
    return drive.run()


def consortium(setting, place):
    def store_at(name):
        if name != ME:
            return Forgetful()
        return ClientStore(place[0], anchor=place[1])

    return house_of(setting, store_at=store_at)


@pytest.mark.parametrize(
    ("setting", "point", "answered"),
    CASES,
    ids=[f"{s}-{p}".replace(" ", "-") for s, p, _ in CASES],
)
def test_a_client_killed_and_started_again_answers_once(place, setting, point, answered):
    passed = Transcript()
    with consortium(setting, place) as house:
        remote = Remote(*place, setting, point)
        first = run(house, 1, remote, passed)
        assert remote.end() == -signal.SIGKILL
        assert not remote.failures
        invited = [e.message for e in passed.entries if e.recipient == ME]
        assert (ME in first.survivors) == (point in {"after 4", *UNANSWERED[14:], *ANSWERED, *LAST})
        house.assert_exact(first)
        before = answers(passed)

        # Started again on what is on the disk, it does not go on with the attempt that it was in.
        with ClientStore(place[0], anchor=place[1]) as store:
            for _ in range(2):
                again = house.client(ME)
                again._store = store
                said = Transcript()
                for message in invited:
                    effects = _tolerant(again, message)
                    for sent in effects:
                        said.add(ME, SERVER, "", sent.message)
                assert answers(said) == [0, 0]

        # Nor does it answer at the next attempt what it has answered, or was about to answer.
        with ClientStore(place[0], anchor=place[1]) as store:
            reborn = RoundClient(
                house.policy, house.identities[ME], store, rng=house.rng.child("reborn")
            )
            second = run(house, 2, reborn, passed)
        house.assert_exact(second)
        assert all(count <= 1 for count in answers(passed))
        if answered:
            assert second.refused == {ME: Reason.ANSWERED}
            assert ME not in second.survivors  # not even its input leaves again
            assert answers(passed) == before
        elif setting is PLUS_SEMI and point == "before mark_answered":
            # Its input had left: on a ring it sends no other in this round.
            assert second.refused == {ME: Reason.SPENT}
            assert answers(passed) == before == [0, 0]
        else:
            assert not second.refused
            assert before == [0, 0]
            assert second.survivors == house.names
            assert answers(passed) == [len(setting.phases) - 4, 1]


def _tolerant(client, message):
    """What a client sends on a message, whatever it then raises."""
    sent = []
    with contextlib.suppress(PeerError):
        sent.extend(e for e in client.receive(SERVER, message) if isinstance(e, Send))
    return sent


@pytest.mark.parametrize("setting", [MALICIOUS, CURIOUS, PLUS_SEMI], ids=str)
def test_a_client_that_lives_answers_once_as_well(place, setting):
    passed = Transcript()
    with consortium(setting, place) as house:
        remote = Remote(*place, setting, "never")
        outcome = run(house, 1, remote, passed)
        assert remote.end() == 0
        assert outcome.survivors == house.names
        house.assert_exact(outcome)
        second = run(house, 2, house.client(ME, 1, 2), passed)
        assert second.refused == {ME: Reason.ANSWERED}
        assert answers(passed) == [len(setting.phases) - 4, 1]


def test_every_point_is_one_that_is_reached():
    assert len(CASES) == len(UNANSWERED) + len(ANSWERED) + len(LAST) + 7 + 5
    assert len(set(UNANSWERED + ANSWERED + LAST)) == 21


# ---------------------------------------------------------------------- a process for each message


class Nomad:
    """A client whose every message is taken by a process of its own."""

    def __init__(self, place, setting):
        self.make = lambda: Remote(*place, setting, "never")
        self.process, self.processes = self.make(), 0
        self.round_plan = self.update = self.sealed = None
        self.has_left = False

    def receive(self, sender, message):
        if self.sealed is not None:
            self.process = self.make()
            self.process.resume(self.sealed)
        yield from self.process.receive(sender, message)
        self.processes += 1
        self.round_plan = "accepted"
        if self.processes == 3:
            yield from self.process.contribute(self.update)
        if self.processes < 5:
            self.sealed = self.process.suspend()
        assert self.process.end() == 0
        assert not self.process.failures

    def contribute(self, update):
        self.update = update
        return ()


def test_each_message_of_a_round_may_be_taken_by_a_process_of_its_own(place):
    with consortium(MALICIOUS, place) as house:
        nomad = Nomad(place, MALICIOUS)
        outcome = run(house, 1, nomad, Transcript())
        assert nomad.processes == 5
        assert outcome.survivors == house.names
        house.assert_exact(outcome)


@pytest.mark.parametrize("point", ["before", "inside", "after"])
@pytest.mark.parametrize("mark", ["suspend", "resume"])
def test_a_client_killed_while_it_falls_asleep_or_wakes_is_lost_for_the_attempt_alone(
    place, mark, point
):
    """Its state, where one was given out, is good once or never, and the next attempt has it."""
    with consortium(MALICIOUS, place) as house:
        invitation = next(
            e.message for e in house.server().invite(house.names) if e.recipient == ME
        )
        known = house.policy, house.identities[ME]
        sealed = None
        if mark == "resume":
            client = RoundClient(*known, house.stores[ME], rng=house.rng)
            list(client.receive(SERVER, invitation))
            sealed = client.suspend()
        house.stores[ME].close()
        doomed = Remote(*place, MALICIOUS, f"{point} {mark}")
        if mark == "suspend":
            assert list(doomed.receive(SERVER, invitation))
            with pytest.raises(ValueError, match="not enough values"):
                doomed.suspend()
        else:
            doomed.resume(sealed)
        assert doomed.end() == -signal.SIGKILL
        assert not doomed.failures

        with ClientStore(place[0], anchor=place[1]) as store:
            if sealed is not None and point == "before":
                RoundClient.resume(sealed, *known, store, rng=house.rng)
            elif sealed is not None:
                with pytest.raises(PeerError) as caught:
                    RoundClient.resume(sealed, *known, store, rng=house.rng)
                assert caught.value.reason is Reason.SEALED_STATE
            second = run(house, 2, RoundClient(*known, store, rng=house.rng), Transcript())
        assert second.survivors == house.names
        house.assert_exact(second)
