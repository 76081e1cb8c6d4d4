"""Schedules of faults where a committee opens sums: its members, its clients and the server.

The oracle knows no code. A client counts once its input is there whole, whatever becomes of it
afterwards; a sum is opened where enough members last from their key to their answer.
"""

import pytest

from fault_proxy import UP, Fault
from fault_schedules import Schedule, Setting, play_all
from rounddrive import make_plan
from tlsdrive import house

PHASES = ("handshake", "keys", "input", "opening", "consistency", "unmasking")
CLIENTS, NEEDED = 5, 3
OPEN = 3  # of four members of whom one may be corrupt
NAMED = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'
DRAWN = "size = 4\ncorrupt = 1"
FEW, MANY = range(55, 63), 192


def setting(committee):
    def parties(seed=1):
        plan = make_plan(protocol="oneshot", min_clients=NEEDED, committee=committee)
        return house(CLIENTS, plan=plan, seed=seed)

    return Setting(PHASES, parties, oracle)


def oracle(schedule, consortium, number):
    """The survivors of the round; None where there can be no sum."""
    inputs = set(consortium.names) - schedule.killed("handshake", "keys", "input")
    able = set(consortium.committee(number).members) - schedule.killed(*PHASES)
    return inputs if len(inputs) >= NEEDED and len(able) >= OPEN else None


def test_a_sum_is_lost_only_with_too_many_members_or_clients(tmp_path):
    ends, schedules = play_all(setting(NAMED), FEW, tmp_path)
    assert ends == {"sum": 7, "abort": 1}
    assert len({n for s in schedules for n in s.strikes if n.startswith("m-")}) == 4
    assert {phase for s in schedules for phase, *_ in s.strikes.values()} == set(PHASES)


@pytest.mark.nightly
@pytest.mark.parametrize(("committee", "aborts"), [(NAMED, 9), (DRAWN, 19)], ids=["named", "drawn"])
def test_it_is_so_for_every_fault_at_every_phase_and_direction(committee, aborts, tmp_path):
    network = setting(committee)
    ends, schedules = play_all(network, range(1000, 1000 + MANY), tmp_path)
    assert ends == {"sum": MANY - aborts, "abort": aborts}
    struck = {strike for s in schedules for strike in s.strikes.values()}
    assert {(p, d, f) for p, d in network.slots for f in Fault} <= struck


def test_the_oracle_tells_members_from_clients():
    parties = setting(NAMED).house()
    clients, members = parties.names, parties.committee().members

    def survivors(phase, *gone):
        return oracle(Schedule(0, dict.fromkeys(gone, (phase, UP, Fault.KILL))), parties, 1)

    for phase in PHASES:
        late = phase in ("opening", "consistency", "unmasking")
        assert survivors(phase, members[0]) == set(clients)
        assert survivors(phase, *members[:2]) is None
        assert survivors(phase, *clients[:2]) == (set(clients) if late else set(clients[2:]))
        assert survivors(phase, *clients[:3]) == (set(clients) if late else None)
