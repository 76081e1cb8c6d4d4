"""How often each label occurs at the clients of a round, from the last layer of their sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.models import Mlp

__all__ = ["label_shares", "likeness"]

Floats = NDArray[np.float64]


def label_shares(total: Floats, clients: float, shape: Mlp, mean_probability: Floats) -> Floats:
    """The share of each label among all examples, `(classes,)`, from a sum of mean gradients.

    `mean_probability` is what the model says of similar data on average: the last bias' gradient is
    that less the shares. Where gradients are clipped, `clients` is how much is left of them on
    average, times how many there are. A property of the cohort, and of none of its clients alone.
    """
    shares = mean_probability - shape.layers(total).output_bias / clients
    positive = np.clip(shares, 0.0, None)
    found: Floats = positive / max(positive.sum(), 1e-12)
    return found


def likeness(found: Floats, true: Floats) -> float:
    """One less the total variation of two distributions: 1 where they are the same."""
    return 1.0 - float(np.abs(found - true).sum()) / 2
