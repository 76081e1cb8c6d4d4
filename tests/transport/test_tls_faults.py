"""Seeded schedules of faults between clients and server, judged by an oracle that knows no code.

Every schedule ends in the exact sum over the survivors that the oracle names, or in an abort where
it says that there can be no sum; and the clients that are left do the next round together.
"""

import dataclasses
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from fault_proxy import DOWN, TRANSIENT, UP, Fault, FaultProxy
from rounddrive import make_plan
from tlsdrive import LIMITS, LINK, Certificates, Network, house

PHASES = ("handshake", "keys", "shares", "input", "consistency", "unmasking")
CLIENTS, NEEDED = 6, 4  # threshold of six of whom one may be corrupt, and of any sum
SLOTS = [(phase, direction) for phase in PHASES for direction in (UP, DOWN)]
FEW, MANY = 60, 504
# Generous: a busy machine must not look like a network that fails.
CALM = dataclasses.replace(LIMITS, handshake=10.0, heartbeat=0.8)
CALM_LINK = dataclasses.replace(LINK, handshake=4.0)


@dataclass
class Schedule:
    """What hits whom: phase, direction and fault by client."""

    seed: int
    strikes: dict = field(default_factory=dict)

    @classmethod
    def of(cls, seed, names):
        """Each seed has one slot of phase and direction for one of the faults, and more by chance.

        Over 96 seeds in a row, every fault is in every slot; one seed in ten loses too many.
        """
        draw = random.Random(seed)
        faults = list(Fault)
        phase, direction = SLOTS[seed % len(SLOTS)]
        fault = faults[(seed // len(SLOTS)) % len(faults)]
        order = draw.sample(names, len(names))
        strikes = {order[0]: (phase, direction, fault)}
        for name in order[1 : 1 + draw.choice((0, 0, 1, 2))]:
            strikes[name] = (*draw.choice(SLOTS), draw.choice(TRANSIENT))
        if seed % 10 == 7:
            for name in order[1:4]:
                strikes[name] = (*draw.choice(SLOTS), Fault.KILL)
        return cls(seed, strikes)

    def killed(self, *phases):
        """Who is lost for good, in these phases."""
        return {
            name
            for name, (phase, _, fault) in self.strikes.items()
            if fault is Fault.KILL and phase in phases
        }


def oracle(schedule, names):
    """The survivors of the round; None where there can be no sum."""
    alive = set(names)
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


@dataclass
class Patience:
    """Waits for who may come back as long as a busy machine may take, and for the dead not long."""

    network: Network
    proxy: FaultProxy
    phase: float = 60.0
    training: float = 60.0

    @property
    def reconnect(self):
        absent = set(self.network.hub.absent)
        return 1.0 if absent and absent <= self.proxy.dead else 20.0


def play(schedule, folder, certificates):
    """One schedule; what came of it: `sum` or `abort`."""
    parties = house(
        CLIENTS, plan=make_plan(min_clients=NEEDED, threshold=NEEDED), seed=schedule.seed
    )
    network = Network(
        parties,
        folder,
        limits=CALM,
        link_limits=CALM_LINK,
        certificates=certificates,
    )
    with network:
        names = network.house.names
        proxy = FaultProxy(names, network.port, schedule.seed)
        network.waits = Patience(network, proxy)
        try:
            arm(proxy, schedule, "handshake")
            for name in names:
                network.join(name, port=proxy.port_of(name), wait=False)
            network.wait_for(set(names) - schedule.killed("handshake"), 60.0)
            arm(proxy, schedule, "keys")
            drive = network.attempt(observe=lambda meter: arm(proxy, schedule, after(meter.phase)))
            outcome = drive.run([n for n in names if n not in schedule.killed("handshake")])
            expected = oracle(schedule, names)
            if expected is None:
                assert outcome.aggregate is None, schedule
                return "abort"
            assert outcome.aggregate is not None, (schedule, outcome.error, outcome.excluded)
            lost = {meter.phase: meter.lost for meter in outcome.phases if meter.lost}
            told = (schedule, lost, outcome.excluded, network.refused)
            assert set(outcome.survivors) == expected, told
            network.house.assert_exact(outcome)
            again(network, schedule)
            return "sum"
        finally:
            proxy.close()


def arm(proxy, schedule, phase):
    for name, (when, direction, fault) in schedule.strikes.items():
        if when == phase:
            proxy.arm(name, direction, fault)


def after(phase):
    return PHASES[(PHASES.index(phase) + 1) % len(PHASES)] if phase in PHASES else ""


def again(network, schedule):
    """Nothing of the faults is left: those who live do another round."""
    alive = set(network.house.names) - schedule.killed(*PHASES)
    if len(alive) >= NEEDED:
        network.wait_for(alive, 60.0)
        outcome = network.round(2, members=sorted(alive))
        assert set(outcome.survivors) == alive, schedule
        network.house.assert_exact(outcome)


def play_all(seeds, folder):
    parties = house(CLIENTS)
    schedules = [Schedule.of(seed, parties.names) for seed in seeds]
    certificates = Certificates(folder / "certs")
    for identity in parties.identities.values():
        certificates.client(identity)
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda s: play(s, folder, certificates), schedules))
    wanted = ["abort" if oracle(s, parties.names) is None else "sum" for s in schedules]
    assert ends == wanted
    return Counter(ends), schedules


def test_a_network_that_fails_costs_a_sum_only_where_too_few_are_left(tmp_path):
    ends, schedules = play_all(range(FEW), tmp_path)
    assert sum(ends.values()) == FEW
    assert ends == {"sum": 54, "abort": 6}
    assert {fault for s in schedules for _, _, fault in s.strikes.values()} == set(Fault)
    assert {strike[:2] for s in schedules for strike in s.strikes.values()} == set(SLOTS)


@pytest.mark.nightly
def test_it_is_so_for_every_fault_at_every_phase_and_direction(tmp_path):
    ends, schedules = play_all(range(1000, 1000 + MANY), tmp_path)
    assert sum(ends.values()) == MANY
    struck = {strike for s in schedules for strike in s.strikes.values()}
    assert {(p, d, f) for p, d in SLOTS for f in Fault} <= struck
    assert ends == {"sum": 454, "abort": 50}


def test_the_oracle_counts_who_is_needed():
    names = house(CLIENTS).names
    kill = (names[0], names[1], names[2])
    for phase in PHASES:
        two = Schedule(0, dict.fromkeys(kill[:2], (phase, UP, Fault.KILL)))
        three = Schedule(0, dict.fromkeys(kill, (phase, UP, Fault.KILL)))
        late = phase in ("consistency", "unmasking")
        assert oracle(two, names) == (set(names) if late else set(names[2:]))
        assert oracle(three, names) is None
