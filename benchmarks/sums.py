"""This package's side of a sum in one process: what one round costs a client and the server.

Every party's work is on its own clock: keys, shares, the way from float32 to packed residues and
back to a float vector, and the encoding of its own messages. Enrolment, the plan and the network
are on nobody's.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.dp import Clip
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    PROTOCOLS,
    SERVER,
    Aborted,
    Adversary,
    ClientParty,
    Cohort,
    Done,
    Effect,
    Send,
    ServerParty,
    Source,
    SumPlan,
)
from fedprivacy.vector import Encoded, FixedPoint, Layout, Pipeline, Update, Weigh, Weights

__all__ = ["Case", "Cost", "Parties", "float32_vector", "float32_vectors", "run_ours"]


@dataclass(frozen=True, slots=True)
class Case:
    """One sum: who takes part under which protocol, what is summed, who is lost.

    `lost` clients vanish after the shares, before their input. Each secret is cut into `shares`,
    of which `threshold` recover it; on the complete graph that is one for every client.
    """

    clients: int
    shares: int
    threshold: int
    length: int
    value_bits: int
    lost: int = 0
    clip: float = 8.0
    protocol: str = "secagg"
    adversary: Adversary = Adversary.HONEST_BUT_CURIOUS

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"c{i:05}" for i in range(self.clients))

    @property
    def pipeline(self) -> Pipeline:
        """A mean over clients of the weight 1; the weight is summed with the values."""
        stages = (Clip(self.clip), Weigh(1), FixedPoint(self.value_bits))
        return Pipeline.of(self.length, *stages, weights=Weights.SUMMED)

    @property
    def sizes(self) -> dict[str, int | str]:
        """What a result says of the case."""
        return {
            "protocol": self.protocol,
            "adversary": self.adversary.value,
            "clients": self.clients,
            "shares": self.shares,
            "threshold": self.threshold,
            "lost": self.lost,
            "length": self.length,
            "value_bits": self.value_bits,
            "modulus_bits": self.pipeline.modulus_bits(self.clients),
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round took, and the mean that it came to, `(length,)` float64."""

    mean: NDArray[np.float64] = field(repr=False)
    client_seconds: float
    """Of all phases together; the median over the clients that stayed."""
    server_seconds: float
    bytes_up: float
    """The same of what a client sends."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of all parties together, by phase."""
    bytes_by_phase: dict[str, float] = field(default_factory=dict)
    """What a client sends in each."""


def float32_vector(case: Case, name: str) -> NDArray[np.float32]:
    """A client's vector, well within the clip, so that no values are cut."""
    draw = np.random.default_rng(list(name.encode()))
    vector = draw.standard_normal(case.length, dtype=np.float32)
    vector *= np.float32(case.clip / (2 * case.length**0.5))
    return vector


def float32_vectors(case: Case) -> dict[str, NDArray[np.float32]]:
    """Every client's, by its name."""
    return {name: float32_vector(case, name) for name in case.names}


class Parties:
    """What a case's parties agree on, the same wherever it is made; and the parties."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._protocol = PROTOCOLS[case.protocol]
        self._rng = InsecureTestRng(b"benchmark")
        self._cohort = Cohort.of(case.names, rng=self._rng.child("cohort"))
        self._places = {place.client_id: place for place in self._cohort.memberships()}
        self.pipeline = case.pipeline
        self.plan = SumPlan(
            round_id=self._rng.child("round").bytes(32),
            broadcast=bytes(32),
            suite=Suite(1),
            adversary=case.adversary,
            cohort_size=case.clients,
            cohort_root=self._cohort.root,
            threshold=case.threshold,
            corrupt=0,
            min_clients=2,
            length=self.pipeline.total_length,
            modulus_bits=self.pipeline.modulus_bits(case.clients),
            degree=case.shares - 1 if self._protocol.sparse else 0,
            dropped=case.lost,
        )

    @cached_property
    def _identities(self) -> dict[str, Identity]:
        rng = self._rng.child("identities")
        return {name: Identity.new(name, rng=rng) for name in self.case.names}

    @cached_property
    def _directory(self) -> Directory | None:
        if self.case.adversary is Adversary.HONEST_BUT_CURIOUS:
            return None
        authority = SigningKey.from_seed(self._rng.child("authority").bytes(32))
        keys = [(name, identity.key.public) for name, identity in self._identities.items()]
        return Directory.sign(1, keys, authority)

    def server(self) -> ServerParty:
        graph = self._rng.child("graph")
        return self._protocol.server(self.plan, self._cohort, self._directory, rng=graph)

    def client(self, name: str) -> ClientParty:
        return self._protocol.client(
            self.plan,
            self._places[name],
            identity=self._identities[name],
            directory=self._directory,
            floor=2,
            rand=self._rng.child(name).bytes(self._protocol.rand_bytes),
        )

    def encode(self, name: str, vector: NDArray[np.float32]) -> Encoded:
        """A client's integers from its float32 vector, made when they are read."""
        update = Update(Layout.of(vector).flatten(vector))
        return self.pipeline.encode(update, rng=self._rng.child(f"rounding/{name}"))


