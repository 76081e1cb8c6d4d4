import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy.errors import PeerError, Reason
from fedprivacy.ledger import ClientStore

RUN = b"r" * 16
HERE = Path(__file__).parent
ROUNDS = range(1, 16)


def race(path, *marks_of_each):
    """Let processes make their marks on one store at once; what each of them got."""
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(len(marks_of_each)), spawn.Queue()
    given = {"store": path, "anchor": None, "barrier": barrier, "results": results}
    racers = [
        spawn.Process(
            target=runpy.run_path, args=(str(HERE / "racer.py"), {**given, "marks": marks})
        )
        for marks in marks_of_each
    ]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    return outcomes


def test_of_two_processes_one_spends_each_attempt(path):
    marks = [("mark_spent", (RUN, number, 1)) for number in ROUNDS]
    for pair in zip(*race(path, marks, marks), strict=True):
        assert sorted(pair) == ["SPENT", "ok"]
    with ClientStore(path):  # the anchor kept up with both
        pass


def test_of_two_processes_one_answers_each_round(path):
    # Different attempts at one round, with different survivors: what must never happen twice.
    first = [("mark_answered", (RUN, n, 1, b"%d" % n, ["a", "b", "c"], 0)) for n in ROUNDS]
    second = [("mark_answered", (RUN, n, 2, b"%d" % n, ["a", "b"], 0)) for n in ROUNDS]
    for pair in zip(*race(path, first, second), strict=True):
        assert sorted(pair) == ["ANSWERED", "ok"]


def test_of_two_runs_one_answers_under_a_broadcast(path):
    first = [("mark_answered", (b"x", n, 1, b"%d" % n, ["a", "b", "c"], 2)) for n in ROUNDS]
    second = [("mark_answered", (b"y", n, 1, b"%d" % n, ["a", "b"], 2)) for n in ROUNDS]
    for pair in zip(*race(path, first, second), strict=True):
        assert sorted(pair) == ["SURVIVORS_OVERLAP", "ok"]


def test_of_two_processes_one_begins_each_attempt_and_pins(path):
    marks = [("begin", (RUN, 1, 1, b"id", b"cast", b"terms")), ("pin_authority", (b"a",))]
    outcomes = race(path, marks, marks)
    assert sorted(got[0] for got in outcomes) == ["ROUND_SEEN", "ok"]
    assert [got[1] for got in outcomes] == ["ok", "ok"]


@pytest.mark.parametrize("acknowledged", [0, 1, 7, 20])
def test_no_acknowledged_mark_is_lost_when_the_process_is_killed(path, acknowledged):
    root = HERE.parents[1]
    marker = subprocess.Popen(
        [sys.executable, str(HERE / "marker.py"), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with marker:
        assert marker.stdout.readline() == "open\n"
        for number in range(1, acknowledged + 1):
            assert marker.stdout.readline() == f"{number}\n"
        marker.send_signal(signal.SIGKILL)
        # What it said before it died, beyond what was waited for, binds it too.
        said = acknowledged + len(marker.stdout.read().split("\n")) - 1
    with ClientStore(path) as store:
        for number in range(1, said + 1):
            with pytest.raises(PeerError) as caught:
                store.mark_spent(b"run", number, 1)
            assert caught.value.reason is Reason.SPENT
            with pytest.raises(PeerError) as caught:
                store.begin(b"run", number, 1, b"round id", b"broadcast", b"terms")
            assert caught.value.reason is Reason.ROUND_SEEN
        store.mark_spent(b"run", said + 2, 1)  # at most one was committed and not said
