"""Noise shares: exact integers, added to each coordinate before it leaves a client."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    Event,
    SkellamEvent,
)
from fedprivacy.dp.sampling import Sampler, discrete_gaussian, skellam
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng
from fedprivacy.vector import Lazy, Pipeline, Update, VectorSpec, check_whole

__all__ = ["DiscreteGaussian", "Skellam", "event_of"]

_LEAST, _MOST = 1e-6, 1e6
_SHARES = 1 << 32


@dataclass(frozen=True, slots=True)
class _Noise(ABC):
    """Independent noise in each coordinate, of variance (noise_multiplier l2)**2 / shares.

    l2 is the sensitivity of the sum to one unit, in integers, as the stages before prove it. So
    `shares` clients together reach the deviation noise_multiplier l2; those who give more make the
    sum noisier. `shares` is the number that is assured to be in the sum, from clients whom the
    adversary neither controls nor knows the noise of: 1 where a single party's noise is to suffice.

    A share is drawn from the keystream of one 32-byte seed, as the values are read. It is never
    larger than the admitted `noise`, since tables end: what lies beyond is part of the event's
    `delta_extra`. The decoded sum keeps the noise.
    """

    noise_multiplier: float
    shares: int

    def __post_init__(self) -> None:
        path = f"{type(self).__name__}.noise_multiplier"
        value: object = self.noise_multiplier
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{path} = {value!r} is not a number: pass one")
        if not _LEAST <= value <= _MOST:
            raise ConfigurationError(
                f"{path} = {value} is outside [{_LEAST}, {_MOST}]: choose one in this range"
            )
        check_whole(f"{type(self).__name__}.shares", self.shares, 1, _SHARES)

    @abstractmethod
    def sampler(self, spec: VectorSpec) -> Sampler:
        """Where one coordinate's share is drawn from."""

    @abstractmethod
    def event(self, spec: VectorSpec) -> Event:
        """What a release of the sum tells of one unit, the noise of `shares` clients counted."""

    def local_variance(self, spec: VectorSpec) -> float:
        """The variance of one share in one coordinate, in squared integer units."""
        deviation = self.noise_multiplier * _sensitivity(spec)
        # Not by a power, whose last bit is the platform's own: the modulus follows from it.
        return deviation * deviation / self.shares

    def _distance(self, spec: VectorSpec) -> float:
        """The total variation of all counted shares of a release from the ones that are named."""
        draws = self.shares * spec.length
        return math.nextafter(draws * self.sampler(spec).total_variation, math.inf)

    def admit(self, spec: VectorSpec) -> VectorSpec:
        name = type(self).__name__
        if not spec.integer:
            raise ConfigurationError(f"{name} adds integers: put FixedPoint before it")
        if spec.per_unit:
            raise ConfigurationError(
                f"{name} is one client's share: put it after PerUnit, not into it"
            )
        if spec.noise:
            raise ConfigurationError(f"{name}: there is noise already: leave one of them out")
        self.event(spec)
        most = self.sampler(spec).most
        l2 = None if spec.l2 is None else spec.l2 + most * math.sqrt(spec.length) * (1 + 2.0**-50)
        return dataclasses.replace(spec, bound=int(spec.bound) + most, l2=l2, noise=most)

    def encode(self, update: Update, spec: VectorSpec, *, rng: Rng) -> Update:
        values, added = update.values, self.added(spec, rng=rng)
        return Update(Lazy(values.shape, lambda part: added(values[..., part])), update.weight)

    def added(
        self, spec: VectorSpec, *, rng: Rng
    ) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
        """What gives each block of integers, from the first on, with a share of noise in it.

        `spec` is that of the integers: those of a client or, where the noise is the server's, of
        the pipeline whose sum they are.
        """
        sampler, stream = self.sampler(spec), Keystream(rng.bytes(SEED_BYTES))

        def noisy(values: NDArray[np.int64]) -> NDArray[np.int64]:
            out = np.empty(values.shape, dtype=np.int64)
            sampler.fill(out, stream)
            out += values
            return out

        return noisy

    def decode(self, values: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
        return values


def _sensitivity(spec: VectorSpec) -> float:
    if spec.unit_l2 is None:
        raise ConfigurationError(
            "noise needs the sensitivity of the integers: put FixedPoint before it"
        )
    return spec.unit_l2


@dataclass(frozen=True, slots=True)
class Skellam(_Noise):
    """Shares that are differences of Poisson variables, and so is their sum, exactly.

    Source: Agarwal, Kairouz, Liu, "The Skellam mechanism for differentially private federated
    learning" (2021), section 3.
    """

    def sampler(self, spec: VectorSpec) -> Sampler:
        return skellam(self.local_variance(spec))

    def event(self, spec: VectorSpec) -> SkellamEvent:
        return SkellamEvent(
            l2=_sensitivity(spec),
            l1=_l1(spec),
            # Down to the float below: the product is rounded.
            variance=math.nextafter(self.local_variance(spec) * self.shares, 0.0),
            delta_extra=self._distance(spec),
        )


@dataclass(frozen=True, slots=True)
class DiscreteGaussian(_Noise):
    """Shares that are discrete Gaussians; their sum is close to one, from a deviation of 2 each.

    `noise_multiplier` speaks of the parameter sigma, which is at least the deviation.
    Source: Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy" (2020);
    Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism for federated learning with
    secure aggregation" (2021).
    """

    def sampler(self, spec: VectorSpec) -> Sampler:
        return discrete_gaussian(self.local_variance(spec))

    def event(self, spec: VectorSpec) -> DiscreteGaussianEvent | DistributedDiscreteGaussianEvent:
        distance, variance = self._distance(spec), self.local_variance(spec)
        if self.shares == 1:
            return DiscreteGaussianEvent(
                l2=_sensitivity(spec), variance=variance, delta_extra=distance
            )
        return DistributedDiscreteGaussianEvent(
            l2=_sensitivity(spec),
            l1=_l1(spec),
            dimension=spec.length,
            local_variance=variance,
            shares=self.shares,
            delta_extra=distance,
        )


def _l1(spec: VectorSpec) -> float:
    l1 = spec.unit_l1
    return _sensitivity(spec) ** 2 if l1 is None else l1  # no integer exceeds its square


def event_of(pipeline: Pipeline) -> Event | None:
    """What a release of the pipeline's sum tells of one unit; None where it adds no noise."""
    for stage, spec in zip(pipeline.stages, pipeline.specs, strict=False):
        if isinstance(stage, _Noise):
            return stage.event(spec)
    return None
