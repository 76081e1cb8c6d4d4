"""Many units at one client, each bounded on its own: a hospital's patients."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.dp.clipping import NonFinite
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.vector import (
    BLOCK_VALUES,
    Stage,
    Update,
    VectorSpec,
    chain,
    check_whole,
    mixes,
)

__all__ = ["PerUnit"]

_MANY = 1 << 32


@dataclass(frozen=True, slots=True, init=False)
class PerUnit:
    """Apply the stages to each unit's vector and sum the integers that they end in.

    Takes `(units, length)` float64 with at most `max_units` rows and gives int64, of the length
    that the stages leave, and the number of units as the weight; no units give zeros and weight 0.
    Adding, removing or changing one unit changes the sum by that unit's integers alone, since each
    row's result depends on no other. With one stage that draws randomness, once a row, equal for
    the same `rng` to encoding the units one after the other. Works in blocks of rows of
    `BLOCK_VALUES` values (or one row): what is held besides the input does not grow with the number
    of units.
    """

    stages: tuple[Stage, ...]
    max_units: int

    def __init__(self, *stages: Stage, max_units: int) -> None:
        check_whole("PerUnit.max_units", max_units, 1, _MANY)
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "max_units", max_units)

    @property
    def mixes(self) -> bool:
        return any(mixes(stage) for stage in self.stages)

    def specs(self, spec: VectorSpec) -> tuple[VectorSpec, ...]:
        """What enters each stage, of one unit, and what leaves the last."""
        unit = dataclasses.replace(spec, per_unit=True, max_units=self.max_units)
        return chain(self.stages, unit)

    def admit(self, spec: VectorSpec) -> VectorSpec:
        if spec != VectorSpec(spec.length):
            raise ConfigurationError(
                "PerUnit must come first: move the stages before it into it, and none around it"
            )
        unit = self.specs(spec)[-1]
        if not unit.integer:
            raise ConfigurationError("PerUnit sums integers: put FixedPoint last in it")
        return dataclasses.replace(
            unit,
            per_unit=False,
            bound=self.max_units * int(unit.bound),
            l2=None if unit.l2 is None else self.max_units * unit.l2,
            max_weight=self.max_units,
        )

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        specs = self.specs(spec)
        # Of what the stages take for zero nothing is refused; else a coordinate is named, by unit.
        if any(getattr(s, "non_finite", None) is NonFinite.ZERO for s in self.stages):
            specs[0].check_shape(update.values)
        else:
            specs[0].check(update.values)
        values = np.asarray(update.values)
        total = np.zeros(specs[-1].length, dtype=np.int64)
        step = max(1, BLOCK_VALUES // specs[-1].length)
        for start in range(0, len(values), step):
            block = Update(values[start : start + step])
            for stage, before in zip(self.stages, specs, strict=False):
                block = stage.encode(block, before, rng=rng)
            total += np.asarray(block.values).sum(axis=0)
        return Update(total, len(values))

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        for stage, before in reversed(list(zip(self.stages, self.specs(spec), strict=False))):
            values = stage.decode(values, before)
        return values
