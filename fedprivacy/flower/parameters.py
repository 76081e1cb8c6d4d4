"""A model's arrays as one vector, and back.

Arrays of floating-point numbers of every shape, 0-d ones among them, are summed. Whole numbers and
booleans, such as a BatchNorm layer's count of batches, are no parameters: counted into the norm
that is clipped they would crowd out all the others. They stay as the server sent them.

A BatchNorm layer's `running_mean` and `running_var` are floating-point numbers and are summed like
parameters: they take part in the clip, and with noise a variance can turn negative, of which torch
makes NaN. GroupNorm or LayerNorm keep no such numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.vector import Layout

__all__ = ["Parameters", "floating_names"]

Floats = NDArray[np.float64]


def floating_names(arrays: Mapping[str, Array]) -> tuple[str, ...]:
    """The names of the arrays that are summed, ascending."""
    return tuple(sorted(name for name in arrays if read(arrays, name).dtype.kind == "f"))


def read(arrays: Mapping[str, Array], name: str) -> NDArray[np.generic]:
    """One array as numpy has it; raises `ConfigurationError` for what is no array of numbers."""
    if name not in arrays:
        raise ConfigurationError(f"arrays lack {name!r}: send back what was sent")
    array = arrays[name]
    try:
        values: object = array.numpy()
    except (ValueError, TypeError, OSError, EOFError, SyntaxError, MemoryError, OverflowError):
        raise ConfigurationError(f"arrays[{name!r}] cannot be read as a numpy array") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise ConfigurationError(f"arrays[{name!r}] is {array.dtype}: only real numbers are taken")
    return values


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arrays that are summed, ascending by name, and how they lie in the vector."""

    names: tuple[str, ...]
    layout: Layout

    @classmethod
    def of(cls, arrays: Mapping[str, Array], names: Iterable[str]) -> Parameters:
        """Those of a model; raises `ConfigurationError` where there is none to be summed."""
        names = tuple(names)
        if not names:
            raise ConfigurationError(
                "the model has no array of floating-point numbers: nothing can be summed"
            )
        return cls(names, Layout.of({name: read(arrays, name) for name in names}))

    @property
    def length(self) -> int:
        return self.layout.length

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(shape for _, _, shape in self.layout.describe())

    def vector(self, arrays: Mapping[str, Array]) -> Floats:
        """The values, `(length,)` float64, as they are, NaN among them."""
        out = np.empty(self.length)
        for name, shape, part in self._places():
            values = read(arrays, name)
            if values.shape != shape:
                raise _other_shape(name, values.shape, str(shape))
            out[part] = values.reshape(-1)
        return out

    def rows(self, arrays: Mapping[str, Array]) -> Floats:
        """The values of several units, `(units, length)` float64: each array has them in front."""
        places = list(self._places())
        units = len(_at_least_1d(read(arrays, places[0][0])))
        out = np.empty((units, self.length))
        for name, shape, part in places:
            values = read(arrays, name)
            if values.shape != (units, *shape):
                raise _other_shape(name, values.shape, f"(units, *{shape})")
            out[:, part] = values.reshape(units, part.stop - part.start)
        return out

    def stacked(self, arrays: Mapping[str, Array], moves: NDArray[np.floating[Any]]) -> ArrayRecord:
        """The model moved by each row, `(units, length)`: what `rows` reads."""
        if moves.ndim != 2 or moves.shape[1] != self.length:
            raise ConfigurationError(
                f"moves have shape {moves.shape} where (units, {self.length}) is wanted: a row a "
                "unit, a column a parameter"
            )
        found = {}
        for name, shape, part in self._places():
            rows = moves[:, part].reshape(len(moves), *shape)
            found[name] = Array(np.asarray(read(arrays, name), dtype=np.float64) + rows)
        return ArrayRecord(found)

    def check_finite(self, arrays: Mapping[str, Array]) -> None:
        """Raise `ConfigurationError` where the model has a NaN or an infinity."""
        self.layout.flatten({name: read(arrays, name) for name in self.names})

    def moved(self, arrays: Mapping[str, Array], by: Floats) -> ArrayRecord:
        """The model with this added to its vector, in the types that it has."""
        changed = self.layout.unflatten(self.vector(arrays) + by)
        return ArrayRecord(
            {
                name: Array(changed[name]) if name in changed else array
                for name, array in arrays.items()
            }
        )

    def _places(self) -> Iterator[tuple[str, tuple[int, ...], slice]]:
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            end = start + math.prod(shape)
            yield name, shape, slice(start, end)
            start = end


def _at_least_1d(values: NDArray[np.generic]) -> NDArray[np.generic]:
    if values.ndim == 0:
        raise ConfigurationError("an array has no axis of units: stack those of the units")
    return values


def _other_shape(name: str, given: tuple[int, ...], wanted: str) -> ConfigurationError:
    return ConfigurationError(f"arrays[{name!r}] is of shape {given} where {wanted} is wanted")
