"""What a simulation trains: one gradient a unit at the clients, descent at the server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedprivacy.randomness import Rng
from fedprivacy.rounds import Plan
from fedprivacy.simulation.dealing import Population
from fedprivacy.simulation.job import Job
from fedprivacy.simulation.logistic import Descent, accuracy, initial_weights, unit_gradients
from fedprivacy.vector import Aggregate, Update
from fedprivacy.wire import Record, encode

__all__ = ["Broadcast", "Training", "read_broadcast"]

Floats = NDArray[np.float64]


class Broadcast(Record, frozen=True):
    """All that a client is sent and that can influence its update."""

    kind: str
    weights: bytes
    """Little-endian float64."""


def read_broadcast(data: bytes) -> Floats:
    """The weights in a broadcast whose hash was checked."""
    return np.frombuffer(msgspec.msgpack.decode(data, type=Broadcast).weights, dtype="<f8")


@dataclass(slots=True)
class Training:
    """The run's model, beside the same model trained on float64 sums of the same updates."""

    plan: Plan
    population: Population
    protected: Descent
    unprotected: Descent

    @classmethod
    def start(cls, job: Job, *, rng: Rng) -> Training:
        """Deal the data and put both models at zero."""
        file, model = job.file, job.file.model
        population = file.data.deal(file.clients, rng=rng)
        descent = Descent.start(
            initial_weights(population.held_out.features.shape[1]),
            learning_rate=model.learning_rate,
            momentum=model.momentum,
        )
        return cls(job.plan, population, descent, descent)

    @property
    def length(self) -> int:
        return len(self.protected.weights)

    @property
    def broadcast(self) -> bytes:
        return encode(Broadcast("logistic", self.protected.weights.astype("<f8").tobytes()))

    def update_of(self, client: str, broadcast: bytes) -> Update:
        """A client's gradients under the model that it was sent: a row a unit, or its own alone."""
        vectors = self._vectors(client, read_broadcast(broadcast))
        return Update(vectors if self.plan.protects_units else vectors[0])

    def float_sum(self, survivors: Iterable[str], weights: Floats, clip: float) -> Floats:
        """The float64 sum of the survivors' clipped gradients, by code that shares no stage."""
        gradients = np.concatenate([self._vectors(s, weights) for s in survivors])
        norms = np.sqrt(np.einsum("ij,ij->i", gradients, gradients))
        least = np.finfo(np.float64).tiny
        factors = np.minimum(1.0, clip / np.maximum(norms, least))
        total: Floats = factors @ gradients
        return total

    def step(
        self, aggregate: Aggregate, survivors: Iterable[str], noise: Floats, clip: float
    ) -> float:
        """Both models take their step; returns the largest difference of the two sums.

        The sums compared are over the same updates, those of the protected model, with the same
        noise, `(length,)`, which the unprotected model does without.
        """
        survivors = tuple(survivors)
        plain = self.float_sum(survivors, self.protected.weights, clip)
        own = self.float_sum(survivors, self.unprotected.weights, clip)
        self.protected = self.protected.step(aggregate.mean)
        self.unprotected = self.unprotected.step(own / sum(map(self._units, survivors)))
        return float(np.max(np.abs(aggregate.sum - (plain + noise))))

    def accuracies(self) -> tuple[float, float]:
        """On the held-out examples: of the protected model, and of the unprotected one."""
        held_out = self.population.held_out
        protected, unprotected = (
            accuracy(d.weights, held_out.features, held_out.labels)
            for d in (self.protected, self.unprotected)
        )
        return protected, unprotected

    def _units(self, client: str) -> int:
        return len(self.population.clients[client]) if self.plan.protects_units else 1

    def _vectors(self, client: str, weights: Floats) -> Floats:
        """One gradient a unit, `(units, length)`: of each example, or the mean over a client's."""
        examples = self.population.clients[client]
        gradients = unit_gradients(weights, examples.features, examples.labels)
        return gradients if self.plan.protects_units else gradients.mean(axis=0, keepdims=True)
