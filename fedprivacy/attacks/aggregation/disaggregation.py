"""Every client's usual update from many sums, where it is known who was in which.

Source: Lam et al., "Gradient disaggregation: breaking privacy in federated learning by
reconstructing the user participant matrix" (2021), with the matrix known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

__all__ = ["alike", "usual_updates"]

Floats = NDArray[np.float64]


def usual_updates(sums: Floats, participation: Floats) -> Floats:
    """The updates that explain the sums best, `(clients, length)`, the shortest where many do.

    `sums` is `(rounds, length)`, `participation` `(rounds, clients)` of 0 and 1.
    """
    if len(sums) != len(participation):
        raise ConfigurationError(
            f"{len(sums)} sums with {len(participation)} rows of participation: one each"
        )
    return np.asarray(np.linalg.lstsq(participation, sums, rcond=None)[0], dtype=np.float64)


def alike(found: Floats, true: Floats) -> float:
    """The cosine of two vectors; zero where one vanishes."""
    norms = float(np.linalg.norm(found) * np.linalg.norm(true))
    # What is left of zeros by rounding has a direction, but says nothing.
    if np.linalg.norm(found) < 1e-9 * np.linalg.norm(true) or not norms:
        return 0.0
    return float(found @ true) / norms
