"""SPEAR: all examples of a small batch from one gradient of a rectified layer, exactly.

Source: Dimitrov et al., "SPEAR: exact gradient inversion of batches in federated learning" (2024),
section 4. The gradient of the first layer's weights is E X, errors of the units times inputs; E is
zero where a unit is off. A decomposition L R of it is known; what is sought is the Q for which
L Q = E, column by column: a direction q for which L q is zero in many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.models import Mlp
from fedprivacy.errors import ConfigurationError

__all__ = ["Spear"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_MOST = 10
"""Examples beyond which directions are found too rarely: of 2^batch tries, the batch's own size."""
_DEVIATIONS = 4.0
"""Of the noise: an error below as many counts as zero."""
_CLEAR = 0.05
"""Where noise reaches this share of the largest error, too little is seen to count zeros."""
_MORE = 3
"""Units that must be off for one direction and on for another, for them to be two examples."""
_APART = 1e-2
_BELIEVED = 0.98
_CHUNK, _BEST = 256, 16
_POLISHED = 6


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    """A unit vector q, `(batch,)`, and the units for which L q is zero, `(alive,)`."""

    vector: Floats
    off: Flags

    @property
    def zeros(self) -> int:
        return int(self.off.sum())

    def adds_to(self, other: _Direction) -> bool:
        """Whether it is more than a mixture that contains `other`.

        What is zero for a mixture of k examples is zero for each of them, but for k - 1 units.
        """
        return int((self.off & ~other.off).sum()) >= _MORE


