"""Two sums under nearly one model, over sets that differ by one client: their difference is it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.view import View
from fedprivacy.errors import ConfigurationError

__all__ = ["difference"]


def difference(view: View) -> NDArray[np.float64]:
    """The first sum less the second, `(length,)`."""
    if len(view.sums) != 2:
        raise ConfigurationError(f"{len(view.sums)} sums where the difference of two is taken")
    found: NDArray[np.float64] = view.sums[0] - view.sums[1]
    return found
