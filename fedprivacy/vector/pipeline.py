"""From one client's update to signed integers with a proved bound, and from their sum back."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import MAX_BITS, modulus_bits
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Rng
from fedprivacy.vector.fixedpoint import Weigh
from fedprivacy.vector.spec import Stage, Update, VectorSpec, chain, check_whole

__all__ = ["Aggregate", "Pipeline", "Weights"]

_MANY = 1 << 32


class Weights(enum.Enum):
    """How the total weight, by which a mean divides, becomes known."""

    UNIFORM = "uniform"
    """Each client counts one: nothing is sent."""
    SUMMED = "summed"
    """The weight is one more integer coordinate, the last, and as hidden as the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """What a round yields: the sum over clients, `(length,)` float64, and its total weight."""

    sum: NDArray[np.float64] = field(repr=False)
    weight: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """The sum divided by the weight; zeros when nothing was summed."""
        return self.sum / self.weight if self.weight else np.zeros_like(self.sum)


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
        pipeline = cls(length, stages, weights, specs)
        pipeline.modulus_bits(1)
        return pipeline

    @property
    def total_length(self) -> int:
        """The number of integers that a client sends."""
        return self.length + (self.weights is Weights.SUMMED)

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

        `total_weight` is the aggregate's. The sum compared with is the exact one, or one taken in
        float64 in any order. Above zero even for a total weight of zero.
        """
        check_whole("total_weight", total_weight, 0, 1 << MAX_BITS)
        spec = self.specs[-1]
        if spec.scale is None:
            raise ConfigurationError("a pipeline without FixedPoint has no scale: put it in")
        # m values are rounded: m <= total weight, since a vector of weight 0 is all zeros and
        # rounds to them; uniform weights do not count the units.
        m = max(1, total_weight) * (spec.max_units if self.weights is Weights.UNIFORM else 1)
        limit = spec.bound / spec.max_units  # the magnitude of one rounded value
        # In integer units: rounding moves each by < 1. With u = 2**-53, scaling and weighting
        # move each by < 4 limit u, decoding the sum by < 3 m limit u, this line by its own few u,
        # and a float64 sum of m values of at most `limit` is off by < m (m limit) u.
        return m * (1 + limit * (2.0**-49 + m * 2.0**-53)) / spec.scale

    def encode(self, update: Update, *, rng: Rng) -> NDArray[np.int64]:
        """One client's integers, `(total_length,)` int64 in [-client_bound, client_bound]."""
        if update.weight != 1 and not any(isinstance(stage, Weigh) for stage in self.stages):
            raise ConfigurationError(
                f"update.weight = {update.weight} where no stage weighs and each counts one: "
                "leave it at 1 or put Weigh before FixedPoint"
            )
        for stage, spec in zip(self.stages, self.specs, strict=False):
            update = stage.encode(update, spec, rng=rng)
        if self.weights is Weights.UNIFORM:
            return update.values
        return np.append(update.values, np.int64(update.weight))

    def decode(self, total: NDArray[np.int64], *, clients: int) -> Aggregate:
        """The aggregate of so many clients from the sum of their integers.

        Raises `PeerError` (`SUM_RANGE`), naming no culprit, for a total that so many honest clients
        cannot add up to.
        """
        check_whole("clients", clients, 1, _MANY)
        self._check_total(total, clients)
        values = total[: self.length]
        weight = clients if self.weights is Weights.UNIFORM else int(total[-1])
        for stage, spec in reversed(list(zip(self.stages, self.specs, strict=False))):
            values = stage.decode(values, spec)
        return Aggregate(values.astype(np.float64, copy=False), weight)

    def _check_total(self, total: NDArray[np.int64], clients: int) -> None:
        if total.dtype != np.int64 or total.shape != (self.total_length,):
            raise ConfigurationError(
                f"the total is {total.dtype} of shape {total.shape} where int64 of shape "
                f"({self.total_length},) is wanted: centre the residues of the whole sum"
            )
        spec = self.specs[-1]
        values, bound = total[: self.length], clients * int(spec.bound)
        least, most = int(values.min()), int(values.max())
        if least < -bound or most > bound:
            worst = least if least < -bound else most
            raise PeerError(
                Reason.SUM_RANGE,
                f"the total has a coordinate {worst} where {clients} clients reach {bound} at most",
            )
        heaviest = clients * spec.max_weight
        if self.weights is Weights.SUMMED and not 0 <= int(total[-1]) <= heaviest:
            raise PeerError(
                Reason.SUM_RANGE,
                f"the total weight is {int(total[-1])} where {clients} clients weigh 0 to "
                f"{heaviest}",
            )
