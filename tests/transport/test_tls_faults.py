"""Seeded schedules of faults between clients and server, judged by an oracle that knows no code.

Every schedule ends in the exact sum over the survivors that the oracle names, or in an abort where
it says that there can be no sum; and the clients that are left do the next round together.
"""

import pytest

from fault_proxy import UP, Fault
from fault_schedules import Schedule, Setting, play_all
from rounddrive import make_plan
from tlsdrive import house

PHASES = ("handshake", "keys", "shares", "input", "consistency", "unmasking")
CLIENTS, NEEDED = 6, 4  # threshold of six of whom one may be corrupt, and of any sum
FEW, MANY = 60, 504


def parties(seed=1):
    return house(CLIENTS, plan=make_plan(min_clients=NEEDED, threshold=NEEDED), seed=seed)


def oracle(schedule, consortium, _number=1):
    """The survivors of the round; None where there can be no sum."""
    alive = set(consortium.names)
    for phase in PHASES[:4]:
        alive -= schedule.killed(phase)
        if len(alive) < NEEDED:
            return None
    able = set(alive)
    for phase in PHASES[4:]:
        able -= schedule.killed(phase)
        if len(able) < NEEDED:
            return None
    return alive


MASKING = Setting(PHASES, parties, oracle)


def test_a_network_that_fails_costs_a_sum_only_where_too_few_are_left(tmp_path):
    ends, schedules = play_all(MASKING, range(FEW), tmp_path)
    assert ends == {"sum": 54, "abort": 6}
    assert {fault for s in schedules for _, _, fault in s.strikes.values()} == set(Fault)
    assert {strike[:2] for s in schedules for strike in s.strikes.values()} == set(MASKING.slots)


@pytest.mark.nightly
def test_it_is_so_for_every_fault_at_every_phase_and_direction(tmp_path):
    ends, schedules = play_all(MASKING, range(1000, 1000 + MANY), tmp_path)
    assert ends == {"sum": 454, "abort": 50}
    struck = {strike for s in schedules for strike in s.strikes.values()}
    assert {(p, d, f) for p, d in MASKING.slots for f in Fault} <= struck


def test_the_oracle_counts_who_is_needed():
    consortium = parties()
    names = consortium.names
    kill = (names[0], names[1], names[2])
    for phase in PHASES:
        two = Schedule(0, dict.fromkeys(kill[:2], (phase, UP, Fault.KILL)))
        three = Schedule(0, dict.fromkeys(kill, (phase, UP, Fault.KILL)))
        late = phase in ("consistency", "unmasking")
        assert oracle(two, consortium) == (set(names) if late else set(names[2:]))
        assert oracle(three, consortium) is None
