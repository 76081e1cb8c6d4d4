"""What the gradient of a fully connected layer gives away without any search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.models import Mlp

__all__ = ["inputs_of_units", "label_counts", "label_of_one", "loudest_input"]

Floats = NDArray[np.float64]


def inputs_of_units(gradient: Floats, shape: Mlp) -> Floats:
    """What each hidden unit saw, weighted by its errors: `(hidden, inputs)`.

    For one example, or a unit that only one example reaches, this is the input itself: the gradient
    of row i is the input times that of bias i. Zeros where the bias' gradient is zero. Source:
    Phong et al., "Privacy-preserving deep learning via additively homomorphic encryption" (2017).
    """
    layers = shape.layers(gradient)
    bias = layers.hidden_bias[:, None]
    return np.divide(layers.hidden, bias, out=np.zeros_like(layers.hidden), where=bias != 0)


def loudest_input(gradient: Floats, shape: Mlp) -> Floats:
    """The input as the unit with the largest bias gradient saw it, `(inputs,)`."""
    unit = int(np.argmax(np.abs(shape.layers(gradient).hidden_bias)))
    found: Floats = inputs_of_units(gradient, shape)[unit]
    return found


def label_of_one(gradient: Floats, shape: Mlp) -> int:
    """The label of a single example: the one output whose bias has a negative gradient.

    Source: Zhao, Mopuri, Bilen, "iDLG: improved deep leakage from gradients" (2020), section 2.
    """
    return int(np.argmin(shape.layers(gradient).output_bias))


def label_counts(gradient: Floats, shape: Mlp, examples: int, mean_probability: Floats) -> Floats:
    """How many of the examples have each label, `(classes,)` real, from their mean gradient.

    The output bias' gradient is the mean probability less the share of the label; the former comes
    from similar data. Source: Wainakh et al., "User-level label leakage from gradients in federated
    learning" (2022), with known mean probabilities.
    """
    shares = mean_probability - shape.layers(gradient).output_bias
    counts: Floats = examples * np.clip(shares, 0.0, 1.0)
    return counts
