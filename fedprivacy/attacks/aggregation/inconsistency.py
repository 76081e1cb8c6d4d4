"""Another model for everyone but the target, under which the others' first layer says nothing.

Source: Pasquini, Francati, Ateniese, "Eluding secure aggregation in federated learning via model
inconsistency" (2022), section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.models import Layers, Mlp

__all__ = ["silencing"]

Floats = NDArray[np.float64]
_DEAD = -1e6


def silencing(weights: Floats, shape: Mlp) -> Floats:
    """The same model with hidden units that no input in [0, 1] wakes: their gradients are zero.

    In the sum, the first layer's gradient is then the target's alone.
    """
    layers = shape.layers(weights)
    dead = np.full_like(layers.hidden_bias, _DEAD)
    return shape.flat(Layers(layers.hidden, dead, layers.output, layers.output_bias))
