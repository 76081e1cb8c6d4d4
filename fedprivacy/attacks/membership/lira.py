"""Likelihood-ratio attacks from shadow models: how usual is the target's confidence in an example?

Source: Carlini et al., "Membership inference attacks from first principles" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from fedprivacy.attacks.torch_models import Shape
from fedprivacy.errors import ConfigurationError

__all__ = ["Shadows", "confidences", "loss_scores"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
_LEAST_EACH = 64
"""Shadows below which variances are taken over all examples together (section VI.B)."""
_LEAST = 1e-3
"""Deviation: confidences of models that agree to the last bit have none."""


def loss_scores(shape: Shape, weights: Floats, inputs: Floats, labels: Labels) -> Floats:
    """Minus the loss of each example: members' are lower, in a model that fits them.

    Source: Yeom et al., "Privacy risk in machine learning: analyzing the connection to overfitting"
    (2018).
    """
    return -shape.losses(weights, inputs, labels)


def confidences(shape: Shape, weights: Floats, inputs: Floats, labels: Labels) -> Floats:
    """log(p / (1 - p)) of the label's probability, `(..., examples)`: close to normal."""
    log_p = shape.log_probabilities(weights, inputs)
    own = np.broadcast_to(labels, log_p.shape[:-1])[..., None]
    chosen = np.take_along_axis(log_p, own, axis=-1)[..., 0]
    others = log_p.copy()
    np.put_along_axis(others, own, -np.inf, axis=-1)
    # 1 - p as the sum of the others: near p = 1 the difference would lose all digits.
    peak = others.max(axis=-1, keepdims=True)
    rest = peak[..., 0] + np.log(np.exp(others - peak).sum(axis=-1))
    found: Floats = chosen - rest
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Shadows:
    """Confidences of shadow models, `(shadows, examples)`, and which were trained on which."""

    confidences: Floats = field(repr=False)
    included: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        inside = self.included.sum(axis=0)
        if inside.min() < 2 or (len(self.included) - inside).min() < 2:
            raise ConfigurationError(
                f"{len(self.included)} shadow models leave an example with fewer than 2 on one "
                "side: train more"
            )

    def online(self, target: Floats) -> Floats:
        """log N(target; in) - log N(target; out), from shadows with and without each example."""
        mean_in, deviation_in = self._fit(self.included)
        mean_out, deviation_out = self._fit(~self.included)
        ratio: Floats = norm.logpdf(target, mean_in, deviation_in) - norm.logpdf(
            target, mean_out, deviation_out
        )
        return ratio

    def offline(self, target: Floats) -> Floats:
        """How many deviations above the shadows without the example: never saturates."""
        mean, deviation = self._fit(~self.included)
        return (target - mean) / deviation

    def _fit(self, chosen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        count = chosen.sum(axis=0)
        mean = np.where(chosen, self.confidences, 0.0).sum(axis=0) / count
        squares = np.where(chosen, (self.confidences - mean) ** 2, 0.0).sum(axis=0)
        if len(self.confidences) >= _LEAST_EACH:
            deviation = np.sqrt(squares / (count - 1))
        else:
            pooled = np.sqrt(squares.sum() / (count - 1).sum())
            deviation = np.full(len(mean), pooled)
        return mean, np.maximum(deviation, _LEAST)
