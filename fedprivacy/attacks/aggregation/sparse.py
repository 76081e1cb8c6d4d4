"""Coordinates that only one client touches: in the sum they stand as that client sent them.

Rows of an embedding are such: words that one client alone has. The remedy of arXiv 2508.04285 is to
reveal a coordinate only where enough clients touch it, which no protocol here does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

__all__ = ["lonely", "recovered"]

Floats = NDArray[np.float64]


def lonely(touched: NDArray[np.bool_], client: int) -> NDArray[np.intp]:
    """Where this row of `(clients, length)` is the only one that is true."""
    found: NDArray[np.intp] = np.flatnonzero(touched[client] & (touched.sum(axis=0) == 1))
    return found


def recovered(total: Floats, true: Floats, places: NDArray[np.intp], tolerance: float) -> float:
    """The share of these coordinates that the sum shows to within a relative tolerance."""
    if not len(places):
        raise ConfigurationError("no coordinate is one client's alone: there is nothing to find")
    near = np.abs(total[places] - true[places]) <= tolerance * np.abs(true[places])
    return float(near.mean())
