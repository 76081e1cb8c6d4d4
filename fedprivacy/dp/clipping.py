"""Clipping: the bound that everything else about privacy rests on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.vector import Update, VectorSpec

__all__ = ["Clip"]

_LEAST, _MOST = 1e-100, 1e100  # far enough inside float64 that squares near the norm are exact


@dataclass(frozen=True, slots=True)
class Clip:
    """Shrink a vector to L2 norm at most `norm`; inside `PerUnit`, each unit's row.

    | input | output |
    |---|---|
    | norm below `norm` by more than float64 rounding | unchanged |
    | zero | zero |
    | longer, up to the largest float64 | same direction, norm just under `norm` |
    | a NaN or infinity | `ConfigurationError` naming the coordinate |

    The norm holds over the real numbers, and so however it is summed in float64.
    """

    norm: float

    def __post_init__(self) -> None:
        if isinstance(self.norm, bool) or not isinstance(self.norm, int | float):
            raise ConfigurationError(f"Clip.norm = {self.norm!r} is not a number: pass one")
        if not _LEAST <= self.norm <= _MOST:
            raise ConfigurationError(
                f"Clip.norm = {self.norm} is outside [{_LEAST}, {_MOST}]: scale the update"
            )

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if spec.integer:
            raise ConfigurationError("Clip needs real values: put it before FixedPoint")
        if spec.max_weight != 1:
            raise ConfigurationError("Clip would undo the weights: put it before Weigh")
        l2 = self.norm if spec.l2 is None else min(spec.l2, self.norm)
        return dataclasses.replace(spec, bound=min(spec.bound, self.norm), l2=l2)

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        spec.check(update.values)
        rows = update.values.reshape(-1, spec.length)
        # With u = 2**-53 and n coordinates, a norm summed in float64, in any order, is off by a
        # factor within 1 +- (n/2 + 2) u, and the scaling below adds less than 4 u. A computed norm
        # of at most norm (1 - 2 (n + 8) u) is therefore at most `norm` however it is looked at.
        target = self.norm * (1 - (spec.length + 8) * 2.0**-52)
        with np.errstate(over="ignore"):  # an infinite norm is longer than the target, too
            long = _norms(rows) > target
        if not long.any():
            return update
        clipped = rows.copy()
        clipped[long] = _scaled(rows[long], target)
        return Update(clipped.reshape(update.values.shape), update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        return values


def _norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.vecdot(rows, rows))
    return norms


def _scaled(rows: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """Rows of norm `target`; each is first divided by its peak, so that no square overflows."""
    peaks = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    rows = rows / peaks[:, None]
    rows *= (target / _norms(rows))[:, None]
    return rows