class _Round:
    """Drives a round to its end, one message at a time, and holds a clock for each party."""

    def __init__(self, case: Case, vector_of: Callable[[str], NDArray[np.float32]]) -> None:
        self.case = case
        self.seconds: Counter[str] = Counter()
        self.phases: Counter[str] = Counter()
        self.bytes_up: dict[str, Counter[str]] = {name: Counter() for name in case.names}
        self._parties = Parties(case)
        self._parties.client(case.names[0])  # enrols everyone, off the clocks
        self._vector_of = vector_of
        self._phase = ""
        self._server = self._clocked(SERVER, self._parties.server)
        self._clients = {n: self._clocked(n, self._parties.client, n) for n in case.names}
        self._lost = frozenset(case.names[case.clients - case.lost :])

    def _clocked(self, who: str, call: Any, *args: Any) -> Any:
        started = perf_counter()
        try:
            return call(*args)
        finally:
            self._add(who, perf_counter() - started)

    def _add(self, who: str, seconds: float) -> None:
        self.seconds[who] += seconds  # type: ignore[assignment]
        self.phases[self._phase] += seconds  # type: ignore[assignment]

    def _effects(self, who: str, effects: Iterator[Effect]) -> Iterator[Effect]:
        """The same effects; pulling each is on the party's clock."""
        while (effect := self._clocked(who, next, effects, None)) is not None:
            yield effect

    def run(self) -> NDArray[np.float64]:
        self._phase = self._server.phase
        for name in self.case.names:
            self._arrive(name, self._clients[name].start())
        while True:
            answered = list(self._effects(SERVER, self._server.advance()))
            self._phase = self._server.phase
            for effect in answered:
                match effect:
                    case Send(recipient, message):
                        self._ask(recipient, message)
                    case Done(total, survivors) if total is not None:
                        return self._clocked(SERVER, self._mean, total, len(survivors))
                    case Aborted(error):
                        raise error

    def _ask(self, name: str, message: bytes) -> None:
        if self._phase == "input":
            if name in self._lost:
                return
            vector = self._vector_of(name)
            integers = self._clocked(name, self._parties.encode, name, vector)
            self._arrive(name, self._clients[name].contribute(integers))
        self._arrive(name, self._clients[name].receive(SERVER, message))

    def _arrive(self, name: str, effects: Iterator[Effect]) -> None:
        for effect in self._effects(name, effects):
            if isinstance(effect, Send):
                self.bytes_up[name][self._phase] += len(effect.message)
                self._clocked(SERVER, lambda e=effect: list(self._server.receive(name, e.message)))

    def _mean(self, total: Source, survivors: int) -> NDArray[np.float64]:
        return self._parties.pipeline.decode(total, clients=survivors).mean


def run_ours(case: Case, vector_of: Callable[[str], NDArray[np.float32]]) -> Cost:
    """One round over these float32 vectors, each with the weight 1.

    `vector_of` gives a client's when it is due, on nobody's clock. The last `case.lost` clients are
    lost after the shares.
    """
    this = _Round(case, vector_of)
    mean = this.run()
    present = case.names[: case.clients - case.lost]
    sent = [this.bytes_up[name] for name in present]
    return Cost(
        mean=mean,
        client_seconds=statistics.median(this.seconds[name] for name in present),
        server_seconds=this.seconds[SERVER],
        bytes_up=statistics.median(count.total() for count in sent),
        phases={phase: seconds for phase, seconds in this.phases.items() if phase},
        bytes_by_phase={p: statistics.median(count[p] for count in sent) for p in sent[0]},
    )
