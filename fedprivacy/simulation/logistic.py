"""Logistic regression, one gradient an example, and the server's descent with momentum.

The model is small enough for closed forms: a weight per feature and, last, a bias. Nothing here is
random: the same sums give the same weights, bit for bit on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["Descent", "accuracy", "initial_weights", "unit_gradients"]

Floats = NDArray[np.float64]


def initial_weights(features: int) -> Floats:
    """Zeros, `(features + 1,)`: every prediction starts at one half."""
    return np.zeros(features + 1)


def unit_gradients(weights: Floats, features: Floats, labels: Floats) -> Floats:
    """Each example's gradient of the log loss, `(examples, features + 1)` float64.

    `features` is `(examples, features)`, `labels` is `(examples,)` of 0.0 and 1.0. Row i is
    (expit(w.x_i + b) - y_i) * (x_i, 1), the derivative of -log P(y_i | x_i); of no examples, no
    rows.
    """
    error = expit(_logits(weights, features)) - labels
    return np.column_stack([error[:, None] * features, error])


def accuracy(weights: Floats, features: Floats, labels: Floats) -> float:
    """The share of examples on whose side of one half the model is; of no examples, nan."""
    if not len(labels):
        return float("nan")
    return float(np.mean((_logits(weights, features) > 0) == (labels > 0.5)))


def _logits(weights: Floats, features: Floats) -> Floats:
    logits: Floats = features @ weights[:-1] + weights[-1]
    return logits


@dataclass(frozen=True, slots=True)
class Descent:
    """Gradient descent with heavy-ball momentum, as a value: `step` gives the next one.

    `weights` and `velocity` are `(length,)` float64. Source: Polyak, 1964, equation 9.
    """

    learning_rate: float
    momentum: float
    weights: Floats
    velocity: Floats

    @classmethod
    def start(cls, weights: Floats, *, learning_rate: float, momentum: float) -> Descent:
        """The state before the first step: at `weights`, at rest."""
        return cls(learning_rate, momentum, weights, np.zeros_like(weights))

    def step(self, gradient: Floats) -> Descent:
        """One step along the mean gradient."""
        velocity = self.momentum * self.velocity + gradient
        weights = self.weights - self.learning_rate * velocity
        return Descent(self.learning_rate, self.momentum, weights, velocity)
