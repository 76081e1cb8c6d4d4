"""What a pipeline's stages tell each other: the vector's shape, its proved bounds, one update.

A stage is a frozen value. `admit` says what leaves it when a given vector enters, or refuses with
the remedy; `encode` is what a client does to its own update; `decode` undoes it on the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng

__all__ = [
    "BLOCK_VALUES",
    "Lazy",
    "Repeatable",
    "Stage",
    "Update",
    "VectorSpec",
    "chain",
    "check_whole",
    "mixes",
]

BLOCK_VALUES = 1 << 16  # values worked on at a time: half a megabyte of float64


class Lazy:
    """Values that are made when they are read: once, from the first column to the last.

    `values[..., a:b]` gives a fresh array of these columns, as it would of an array. A vector never
    needs to lie in memory whole.
    """

    __slots__ = ("_at", "_make", "shape")

    def __init__(self, shape: tuple[int, ...], make: Callable[[slice], NDArray[Any]]) -> None:
        self.shape = shape
        self._make = make
        self._at = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: tuple[EllipsisType, slice]) -> NDArray[Any]:
        start, stop, _ = index[1].indices(self.shape[-1])
        if start != self._at and not self._begins_again(start):
            raise ValueError(f"values from {start} on, where {self._at} are next: read them once")
        self._at = stop
        return self._make(slice(start, stop))

    def _begins_again(self, start: int) -> bool:
        return False

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        width = max(1, BLOCK_VALUES // max(1, math.prod(self.shape[:-1])))
        parts = [self[..., a : a + width] for a in range(0, self.shape[-1], width)]
        return np.concatenate(parts, axis=-1, dtype=dtype)


class Repeatable(Lazy):
    """Values that come out the same each time: after some columns, reading may begin again."""

    __slots__ = ()

    def _begins_again(self, start: int) -> bool:
        return start == 0


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """One client's contribution on its way through the stages.

    `values` is float32 or float64 until it is rounded and int64 from then on: `(length,)`, or
    `(units, length)` where a stage works on each unit. `weight` says how much the client counts.
    """

    values: NDArray[Any] | Lazy = field(repr=False)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """What is proved of the vector at one place in a pipeline.

    `bound` is the largest magnitude of a coordinate and `l2` the largest norm (None: unbounded)
    of what one client sends; where `per_unit` holds, of one unit's row. Both are in the unit that
    the values have there: real before rounding, integer after. `scale` is the integer that 1.0
    became.

    `unit_l2` and `unit_l1` are the largest norms of the integers that one unit of privacy adds to
    the sum, the client itself where there are no smaller ones: the sensitivities. `noise` is the
    largest magnitude of a client's noise, which `bound` includes.
    """

    length: int
    integer: bool = False
    bound: float = math.inf
    l2: float | None = None
    per_unit: bool = False
    max_units: int = 1
    max_weight: int = 1
    scale: float | None = None
    unit_l2: float | None = None
    unit_l1: float | None = None
    noise: int = 0

    def check(self, values: object) -> None:
        """Refuse real values of another type or shape, more units than admitted, NaN, infinity."""
        self.check_shape(values)
        if isinstance(values, np.ndarray):
            _check_finite(values)

    def check_shape(self, values: object) -> None:
        """Refuse real values of another type or shape, and more units than admitted."""
        if isinstance(values, Lazy):
            return  # of a stage before, which has checked what it was given
        if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
            kind = getattr(values, "dtype", type(values).__name__)
            raise ConfigurationError(
                f"update.values is {kind} where float32 or float64 is wanted: "
                "convert it with numpy.asarray(values, dtype=numpy.float64)"
            )
        rows = values.shape[:-1] if self.per_unit else ()
        wanted = f"(units, {self.length})" if self.per_unit else f"({self.length},)"
        if values.shape != (*rows, self.length) or len(rows) != self.per_unit:
            raise ConfigurationError(
                f"update.values has shape {values.shape} where {wanted} is wanted: "
                "flatten the update with the layout that the pipeline was built for"
            )
        if rows and rows[0] > self.max_units:
            raise ConfigurationError(
                f"update.values has {rows[0]} units where max_units is {self.max_units}: "
                "hold back the excess units or agree on a larger max_units"
            )


def _check_finite(values: NDArray[Any]) -> None:
    step = max(1, BLOCK_VALUES // math.prod(values.shape[1:]))
    for start in range(0, len(values), step):
        finite = np.isfinite(values[start : start + step])
        if not finite.all():
            first, *rest = (int(i) for i in np.argwhere(~finite)[0])
            index = (start + first, *rest)
            where = "".join(f"[{i}]" for i in index)
            raise ConfigurationError(
                f"update.values{where} = {values[index]} where a finite number is wanted: "
                "mend the training step or sit this round out"
            )


class Stage(Protocol):
    """One step of a pipeline. `spec` is always the one on the stage's input side."""

    def admit(self, spec: VectorSpec) -> VectorSpec:
        """What leaves the stage; `ConfigurationError` with the remedy if `spec` does not fit."""
        ...

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        """One client's update after this stage; the update passed in is left as it is.

        What is made lazily reads it later: its values stay as they are until then.
        """
        ...

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        """A sum over clients, `(length,)`, as it would stand before this stage.

        In blocks of any size, unless the stage `mixes`.
        """
        ...


def mixes(stage: Stage) -> bool:
    """Whether a coordinate after the stage depends on many before it: then it decodes whole.

    A stage says so by an attribute of this name; one without it works on blocks.
    """
    return bool(getattr(stage, "mixes", False))


def chain(stages: Iterable[Stage], spec: VectorSpec) -> tuple[VectorSpec, ...]:
    """The spec before each stage and, last, the one after all of them."""
    specs = [spec]
    for stage in stages:
        specs.append(stage.admit(specs[-1]))
    return tuple(specs)


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(
            f"{name} = {value} is not a whole number from {low} to {high}: choose one that is"
        )
