"""What a simulation trains: patients' gradients at the hospitals, descent at the server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedprivacy.randomness import Rng
from fedprivacy.simulation.hospitals import Consortium, Patients, load_consortium
from fedprivacy.simulation.job import JobFile
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

    consortium: Consortium
    protected: Descent
    unprotected: Descent

    @classmethod
    def start(cls, file: JobFile, *, rng: Rng) -> Training:
        """Deal the data and put both models at zero."""
        consortium = load_consortium(
            file.clients, held_out=file.data.held_out, scales=file.data.features, rng=rng
        )
        model = file.model
        descent = Descent.start(
            initial_weights(len(file.data.features)),
            learning_rate=model.learning_rate,
            momentum=model.momentum,
        )
        return cls(consortium, descent, descent)

    @property
    def length(self) -> int:
        return len(self.protected.weights)

    @property
    def broadcast(self) -> bytes:
        return encode(Broadcast("logistic", self.protected.weights.astype("<f8").tobytes()))

    def update_of(self, client: str, broadcast: bytes) -> Update:
        """A hospital's gradients under the model that it was sent, one row a patient."""
        return Update(_gradients(self.consortium.hospitals[client], read_broadcast(broadcast)))

    def float_sum(self, survivors: Iterable[str], clip: float, weights: Floats) -> Floats:
        """The float64 sum of the survivors' clipped gradients, by code that shares no stage."""
        rows = [_gradients(self.consortium.hospitals[s], weights) for s in survivors]
        gradients = np.concatenate(rows)
        norms = np.sqrt(np.einsum("ij,ij->i", gradients, gradients))
        factors = np.minimum(1.0, clip / np.maximum(norms, np.finfo(np.float64).tiny))
        total: Floats = factors @ gradients
        return total

    def step(
        self, aggregate: Aggregate, survivors: Iterable[str], clip: float, noise: Floats
    ) -> float:
        """Both models take their step; returns the largest difference of the two sums.

        The sums compared are over the same updates, those of the protected model, with the same
        noise, `(length,)`, which the unprotected model does without.
        """
        survivors = tuple(survivors)
        plain = self.float_sum(survivors, clip, self.protected.weights)
        own = self.float_sum(survivors, clip, self.unprotected.weights)
        patients = sum(len(self.consortium.hospitals[s]) for s in survivors)
        self.protected = self.protected.step(aggregate.mean)
        self.unprotected = self.unprotected.step(own / patients)
        return float(np.max(np.abs(aggregate.sum - (plain + noise))))

    def accuracies(self) -> tuple[float, float]:
        """On the held-out patients: of the protected model, and of the unprotected one."""
        held_out = self.consortium.held_out
        protected, unprotected = (
            accuracy(d.weights, held_out.features, held_out.labels)
            for d in (self.protected, self.unprotected)
        )
        return protected, unprotected


def _gradients(patients: Patients, weights: Floats) -> Floats:
    return unit_gradients(weights, patients.features, patients.labels)
