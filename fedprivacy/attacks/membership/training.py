"""Federated averaging of the small network, many runs side by side: what shadow models imitate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.torch_models import Shape

__all__ = ["Averaging"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Averaging:
    """Each round, each client takes `steps` full-batch steps and sends how far it came.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized
    data" (2017), algorithm 1, with all clients and full batches.
    """

    shape: Shape
    rounds: int
    steps: int
    rate: float
    server_rate: float = 1.0
    clip: float = np.inf
    """L2 norm of what a client sends; every run imitates the plan's."""

    def local(self, weights: Floats, inputs: Floats, labels: Labels) -> Floats:
        """What clients send from here: `(..., length)` for weights `(..., length)`."""
        here = weights
        for _ in range(self.steps):
            here = here - self.rate * self.shape.gradient(here, inputs, labels)
        return here - weights

    def applied(self, weights: Floats, total: Floats, clients: int) -> Floats:
        """The model after a round with this sum."""
        return weights + self.server_rate * total / clients

    def train(self, weights: Floats, inputs: Floats, labels: Labels) -> Floats:
        """Final models, `(models, length)`, of `(models, clients, examples, inputs)`."""
        clients = inputs.shape[1]
        for _ in range(self.rounds):
            sent = self.local(
                np.broadcast_to(weights[:, None], (*inputs.shape[:2], self.shape.length)),
                inputs,
                labels,
            )
            norms = np.linalg.norm(sent, axis=-1, keepdims=True)
            clipped = sent * np.minimum(1.0, self.clip / np.maximum(norms, 1e-300))
            weights = self.applied(weights, clipped.sum(axis=1), clients)
        return weights
