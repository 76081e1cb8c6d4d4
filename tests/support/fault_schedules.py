"""Seeded schedules of faults between a round's parties and its server, and what plays them."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fault_proxy import DOWN, TRANSIENT, UP, Fault, FaultProxy
from tlsdrive import LIMITS, LINK, Certificates, Network

# Generous: a busy machine must not look like a network that fails.
CALM = dataclasses.replace(LIMITS, handshake=10.0, heartbeat=0.8)
CALM_LINK = dataclasses.replace(LINK, handshake=4.0)


@dataclass
class Schedule:
    """What hits whom: phase, direction and fault by party."""

    seed: int
    strikes: dict = field(default_factory=dict)

    @classmethod
    def of(cls, seed, names, slots):
        """Each seed has one slot of phase and direction for one of the faults, and more by chance.

        Over as many seeds in a row as slots times faults, every fault is in every slot; one seed in
        ten loses too many.
        """
        draw = random.Random(seed)
        faults = list(Fault)
        phase, direction = slots[seed % len(slots)]
        fault = faults[(seed // len(slots)) % len(faults)]
        order = draw.sample(names, len(names))
        strikes = {order[0]: (phase, direction, fault)}
        for name in order[1 : 1 + draw.choice((0, 0, 1, 2))]:
            strikes[name] = (*draw.choice(slots), draw.choice(TRANSIENT))
        if seed % 10 == 7:
            for name in order[1:4]:
                strikes[name] = (*draw.choice(slots), Fault.KILL)
        return cls(seed, strikes)

    def killed(self, *phases):
        """Who is lost for good, in these phases."""
        return {
            name
            for name, (phase, _, fault) in self.strikes.items()
            if fault is Fault.KILL and phase in phases
        }


@dataclass(frozen=True)
class Setting:
    """A protocol under faults; `phases` begin with the handshake."""

    phases: tuple
    house: Callable
    """Makes the consortium from a seed."""
    survivors: Callable
    """The oracle: of a schedule, the consortium and the round; None where there is no sum."""

    @property
    def slots(self):
        return [(phase, direction) for phase in self.phases for direction in (UP, DOWN)]

    def schedule(self, seed):
        return Schedule.of(seed, tuple(self.house(0).identities), self.slots)

    def after(self, phase):
        phases = self.phases
        return phases[(phases.index(phase) + 1) % len(phases)] if phase in phases else ""


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


def play(setting, schedule, folder, certificates):
    """One schedule; what came of it: `sum` or `abort`."""
    parties = setting.house(schedule.seed)
    network = Network(
        parties,
        folder,
        limits=CALM,
        link_limits=CALM_LINK,
        certificates=certificates,
    )
    with network:
        names = tuple(parties.identities)
        proxy = FaultProxy(names, network.port, schedule.seed)
        network.waits = Patience(network, proxy)
        try:
            arm(proxy, schedule, "handshake")
            for name in names:
                network.join(name, port=proxy.port_of(name), wait=False)
            dead = schedule.killed("handshake")
            network.wait_for(set(names) - dead, 60.0)
            arm(proxy, schedule, setting.phases[1])
            drive = network.attempt(
                observe=lambda meter: arm(proxy, schedule, setting.after(meter.phase))
            )
            outcome = drive.run([n for n in names if n not in dead])
            expected = setting.survivors(schedule, parties, 1)
            if expected is None:
                assert outcome.aggregate is None, schedule
                return "abort"
            assert outcome.aggregate is not None, (schedule, outcome.error, outcome.excluded)
            lost = {meter.phase: meter.lost for meter in outcome.phases if meter.lost}
            told = (schedule, lost, outcome.excluded, network.refused)
            assert set(outcome.survivors) == expected, told
            parties.assert_exact(outcome)
            again(setting, network, schedule)
            return "sum"
        finally:
            proxy.close()


def arm(proxy, schedule, phase):
    for name, (when, direction, fault) in schedule.strikes.items():
        if when == phase:
            proxy.arm(name, direction, fault)


def again(setting, network, schedule):
    """Nothing of the faults is left: those who live do another round."""
    dead = schedule.killed(*setting.phases)
    gone = Schedule(schedule.seed, dict.fromkeys(dead, ("handshake", UP, Fault.KILL)))
    expected = setting.survivors(gone, network.house, 2)
    if expected is not None:
        alive = set(network.house.identities) - dead
        network.wait_for(alive, 60.0)
        outcome = network.round(2, members=sorted(alive))
        assert set(outcome.survivors) == expected, schedule
        network.house.assert_exact(outcome)


def play_all(setting, seeds, folder):
    """How they ended, counted, and the schedules; each is as the oracle says."""
    parties = setting.house(0)
    schedules = [setting.schedule(seed) for seed in seeds]
    certificates = Certificates(folder / "certs")
    for identity in parties.identities.values():
        certificates.client(identity)
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda s: play(setting, s, folder, certificates), schedules))
    wanted = ["abort" if setting.survivors(s, parties, 1) is None else "sum" for s in schedules]
    assert ends == wanted
    return Counter(ends), schedules
