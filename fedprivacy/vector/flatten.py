"""A model's parameters as one vector of float64, and back.

The structure is nested dicts, lists and tuples with numpy arrays at the leaves. Dicts are walked in
the order of their sorted keys, so that two sides that inserted them differently agree; a subclass
(an ordered dict, a named tuple) comes back as the plain type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError
from fedprivacy.vector.spec import BLOCK_VALUES

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A container; `keys` are a dict's, sorted, and empty for a list or tuple."""

    kind: type[dict[str, Any] | list[Any] | tuple[Any, ...]]
    keys: tuple[str, ...]
    children: tuple[_Branch | _Leaf, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each array of a structure lies in the vector.

    Real arrays of up to 64 bits, whole numbers and booleans are taken; each counts as as many
    values as it has elements, one for a 0-d array. On the way back a value that leaves the range
    of its array's type is moved to the nearest end of it, and for whole numbers and booleans
    rounded to the nearest first (ties to even). Whole numbers beyond 2**53 lose their last bits.
    """

    root: _Branch | _Leaf = field(repr=False)
    length: int

    @classmethod
    def of(cls, tree: Any) -> Layout:
        """The layout of a structure; `ConfigurationError` names the path that cannot be taken."""
        root = _describe(tree, "model")
        length = sum(leaf.size for leaf in _leaves(root))
        if not length:
            raise ConfigurationError("model holds 0 values where 1 is the least: pass its arrays")
        return cls(root, length)

    def describe(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Path, type and shape of each array in the order of the vector; equal layouts agree."""
        return tuple((leaf.path, leaf.dtype.name, leaf.shape) for leaf in _leaves(self.root))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the vector: float32 where that holds every array's values exactly, else float64."""
        small = all(leaf.dtype in (np.float16, np.float32) for leaf in _leaves(self.root))
        return np.dtype(np.float32 if small else np.float64)

    def flatten(self, tree: Any) -> NDArray[Any]:
        """The structure's values, `(length,)` of `dtype`, all finite; read-only.

        Raises `ConfigurationError` naming the path where the structure differs from the layout or
        a value is NaN or infinite.
        """
        out = np.empty(self.length, dtype=self.dtype)
        offset = 0
        for leaf, array in _pairs(self.root, tree, "model"):
            if array.dtype != leaf.dtype or array.shape != leaf.shape:
                raise ConfigurationError(
                    f"{leaf.path} is {array.dtype} of shape {array.shape} where the layout has "
                    f"{leaf.dtype} of shape {leaf.shape}: pass the model that it was made for"
                )
            part = out[offset : offset + leaf.size]
            part[:] = array.reshape(-1)
            _check_finite(part, leaf.path, leaf.shape)
            offset += leaf.size
        out.flags.writeable = False
        return out

    def unflatten(self, vector: NDArray[Any]) -> Any:
        """The structure whose values are `vector`, `(length,)` real, with the types it had."""
        if vector.dtype not in (np.float32, np.float64) or vector.shape != (self.length,):
            raise ConfigurationError(
                f"the vector is {vector.dtype} of shape {vector.shape} where float32 or float64 of "
                f"shape ({self.length},) is wanted: pass the decoded aggregate"
            )
        _check_finite(vector, "vector", vector.shape)
        tree, _ = _build(self.root, vector, 0)
        return tree


def _describe(tree: Any, path: str) -> _Branch | _Leaf:
    if isinstance(tree, dict):
        keys = _sorted_keys(tree, path)
        return _Branch(dict, keys, tuple(_describe(tree[k], path + _step(k)) for k in keys))
    if isinstance(tree, list | tuple):
        children = tuple(_describe(child, f"{path}[{i}]") for i, child in enumerate(tree))
        return _Branch(list if isinstance(tree, list) else tuple, (), children)
    array = _array(tree, path)
    return _Leaf(path, array.dtype, array.shape)


def _pairs(node: _Branch | _Leaf, tree: Any, path: str) -> Iterator[tuple[_Leaf, NDArray[Any]]]:
    """Each leaf of the layout with the array that stands in its place."""
    if isinstance(node, _Leaf):
        yield node, _array(tree, path)
        return
    if not isinstance(tree, node.kind):
        raise ConfigurationError(
            f"{path} is a {type(tree).__name__} where the layout has a {node.kind.__name__}: "
            "pass the model that it was made for"
        )
    keys = _sorted_keys(tree, path) if isinstance(tree, dict) else ()
    if keys != node.keys or len(tree) != len(node.children):
        detail = f"keys {list(keys)}" if keys or node.keys else f"{len(tree)} entries"
        raise ConfigurationError(
            f"{path} has {detail} where the layout has {list(node.keys) or len(node.children)}: "
            "pass the model that it was made for"
        )
    parts = [tree[key] for key in keys] if isinstance(tree, dict) else tree
    steps = map(_step, keys) if keys else (f"[{i}]" for i in range(len(parts)))
    for child, part, step in zip(node.children, parts, steps, strict=True):
        yield from _pairs(child, part, path + step)


def _build(node: _Branch | _Leaf, vector: NDArray[np.float64], offset: int) -> tuple[Any, int]:
    """The subtree whose values start at `offset`, and where the next one starts."""
    if isinstance(node, _Leaf):
        end = offset + node.size
        return _restore(vector[offset:end], node.dtype).reshape(node.shape), end
    children = []
    for child in node.children:
        built, offset = _build(child, vector, offset)
        children.append(built)
    if node.kind is dict:
        return dict(zip(node.keys, children, strict=True)), offset
    return (tuple(children) if node.kind is tuple else children), offset


def _restore(vector: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    values: NDArray[np.float64] = vector.astype(np.float64, copy=False)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return np.clip(values, float(info.min), float(info.max)).astype(dtype)
    rounded: NDArray[np.float64] = np.rint(values)
    if dtype.kind == "b":
        return (rounded >= 1).astype(dtype)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    over = rounded >= float(most)
    # float(2**63 - 1) is 2**63, which does not fit: what reaches the upper end is set apart.
    whole = np.where(over, 0, np.maximum(rounded, float(least))).astype(dtype)
    whole[over] = most
    return whole


def _leaves(node: _Branch | _Leaf) -> Iterator[_Leaf]:
    if isinstance(node, _Leaf):
        yield node
        return
    for child in node.children:
        yield from _leaves(child)


def _array(leaf: Any, path: str) -> NDArray[Any]:
    if not isinstance(leaf, np.ndarray | np.generic):
        raise ConfigurationError(
            f"{path} is a {type(leaf).__name__} where an array is wanted: "
            "convert it with numpy.asarray"
        )
    array = np.asarray(leaf)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ConfigurationError(
            f"{path} is {array.dtype} where real numbers of at most 64 bits are wanted: "
            "convert it or leave it out of the model"
        )
    return array


def _sorted_keys(tree: dict[Any, Any], path: str) -> tuple[str, ...]:
    for key in tree:
        if not isinstance(key, str):
            raise ConfigurationError(
                f"{path} has the key {key!r} where a string is wanted: name it"
            )
    return tuple(sorted(tree))


def _step(key: str) -> str:
    """`.key`, or a quoted form where the key itself has dots or brackets: paths stay distinct."""
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def _check_finite(values: NDArray[Any], path: str, shape: tuple[int, ...]) -> None:
    for start in range(0, len(values), BLOCK_VALUES):
        finite = np.isfinite(values[start : start + BLOCK_VALUES])
        if not finite.all():
            first = start + int(np.argmin(finite))
            where = "".join(f"[{int(i)}]" for i in np.unravel_index(first, shape))
            raise ConfigurationError(
                f"{path}{where} is {values[first]} where a finite number is wanted: "
                "mend the training step or sit this round out"
            )
