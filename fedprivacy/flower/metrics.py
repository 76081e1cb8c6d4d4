"""Metrics of an evaluation as a small vector: each is bounded, and all together fit the clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from numpy.typing import NDArray

from fedprivacy.errors import ConfigurationError

__all__ = ["MetricBounds"]


@dataclass(frozen=True, slots=True)
class MetricBounds:
    """The metrics that are summed, and the magnitude beyond which each is cut off."""

    bounds: dict[str, float]

    @classmethod
    def of(cls, bounds: Mapping[str, object]) -> MetricBounds:
        """Raises `ConfigurationError` for none, and for a bound that is no positive number."""
        if not bounds:
            raise ConfigurationError(
                'no metric is named: pass metrics={"loss": 10.0}, each with the most that it can be'
            )
        checked = {}
        for name in sorted(bounds):
            bound = bounds[name]
            if not isinstance(bound, int | float) or not 0 < bound < math.inf:
                raise ConfigurationError(
                    f"metrics[{name!r}] = {bound!r} bounds nothing: give a positive number"
                )
            checked[name] = float(bound)
        return cls(checked)

    @property
    def record(self) -> ConfigRecord:
        """What clients are told; its hash is in the plan, as that of every record."""
        return ConfigRecord(dict(self.bounds))

    @property
    def zeros(self) -> ArrayRecord:
        """One number for each metric, in the order of their names."""
        return ArrayRecord({name: Array(np.zeros(())) for name in self.bounds})

    def scaled(self, metrics: MetricRecord, clip: float) -> ArrayRecord:
        """Each metric, cut off at its bound, on a scale on which all of them have norm <= clip.

        Raises `ConfigurationError` for one that is missing or is not finite.
        """
        arrays = ArrayRecord()
        for name, bound in self.bounds.items():
            value = metrics.get(name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigurationError(f"metrics[{name!r}] is missing or is no finite number")
            inside = min(max(float(value), -bound), bound)
            arrays[name] = Array(np.array(inside / self._unit(bound, clip)))
        return arrays

    def means(self, mean: NDArray[np.float64], clip: float) -> dict[str, float]:
        """The metrics of which `mean`, in the order of the names, is the mean on that scale."""
        pairs = zip(self.bounds.items(), mean.tolist(), strict=True)
        return {name: value * self._unit(bound, clip) for (name, bound), value in pairs}

    def _unit(self, bound: float, clip: float) -> float:
        # A shade more than is needed: rounding must not carry the norm beyond the clip.
        return bound * math.sqrt(len(self.bounds)) * (1 + 2.0**-40) / clip
