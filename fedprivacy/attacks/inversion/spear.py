"""SPEAR: all examples of a small batch from one gradient of a rectified layer, exactly.

Source: Dimitrov et al., "SPEAR: exact gradient inversion of batches in federated learning" (2024),
section 4. The gradient of the first layer's weights is E X, errors of the units times inputs; E is
sparse where units are off. A decomposition L R of it is known; what is sought is the Q for which
L Q = E.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.models import Mlp
from fedprivacy.errors import ConfigurationError

__all__ = ["Spear"]

Floats = NDArray[np.float64]
_MOST = 10
"""Examples beyond which directions are found too rarely: of 2^batch tries, the batch's own size."""
_SAME = 0.999
"""Cosine from which two directions are one."""
_SINGLE = 1e-3
_APART = 1e-2
_ALIVE = 1e-4
_BELIEVED = 0.98
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Spear:
    """Searches for sparse directions; `tries` null vectors at most, in chunks.

    A unit counts as off for an example where its error is below `tolerance` of the largest.
    """

    tries: int = 40_000
    tolerance: float = 1e-4

    def inputs(
        self, gradient: Floats, weights: Floats, shape: Mlp, batch: int, draw: Draw
    ) -> Floats:
        """`(found, inputs)` in no order, `batch` of them or fewer.

        `weights` are the model's, which the server knows: what is found is believed from the share
        of units on that the inputs and the errors agree about. Raises `ConfigurationError` for more
        than ten examples.
        """
        if not 1 <= batch <= _MOST:
            raise ConfigurationError(f"batch = {batch} is outside 1 to {_MOST}: SPEAR ends there")
        layers, model = shape.layers(gradient), shape.layers(weights)
        left, sizes, right = np.linalg.svd(layers.hidden, full_matrices=False)
        left, spread = left[:, :batch], sizes[:batch, None] * right[:batch]
        # Rows of units that are off for everybody hold nothing to choose from.
        alive = np.flatnonzero(np.linalg.norm(left, axis=1) > _ALIVE * np.abs(left).max())

        def measure(directions: list[Floats]) -> tuple[Floats, Floats]:
            """The inputs, `(batch, inputs)`, and the share of units that agree with each."""
            columns = np.array(directions).T
            # The bias' gradient is the sum of all errors: it says how long each direction is.
            scaled = columns * np.linalg.lstsq(columns, left.T @ layers.hidden_bias, rcond=None)[0]
            errors = np.abs(left @ scaled)
            inputs = np.linalg.pinv(scaled) @ spread
            on = inputs @ model.hidden.T + model.hidden_bias > 0
            return inputs, (on == (errors >= self.tolerance * errors.max(axis=0)).T).mean(axis=1)

        pool: list[tuple[int, Floats]] = []
        best, most = np.zeros((0, shape.inputs)), 0.0
        for _ in range(0, self.tries, _CHUNK):
            pool = self._sparsest(pool, left, alive, batch, draw)
            directions = _independent(pool, batch)
            if len(directions) == batch:
                candidates = [vector for _, vector in pool]
                inputs, agreed = self._settled(directions, candidates, measure)
                if agreed > most:
                    best, most = inputs, agreed
            if most > _BELIEVED:
                break
        return best

    def _settled(
        self,
        directions: list[Floats],
        candidates: list[Floats],
        measure: Callable[[list[Floats]], tuple[Floats, Floats]],
    ) -> tuple[Floats, float]:
        """The inputs once no candidate in any place makes them agree better, and their least share.

        The sparsest directions may be sums of two: examples that are alike switch the same units.
        """
        inputs, agreed = measure(directions)
        for place in np.argsort(agreed):
            if agreed.min() > _BELIEVED:
                break
            for candidate in candidates:
                swapped = [*directions[:place], candidate, *directions[place + 1 :]]
                other, share = measure(swapped)
                if share.sum() > agreed.sum() + 1e-9:
                    directions, inputs, agreed = swapped, other, share
        return inputs, float(agreed.min())

    def _sparsest(
        self,
        pool: list[tuple[int, Floats]],
        left: Floats,
        alive: NDArray[np.intp],
        batch: int,
        draw: Draw,
    ) -> list[tuple[int, Floats]]:
        """The pool with one chunk of null vectors of batch - 1 units; the sparsest of all kept."""
        if batch == 1:
            return [(0, np.ones(1))]
        if len(alive) < 2 * batch:
            return pool
        chosen = alive[draw.below(len(alive), _CHUNK * (batch - 1))].reshape(_CHUNK, batch - 1)
        _, sizes, rows = np.linalg.svd(left[chosen], full_matrices=True)
        # Where more than one vector vanishes on these units, none of them is singled out.
        nulls = rows[sizes[:, -1] > _SINGLE * sizes[:, 0], -1]
        errors = np.abs(left[alive] @ nulls.T)
        off = (errors < self.tolerance * errors.max(axis=0)).sum(axis=0)
        found = [(int(count), vector) for count, vector in zip(off, nulls, strict=True)]
        kept: list[tuple[int, Floats]] = []
        for count, vector in sorted([*pool, *found], key=lambda each: -each[0]):
            if all(abs(float(vector @ other)) < _SAME for _, other in kept):
                kept.append((count, vector))
            if len(kept) == 8 * batch:
                break
        return kept


def _independent(pool: list[tuple[int, Floats]], batch: int) -> list[Floats]:
    """From the sparsest on, those that lie outside the span of the ones before."""
    taken: list[Floats] = []
    basis = np.zeros((0, batch))
    for _, vector in pool:
        rest = vector - basis.T @ (basis @ vector)
        if np.linalg.norm(rest) > _APART:
            taken.append(vector)
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
        if len(taken) == batch:
            break
    return taken
