"""Membership from what clients send in one round: no shadow models, only gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

__all__ = ["Metric", "cosine_scores", "fedmia_scores"]

Floats = NDArray[np.float64]
_RIDGE = 1e-2
"""Of the mean eigenvalue, added to all: similar data show fewer directions than there are."""


class Metric:
    """A geometry in which gradients of similar data, `(examples, length)`, are a round cloud.

    What all gradients have in common says nothing of one example: the mean is taken off, and
    directions in which all vary count less. With as many similar gradients as can be had, the
    cosine in it is the likelihood ratio of normal gradients, up to its scale.
    """

    def __init__(self, similar: Floats) -> None:
        if len(similar) < 2:
            raise ConfigurationError(f"{len(similar)} similar gradients show no spread: 2 or more")
        self.mean: Floats = similar.mean(axis=0)
        self._rows = similar - self.mean
        inner = self._rows @ self._rows.T
        self._ridge = max(_RIDGE * float(np.trace(inner)) / len(inner), 1e-12)
        self._inverse = np.linalg.inv(inner + self._ridge * np.eye(len(inner)))

    def lowered(self, vectors: Floats) -> Floats:
        """Each row times the inverse covariance, by the identity of Woodbury."""
        explained = (vectors @ self._rows.T) @ self._inverse @ self._rows
        lowered: Floats = (vectors - explained) / self._ridge
        return lowered

    def cosines(self, gradients: Floats, update: Floats, count: float = 1.0) -> Floats:
        """Of each gradient with a sum of `count` mean gradients, but for the update's own norm."""
        centred = gradients - self.mean
        aim = self.lowered(centred)
        norms = np.sqrt(np.maximum(np.einsum("ij,ij->i", aim, centred), 1e-300))
        found: Floats = aim @ (update - count * self.mean) / norms
        return found


def cosine_scores(gradients: Floats, update: Floats) -> Floats:
    """The cosine of each candidate's gradient, `(candidates, length)`, with what was sent.

    Zero where either vanishes. Source: Li, Li, Ribeiro, "Effective passive membership inference
    attacks in federated learning against overparameterized models" (2023).
    """
    norms = np.linalg.norm(gradients, axis=1) * np.linalg.norm(update)
    found: Floats = np.divide(
        gradients @ update, norms, out=np.zeros(len(gradients)), where=norms > 0
    )
    return found


def fedmia_scores(gradients: Floats, update: Floats, others: Floats) -> Floats:
    """How unusual that cosine is among those with the other clients' updates, in deviations.

    `others` is `(clients, length)`: none of them was trained on the candidate, and so they give the
    null distribution. Source: Zhu et al., "FedMIA: an effective membership inference attack
    exploiting the all-for-one principle in federated learning" (2024), the cosine variant.
    """
    if len(others) < 2:
        raise ConfigurationError(f"{len(others)} other updates give no null: 2 or more")
    null = np.array([cosine_scores(gradients, other) for other in others])
    deviation = np.maximum(null.std(axis=0, ddof=1), 1e-12)
    scores: Floats = (cosine_scores(gradients, update) - null.mean(axis=0)) / deviation
    return scores
