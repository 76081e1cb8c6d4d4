"""Clipping: the bound that everything else about privacy rests on."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.vector import BLOCK_VALUES, Repeatable, Update, VectorSpec, check_whole

__all__ = ["Clip", "ClipLayers", "NonFinite", "squared_norms"]

_LEAST, _MOST = 1e-100, 1e100  # far enough inside float64 that squares near the norm are exact


class NonFinite(enum.Enum):
    """What becomes of a vector with a NaN or an infinity in it."""

    REFUSED = "refused"
    """An error on the client's own side."""
    ZERO = "zero"
    """It counts as zero: with noise, a refusal would show that somebody's data is there."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Shrink a vector to L2 norm at most `norm`; inside `PerUnit`, each unit's row.

    | input | output |
    |---|---|
    | norm below `norm` by more than float64 rounding | unchanged |
    | zero | zero |
    | longer, up to the largest float64 | same direction, norm just under `norm` |
    | a NaN or infinity | `ConfigurationError` naming the coordinate; zero with `NonFinite.ZERO` |

    The norm holds over the real numbers, and so however it is summed in float64.
    """

    norm: float
    non_finite: NonFinite = NonFinite.REFUSED

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
        values = _taken(update, spec, self.non_finite)
        # With u = 2**-53 and n coordinates, a norm summed in float64, in any order, is off by a
        # factor within 1 +- (n/2 + 2) u, and the scaling below adds less than 4 u. A computed norm
        # of at most norm (1 - 2 (n + 8) u) is therefore at most `norm` however it is looked at.
        target = self.norm * (1 - (spec.length + 8) * 2.0**-52)
        with np.errstate(over="ignore"):  # an infinite norm is longer than the target, too
            long = np.sqrt(squared_norms(values)) > target
        if not long.any():
            return Update(values, update.weight)
        # Each long row is first divided by its peak, so that no square overflows.
        peaks = np.where(long, _peaks(values), 1.0)[..., None]
        norms = np.where(long, np.sqrt(squared_norms(values, peaks)), target)
        factors = (target / norms)[..., None]
        clipped = Repeatable(values.shape, lambda part: values[..., part] / peaks * factors)
        return Update(clipped, update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        return values


@dataclass(frozen=True, slots=True)
class ClipLayers:
    """Shrink each layer of a vector by itself, so that the whole has L2 norm at most `norm`.

    Layer i is the next `lengths[i]` coordinates, and each is clipped as by `Clip`, to norm /
    sqrt(layers): a layer with long gradients does not shrink the others. What is not finite in any
    layer concerns the whole vector.
    Source: McMahan, Ramage, Talwar, Zhang, "Learning differentially private recurrent language
    models" (2018), section 2.1, per-layer clipping.
    """

    norm: float
    lengths: tuple[int, ...]
    non_finite: NonFinite = NonFinite.REFUSED

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ConfigurationError("ClipLayers.lengths is empty: give each layer's length")
        for length in self.lengths:
            check_whole("ClipLayers.lengths", length, 1, 1 << 40)
        Clip(self.norm, self.non_finite)
        _ = self._each

    @property
    def _each(self) -> Clip:
        """Of one layer; downwards, so that the squares of all add up to no more than the norm's."""
        share = self.norm / math.sqrt(len(self.lengths)) * (1 - 2.0**-51)
        return Clip(share, self.non_finite)

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if sum(self.lengths) != spec.length:
            raise ConfigurationError(
                f"ClipLayers.lengths add up to {sum(self.lengths)} where a vector has "
                f"{spec.length} values: name every layer, in the order of the vector"
            )
        after = Clip(self.norm).admit(spec)
        return dataclasses.replace(after, bound=min(after.bound, self._each.norm))

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        values = _taken(update, spec, self.non_finite)
        ends = list(itertools.accumulate(self.lengths))
        layers = []
        for end, length in zip(ends, self.lengths, strict=True):
            one = dataclasses.replace(spec, length=length)
            part = Update(values[..., end - length : end], update.weight)
            layers.append(self._each.encode(part, one, rng=rng).values)

        def columns(part: slice) -> NDArray[Any]:
            blocks = []
            for end, length, layer in zip(ends, self.lengths, layers, strict=True):
                start = end - length
                low, high = max(part.start, start), min(part.stop, end)
                if low < high:
                    blocks.append(layer[..., low - start : high - start])
            return np.concatenate(blocks, axis=-1)

        return Update(Repeatable(values.shape, columns), update.weight)

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        return values


def _taken(update: Update, spec: VectorSpec, non_finite: NonFinite) -> NDArray[Any]:
    """The update's values, checked; none of what is left is a NaN or an infinity."""
    if non_finite is NonFinite.REFUSED:
        spec.check(update.values)
        return np.asarray(update.values)
    spec.check_shape(update.values)
    return _zeroed(np.asarray(update.values))


def _zeroed(values: NDArray[Any]) -> NDArray[Any]:
    """Zeros in the place of each row with a NaN or an infinity; a copy only if there is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = ~np.isfinite(squared_norms(values))  # or its squares overflow
    if not suspect.any():
        return values
    rows = values.reshape(-1, values.shape[-1])
    bad = np.zeros(len(rows), dtype=bool)
    for row in np.flatnonzero(suspect):
        bad[row] = not np.isfinite(rows[row]).all()
    return np.where(bad.reshape(*suspect.shape, 1), values.dtype.type(0), values)


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Columns of a few rows at a time, as float64; each is overwritten by the next."""
    width = max(1, BLOCK_VALUES // max(1, math.prod(values.shape[:-1])))
    scratch = np.empty((*values.shape[:-1], min(width, values.shape[-1])))
    for start in range(0, values.shape[-1], width):
        block = values[..., start : start + width]
        taken = scratch[..., : block.shape[-1]]
        np.copyto(taken, block)
        yield taken


def squared_norms(values: NDArray[Any], peaks: NDArray[np.float64] | None = None) -> Any:
    """Each row's sum of squares, divided by the square of its peak where that is given."""
    total = np.zeros(values.shape[:-1])
    for block in _blocks(values):
        part = block if peaks is None else block / peaks
        # On this thread: a threaded dot product waits for cores that others use.
        total = total + np.einsum("...i,...i->...", part, part)
    return total


def _peaks(values: NDArray[Any]) -> Any:
    """Each row's largest magnitude."""
    most = np.zeros(values.shape[:-1])
    for block in _blocks(values):
        most = np.maximum(most, np.maximum(block.max(axis=-1), -block.min(axis=-1)))
    return most
