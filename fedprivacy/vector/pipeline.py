"""From one client's update to signed integers with a proved bound, and from their sum back."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import MAX_BITS, modulus_bits
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Rng
from fedprivacy.vector.fixedpoint import Weigh
from fedprivacy.vector.spec import (
    BLOCK_VALUES,
    Lazy,
    Stage,
    Update,
    VectorSpec,
    chain,
    check_whole,
    mixes,
)

__all__ = ["Aggregate", "Encoded", "Pipeline", "Weights"]

_MANY = 1 << 32


class Weights(enum.Enum):
    """How the total weight, by which a mean divides, becomes known."""

    UNIFORM = "uniform"
    """Each client counts one: nothing is sent."""
    SUMMED = "summed"
    """The weight is one more integer coordinate, the last, and as hidden as the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """What a round yields: the sum over clients, `(length,)` real, and its total weight."""

    sum: NDArray[np.float64] = field(repr=False)
    weight: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """The sum divided by the weight; zeros when nothing was summed."""
        return self.sum / self.weight if self.weight else np.zeros_like(self.sum)


class Source(Protocol):
    """Integers that are read slice by slice, `source[a:b]` int64."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.int64]: ...


class Encoded:
    """A client's integers as a source: `source[a:b]` int64, read once, front to back."""

    def __init__(self, values: NDArray[Any] | Lazy, ends: tuple[int, ...]) -> None:
        self._values = values
        self._ends = np.array(ends, dtype=np.int64)

    def __len__(self) -> int:
        return self._values.shape[-1] + len(self._ends)

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        start, stop, _ = part.indices(len(self))
        length = self._values.shape[-1]
        values: NDArray[np.int64] = self._values[..., start : min(stop, length)]
        return values if stop <= length else np.append(values, self._ends[: stop - length])

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        step = BLOCK_VALUES
        return np.concatenate([self[a : a + step] for a in range(0, len(self), step)], dtype=dtype)


def _kept(update: Update) -> Update:
    """The update with values that nobody can change; units are summed at once and need no copy."""
    values = update.values
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        return update
    return update if _is_fixed(values) else Update(values.copy(), update.weight)


