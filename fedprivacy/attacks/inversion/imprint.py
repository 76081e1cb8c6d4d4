"""A crafted first layer that sorts examples into bins: Robbing the Fed.

The server is malicious: it sends these weights, and reads single examples from a sum of many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.models import Layers, Mlp

__all__ = ["alone_share", "imprint", "imprinted"]

Floats = NDArray[np.float64]


def imprint(shape: Mlp, similar: Floats, draw: Draw) -> Floats:
    """Weights whose hidden units share one direction and fire from one quantile on each.

    `similar` are other inputs, `(examples, inputs)`: their measurements along the direction give
    the quantiles. All units have the same weights towards the output, so that an example leaves the
    same error in each that it reaches. Source: Fowl et al., "Robbing the Fed: directly obtaining
    private data in federated learning with modified models" (2022), section 4.
    """
    direction = draw.normals(shape.inputs) / np.sqrt(shape.inputs)
    edges = np.quantile(similar @ direction, (np.arange(shape.hidden) + 0.5) / shape.hidden)
    to_output = draw.normals(shape.classes, 1) / shape.hidden
    layers = Layers(
        np.tile(direction, (shape.hidden, 1)),
        -edges,
        np.tile(to_output, (1, shape.hidden)),
        np.zeros(shape.classes),
    )
    return shape.flat(layers)


def imprinted(gradient: Floats, shape: Mlp) -> Floats:
    """A candidate for each bin, `(hidden, inputs)`: where one example fell in it, the example.

    Units i and i + 1 differ by the examples between their edges; the last stands alone. Zeros for a
    bin in which there is none.
    """
    layers = shape.layers(gradient)
    bias = np.append(-np.diff(layers.hidden_bias), layers.hidden_bias[-1])[:, None]
    rows = np.vstack([-np.diff(layers.hidden, axis=0), layers.hidden[-1:]])
    found: Floats = np.divide(rows, bias, out=np.zeros_like(rows), where=bias != 0)
    return found


def alone_share(examples: int, bins: int) -> float:
    """The share of examples alone in their bin, on average, if bins are equally likely."""
    return float((1 - 1 / bins) ** (examples - 1))