@dataclass(frozen=True, slots=True, eq=False)
class _Gradient:
    """The first layer's gradient as `left * sizes @ right`, of rank `batch` but for its noise.

    Columns of `left`, `(units, batch)`, are orthonormal: no example is louder than another. Of the
    units, those are kept that are on for anybody. `noise` is the deviation of one entry.
    """

    left: Floats
    sizes: Floats
    right: Floats
    alive: NDArray[np.intp]
    noise: float

    @classmethod
    def of(cls, hidden: Floats, batch: int) -> _Gradient:
        """The noise, rounding's above all, is what is left beyond the rank."""
        units, inputs = hidden.shape
        left, sizes, right = np.linalg.svd(hidden, full_matrices=False)
        rest = np.linalg.norm(sizes[batch:]) / np.sqrt((units - batch) * (inputs - batch))
        noise = max(float(rest), float(np.finfo(np.float64).eps * sizes[0]))
        left, sizes, right = left[:, :batch], sizes[:batch], right[:batch]
        loud = np.linalg.norm(left * sizes, axis=1) > _DEVIATIONS * noise * np.sqrt(batch)
        # Where even the rank is in doubt, nothing is alive.
        alive = np.flatnonzero(loud & (sizes[-1] > _DEVIATIONS * noise))
        return cls(left[alive], sizes, right, alive, noise)

    @property
    def batch(self) -> int:
        return len(self.sizes)

    def reach(self, directions: Floats) -> Floats:
        """How far noise takes an error that is zero, for each row of `(count, batch)`."""
        found: Floats = _DEVIATIONS * self.noise * np.linalg.norm(directions / self.sizes, axis=-1)
        return found

    def polished(self, vector: Floats, off: Flags) -> _Direction | None:
        """By all units that are off, instead of few; None where it is lost in the noise."""
        loud = self.left * self.sizes
        for _ in range(_POLISHED):
            if off.sum() < 2 * self.batch:
                return None
            # In these coordinates noise is alike in all: the least squares are the likeliest.
            vector = self.sizes * np.linalg.svd(loud[off], full_matrices=False)[2][-1]
            vector = vector / np.linalg.norm(vector)
            before, off = off, np.abs(self.left @ vector) < self.reach(vector)
            if (before == off).all():
                break
        return _Direction(vector, off)

    def drawn(self, known: Sequence[_Direction], draw: Draw) -> list[_Direction]:
        """From one chunk of null vectors of batch - 1 units: those that are zero for the most.

        Half of the units are drawn from all; the others, but for one, from those that are zero for
        one direction: of what two examples share, one unit more is often one of them alone.
        """
        shape = (_CHUNK, self.batch - 1)
        chosen = draw.below(len(self.left), shape[0] * shape[1]).reshape(shape)
        if known:
            picks = draw.below(len(known), _CHUNK // 2)
            places = draw.fractions(_CHUNK // 2, self.batch - 2)
            for row, pick, place in zip(chosen, picks, places, strict=False):
                zeros = np.flatnonzero(known[pick].off)
                row[:-1] = zeros[(place * len(zeros)).astype(np.intp)]
        _, spread, rows = np.linalg.svd(self.left[chosen], full_matrices=True)
        nulls = rows[:, -1]
        errors = np.abs(nulls @ self.left.T)
        # A null vector of few units carries their noise, the more the nearer it is to a second one.
        usual = np.sqrt(np.mean(np.square(self.left).sum(axis=1)))
        reach = self.reach(nulls) * (1 + usual / np.maximum(spread[:, -1], 1e-300))
        off = errors < reach[:, None]
        counts = np.where(reach < _CLEAR * errors.max(axis=1), off.sum(axis=1), 0)
        counts[~_adds(off, counts, known)] = 0
        fresh: list[_Direction] = []
        for place in np.argsort(-counts):
            found = _Direction(nulls[place], off[place])
            if len(fresh) == _BEST or not counts[place]:
                break
            if all(found.adds_to(each) for each in fresh):
                better = self.polished(found.vector, found.off)
                if better is not None:
                    fresh.append(better)
        return fresh


@dataclass(frozen=True, slots=True)
class Spear:
    """Searches for sparse directions among `tries` null vectors at most, in chunks."""

    tries: int = 32_768

    def inputs(
        self, gradient: Floats, weights: Floats, shape: Mlp, batch: int, draw: Draw
    ) -> Floats:
        """`(found, inputs)` in no order, `batch` of them or none.

        `weights` are the model's, which the server knows: what is found is believed from the share
        of units on that the inputs and the errors agree about. Raises `ConfigurationError` for more
        than ten examples, or not fewer than units or inputs.
        """
        if not 1 <= batch <= _MOST:
            raise ConfigurationError(f"batch = {batch} is outside 1 to {_MOST}: SPEAR ends there")
        if batch >= min(shape.hidden, shape.inputs):
            raise ConfigurationError(
                f"batch = {batch} where there are {shape.hidden} units and {shape.inputs} inputs: "
                "SPEAR takes more of both"
            )
        layers, model = shape.layers(gradient), shape.layers(weights)
        seen = _Gradient.of(layers.hidden, batch)
        best, most = np.zeros((0, shape.inputs)), 0.0
        if len(seen.left) < 2 * batch:
            return best
        if batch == 1:
            alone = _Direction(np.ones(1), np.zeros(len(seen.alive), dtype=bool))
            return _inputs(seen, [alone], layers.hidden_bias)
        pool: list[_Direction] = []
        for _ in range(0, self.tries, _CHUNK):
            pool = _sparsest([*pool, *seen.drawn(pool, draw)], batch)
            directions = _independent(pool, batch)
            if len(directions) < batch:
                continue
            inputs = _inputs(seen, directions, layers.hidden_bias)
            on = (inputs @ model.hidden.T + model.hidden_bias > 0)[:, seen.alive]
            agreed = min(
                float(np.mean(row != each.off)) for row, each in zip(on, directions, strict=True)
            )
            if agreed > most:
                best, most = inputs, agreed
            if most > _BELIEVED:
                break
        return best


def _inputs(seen: _Gradient, directions: list[_Direction], bias: Floats) -> Floats:
    """The X for which L Q X is the gradient, `(batch, inputs)`."""
    columns = np.array([each.vector for each in directions]).T
    # The bias' gradient is the sum of all errors: it says how long each direction is.
    scaled = columns * np.linalg.lstsq(columns, seen.left.T @ bias[seen.alive], rcond=None)[0]
    found: Floats = np.linalg.pinv(scaled) @ (seen.sizes[:, None] * seen.right)
    return found


def _adds(off: Flags, counts: NDArray[np.integer], known: Sequence[_Direction]) -> Flags:
    """Which rows of `off` add to every known direction that is zero for as many, all at once."""
    if not known:
        return np.ones(len(off), dtype=bool)
    others = np.array([each.off for each in known])
    outside = off.astype(np.float32) @ (~others).T.astype(np.float32)
    found: Flags = ((outside >= _MORE) | (others.sum(axis=1) < counts[:, None])).all(axis=1)
    return found


def _sparsest(pool: list[_Direction], batch: int) -> list[_Direction]:
    """From the sparsest on, those that are not made of the ones before."""
    kept: list[_Direction] = []
    for each in sorted(pool, key=lambda each: -each.zeros):
        if all(each.adds_to(other) for other in kept):
            kept.append(each)
        if len(kept) == 8 * batch:
            break
    return kept


def _independent(pool: list[_Direction], batch: int) -> list[_Direction]:
    """From the sparsest on, those that lie outside the span of the ones before."""
    taken: list[_Direction] = []
    basis = np.zeros((0, batch))
    for each in pool:
        rest = each.vector - basis.T @ (basis @ each.vector)
        if np.linalg.norm(rest) > _APART:
            taken.append(each)
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
        if len(taken) == batch:
            break
    return taken