def _is_fixed(array: NDArray[Any]) -> bool:
    """Whether neither the array nor what it is a view of can be written to.

    Other views of an array of its own memory are not seen.
    """
    if array.flags.writeable:
        return False
    base: object = array.base
    if isinstance(base, mmap):
        return memoryview(base).readonly
    return base is None or (isinstance(base, np.ndarray) and _is_fixed(base))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages that fit each other, in the order in which a client applies them.

    Made by `Pipeline.of`. `specs` has one entry more than `stages`: what enters each stage, and
    what leaves the last.
    """

    length: int
    stages: tuple[Stage, ...]
    weights: Weights
    specs: tuple[VectorSpec, ...] = field(repr=False)

    @classmethod
    def of(cls, length: int, *stages: Stage, weights: Weights) -> Pipeline:
        """The pipeline of these stages for vectors of `length` coordinates.

        Raises `ConfigurationError`, with the remedy, when the order does not work or one client's
        integers alone overflow the largest modulus.
        """
        check_whole("length", length, 1, _MANY)
        specs = chain(stages, VectorSpec(length))
        if not specs[-1].integer or specs[-1].per_unit:
            raise ConfigurationError("a pipeline must end in integers: put FixedPoint last")
        if specs[-1].noise and weights is Weights.SUMMED:
            raise ConfigurationError(
                "weights = summed would tell the total weight without noise: use uniform weights, "
                "and divide by a public number"
            )
        pipeline = cls(length, stages, weights, specs)
        pipeline.modulus_bits(1)
        return pipeline

    @property
    def total_length(self) -> int:
        """The number of integers that a client sends: a rotation pads the vector."""
        return self.specs[-1].length + (self.weights is Weights.SUMMED)

    @property
    def client_bound(self) -> int:
        """The largest magnitude of an integer that one client sends, its weight included."""
        spec = self.specs[-1]
        summed = spec.max_weight if self.weights is Weights.SUMMED else 0
        return max(int(spec.bound), summed)

    def modulus_bits(self, clients: int) -> int:
        """The fewest bits modulo which a sum over so many clients cannot wrap."""
        check_whole("clients", clients, 1, _MANY)
        bits = modulus_bits(clients * self.client_bound)
        if bits > MAX_BITS:
            raise ConfigurationError(
                f"clients = {clients} of up to {self.client_bound} each need a modulus of {bits} "
                f"bits where {MAX_BITS} are the most: lower value_bits, max_units or max_weight"
            )
        return bits

    def quantisation_bound(self, total_weight: int) -> float:
        """More than any coordinate of a decoded sum differs from the sum of the clipped inputs.

        Noise is left out: this is what rounding alone does. `total_weight` is the aggregate's. The
        sum compared with is the exact one, or one taken in float64 in any order. Above zero even
        for a total weight of zero.
        """
        check_whole("total_weight", total_weight, 0, 1 << MAX_BITS)
        spec = self.specs[-1]
        if spec.scale is None:
            raise ConfigurationError("a pipeline without FixedPoint has no scale: put it in")
        # m values are rounded: m <= total weight, since a vector of weight 0 is all zeros and
        # rounds to them; uniform weights do not count the units.
        m = max(1, total_weight) * (spec.max_units if self.weights is Weights.UNIFORM else 1)
        limit = (spec.bound - spec.noise) / spec.max_units  # the magnitude of one rounded value
        # In integer units: rounding moves each by < 1. With u = 2**-53, scaling and weighting
        # move each by < 4 limit u, decoding the sum by < 3 m limit u, this line by its own few u,
        # and a float64 sum of m values of at most `limit` is off by < m (m limit) u.
        moved = m * (1 + limit * (2.0**-49 + m * 2.0**-53)) / spec.scale
        if any(mixes(stage) for stage in self.stages):
            # A rotation may put all that moved, as a norm, into one coordinate. It errs itself by
            # less than 2**-45 of the norms, of less than 2**31 steps each: a 2**-14th of a step.
            moved *= math.sqrt(spec.length) * (1 + 2.0**-13)
        return moved

    def encode(self, update: Update, *, rng: Rng) -> Encoded:
        """One client's integers, `(total_length,)` int64 in [-client_bound, client_bound].

        They are made when they are read, which works once, from the first to the last. The update
        is copied, unless it is read-only: what is sent must not change after its norm was taken.
        """
        if update.weight != 1 and not any(isinstance(stage, Weigh) for stage in self.stages):
            raise ConfigurationError(
                f"update.weight = {update.weight} where no stage weighs and each counts one: "
                "leave it at 1 or put Weigh before FixedPoint"
            )
        update = _kept(update)
        for stage, spec in zip(self.stages, self.specs, strict=False):
            update = stage.encode(update, spec, rng=rng)
        ends = () if self.weights is Weights.UNIFORM else (update.weight,)
        return Encoded(update.values, ends)

    def decode(
        self,
        total: Source,
        *,
        clients: int,
        out: NDArray[Any] | None = None,
        added: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
    ) -> Aggregate:
        """The aggregate of so many clients from the sum of their integers, read slice by slice.

        `total` is an array, or anything that gives int64 by slices, of length `total_length`. It is
        decoded block by block, unless a stage mixes the coordinates: then it lies in memory whole.
        The sum goes into `out`, `(length,)` float32 or float64, a memory map perhaps, where that is
        given. `added` takes each block of integers, once it is checked and in order, and gives
        those that are decoded instead: with noise. Raises `PeerError` (`SUM_RANGE`), naming no
        culprit, for a total that so many honest clients cannot add up to.
        """
        check_whole("clients", clients, 1, _MANY)
        if len(total) != self.total_length:
            raise ConfigurationError(
                f"the total has {len(total)} values where the pipeline makes {self.total_length}: "
                "pass the whole sum"
            )
        result = np.empty(self.length) if out is None else out
        whole = max((i + 1 for i, stage in enumerate(self.stages) if mixes(stage)), default=0)
        between = self.specs[whole]
        target = np.empty(between.length, np.int64 if between.integer else np.float64)
        if not whole:
            target = result
        for start in range(0, between.length, BLOCK_VALUES):
            part = slice(start, min(start + BLOCK_VALUES, between.length))
            values = total[part]
            self._check_values(values, clients)
            if added is not None:
                values = added(values)
            target[part] = self._decoded(values, whole, len(self.stages))
        if whole:
            result[:] = self._decoded(target, 0, whole)
        return Aggregate(result, self._weight(total, clients))

    def _decoded(self, values: NDArray[Any], first: int, last: int) -> NDArray[Any]:
        """The stages from `first` up to `last` undone, in reverse."""
        for i in reversed(range(first, last)):
            values = self.stages[i].decode(values, self.specs[i])
        return values

    def _check_values(self, values: NDArray[np.int64], clients: int) -> None:
        if values.dtype != np.int64:
            raise ConfigurationError(
                f"the total is {values.dtype} where int64 is wanted: centre the residues of the sum"
            )
        bound = clients * int(self.specs[-1].bound)
        least, most = int(values.min()), int(values.max())
        if least < -bound or most > bound:
            worst = least if least < -bound else most
            raise PeerError(
                Reason.SUM_RANGE,
                f"the total has a coordinate {worst} where {clients} clients reach {bound} at most",
            )

    def _weight(self, total: Source, clients: int) -> int:
        if self.weights is Weights.UNIFORM:
            return clients
        (weight,) = (int(w) for w in total[self.total_length - 1 : self.total_length])
        heaviest = clients * self.specs[-1].max_weight
        if not 0 <= weight <= heaviest:
            raise PeerError(
                Reason.SUM_RANGE,
                f"the total weight is {weight} where {clients} clients weigh 0 to {heaviest}",
            )
        return weight
