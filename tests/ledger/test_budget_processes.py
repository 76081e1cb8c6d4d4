import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from budgets import KEY, RUN, PlainSum, found, opened, pure
from fedprivacy.errors import BudgetExhausted
from fedprivacy.ledger import BudgetLedger

HERE = Path(__file__).parent
ROUNDS = 12
LIMIT = 15
POINTS = range(1, 97, 4)


def race(place, count):
    """Let processes spend one budget at once; how many rounds each of them was given."""
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(count), spawn.Queue()
    told = {"place": place, "rounds": ROUNDS, "barrier": barrier, "results": results}
    racers = [
        spawn.Process(
            target=runpy.run_path,
            args=(str(HERE / "budget_racer.py"), {**told, "run": bytes([number]) * 16}),
        )
        for number in range(count)
    ]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    return outcomes


@pytest.mark.parametrize("count", [2, 3])
def test_of_those_who_race_for_the_last_of_a_budget_nobody_gets_more(place, count):
    opened(found(place), epsilon=float(LIMIT)).close()
    outcomes = race(place, count)
    assert sum(outcomes) == LIMIT
    assert sum(map(bool, outcomes)) >= 2  # more than any of them asks for: it was a race
    with found(place) as ledger:
        budget = ledger.budget(KEY)
        assert (budget.charged, budget.refused) == (LIMIT, count * ROUNDS - LIMIT)
        assert ledger.verify().rows == 2 + 3 * LIMIT + budget.refused


def test_threads_share_one_ledger(place):
    given = []
    with opened(found(place), epsilon=float(LIMIT)) as ledger:

        def spend(run):
            for number in range(1, ROUNDS + 1):
                try:
                    ledger.reserve(KEY, run, number, 1, [pure(1)])
                except BudgetExhausted:
                    continue
                given.append(number)

        threads = [threading.Thread(target=spend, args=(bytes([n]) * 16,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(given) == LIMIT == ledger.budget(KEY).charged
        ledger.verify()


def test_two_who_found_a_ledger_found_one(place):
    gate, names = threading.Barrier(2), []

    def make(name):
        gate.wait()
        with found(place, name=name) as ledger:
            names.append(ledger.ledger_id)

    threads = [threading.Thread(target=make, args=(name,)) for name in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 2
    assert len(set(names)) == 1


@pytest.fixture
def spender(place):
    """Starts processes that spend the budget, one after the other; they load no library anew."""
    root = HERE.parents[1]
    paths = os.pathsep.join([str(root), str(root / "tests" / "support")])
    starter = subprocess.Popen(
        [sys.executable, str(HERE / "spender.py"), place],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    @dataclass
    class Started:
        number: int

        @classmethod
        def at(cls, point, sent):
            starter.stdin.write(f"{point} {sent}\n")
            starter.stdin.flush()
            return cls(int(starter.stdout.readline()))

        def kill(self):
            os.kill(self.number, signal.SIGKILL)

        def wait(self):
            return int(starter.stdout.readline())

    with starter:
        yield Started.at
        starter.stdin.close()
        assert starter.wait(60) == 0


def least_and_most(sent):
    """What the budget must be charged at least and at most, by what was seen outside."""
    last = {}
    for line in sent.read_text().splitlines():
        step, number = line.split()
        last[int(number)] = step
    last.pop(0, None)
    # A void round may be taken back before anybody is told; a settled one is charged at what it
    # was; in between, at its worst or, just settled, at what it was.
    least = {"asked": 2, "unmasked": 1, "settled": 1, "void": 0}
    most = {"asked": 2, "unmasked": 2, "settled": 1, "void": 0}
    floor = sum(0 if n % 3 == 0 else least[step] for n, step in last.items())
    return floor, sum(most[step] for step in last.values()) + 2  # one more, not yet told of


def check_survived(place, sent, before):
    """The ledger holds all that was seen, is sound, and goes on; what it is charged now."""
    floor, ceiling = least_and_most(sent)
    with BudgetLedger(place, clock=lambda: 1, accountant=PlainSum()) as ledger:
        charged = ledger.budget(KEY).charged
        assert before + floor <= charged <= before + ceiling
        ledger.verify()
    return charged


def test_wherever_the_server_dies_the_ledger_is_charged_what_was_sent(place, spender, tmp_path):
    opened(found(place), epsilon=1e6).close()
    charged = 0
    for point in POINTS:
        sent = tmp_path / f"sent-{point}"
        assert spender(point, sent).wait() == -signal.SIGKILL
        charged = check_survived(place, sent, charged)
    assert charged >= len(POINTS)  # they got far enough to spend


def test_killed_at_any_time_the_ledger_is_charged_what_was_sent(place, spender, tmp_path):
    opened(found(place), epsilon=1e6).close()
    charged = 0
    for attempt in range(6):
        sent = tmp_path / f"sent-{attempt}"
        process, until = spender(0, sent), time.monotonic() + 60
        while not sent.exists() or sent.stat().st_size < 40 * (attempt + 1):
            assert time.monotonic() < until
            time.sleep(0.001)
        time.sleep(0.0007 * attempt)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        charged = check_survived(place, sent, charged)


def test_a_reservation_left_by_a_crash_stays_charged_until_someone_decides(place):
    opened(found(place), epsilon=3.0).close()
    with found(place) as ledger:
        ledger.reserve(KEY, RUN, 1, 1, [pure(2)])
    with found(place) as ledger:  # another process, later
        with pytest.raises(BudgetExhausted):
            ledger.reserve(KEY, RUN, 2, 1, [pure(2)])
        (left,) = ledger.reservations()
        ledger.void(left, reason="the server died before it asked for anything")
        ledger.reserve(KEY, RUN, 2, 1, [pure(2)])
