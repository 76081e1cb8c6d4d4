"""Privacy events: what one release tells, as frozen values without arrays.

A mechanism states the event, an accountant turns events into epsilon. Every sensitivity is that of
adding or removing one unit; what replacing one costs is derived by the accountant, in one place.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from fedprivacy.errors import ConfigurationError

__all__ = [
    "LEAST_LOCAL_DEVIATION",
    "Adjacency",
    "DiscreteGaussianEvent",
    "DistributedDiscreteGaussianEvent",
    "Event",
    "GaussianEvent",
    "Release",
    "Sample",
    "SampleSecrecy",
    "Sampling",
    "SkellamEvent",
]

LEAST_LOCAL_DEVIATION = 2.0
"""Standard deviation of one share, in integer units: below, a sum of discrete Gaussians is far from
one (the distance is 2e-9 a coordinate at 1.5, and 7e-17 at 2)."""

_MOST = 1e100  # products of a few of them are still floats
_MANY = 1 << 40
_IN_RANGE = "give a figure in this range"


def _check_positive(path: str, value: object, remedy: str = _IN_RANGE) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{path} = {value!r} is not a number: {remedy}")
    if not 1 / _MOST <= value <= _MOST:  # NaN compares with nothing
        raise ConfigurationError(f"{path} = {value} is outside [{1 / _MOST}, {_MOST}]: {remedy}")


def _check_share(path: str, value: object, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigurationError(f"{path} = {value!r} is outside [0, 1): {remedy}")


def _check_count(path: str, value: object, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MANY:
        raise ConfigurationError(
            f"{path} = {value!r} is not a whole number from 1 to {_MANY}: {remedy}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noisy:
    """`delta_extra` is the total variation between the release and the ideal one that is named.

    It covers tables that are not exact, tails that are cut off and values that are clamped, of all
    coordinates of one release together.
    """

    delta_extra: float = 0.0

    def _check_extra(self) -> None:
        path = f"{type(self).__name__}.delta_extra"
        _check_share(path, self.delta_extra, "give the probability that is lost")


@dataclass(frozen=True, slots=True)
class GaussianEvent(_Noisy):
    """A real vector with continuous Gaussian noise; the multiplier is deviation / L2 sensitivity.

    Floating-point noise only approximates it: no `delta_extra` makes the bits of a float safe.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_positive(
            "GaussianEvent.noise_multiplier", self.noise_multiplier, "add noise, or claim nothing"
        )
        self._check_extra()


@dataclass(frozen=True, slots=True)
class DiscreteGaussianEvent(_Noisy):
    """An integer vector with one discrete Gaussian a coordinate, by one party.

    `l2` is the L2 sensitivity in integer units, `variance` the parameter sigma squared, which is
    at least the variance.
    """

    l2: float
    variance: float

    def __post_init__(self) -> None:
        _check_positive("DiscreteGaussianEvent.l2", self.l2)
        _check_positive("DiscreteGaussianEvent.variance", self.variance, "add noise")
        self._check_extra()


@dataclass(frozen=True, slots=True)
class DistributedDiscreteGaussianEvent(_Noisy):
    """An integer vector with the sum of at least `shares` independent discrete Gaussians.

    `l2` and `l1` are sensitivities in integer units, `dimension` counts the coordinates,
    `local_variance` is the parameter sigma squared of one share. Only shares of parties outside
    the adversary's reach count.
    """

    l2: float
    l1: float
    dimension: int
    local_variance: float
    shares: int

    def __post_init__(self) -> None:
        name = type(self).__name__
        _check_positive(f"{name}.l2", self.l2)
        _check_positive(f"{name}.l1", self.l1)
        _check_count(f"{name}.dimension", self.dimension, "count the coordinates")
        _check_positive(f"{name}.local_variance", self.local_variance, "add noise")
        _check_count(f"{name}.shares", self.shares, "count the honest shares")
        if self.local_variance < LEAST_LOCAL_DEVIATION**2:
            raise ConfigurationError(
                f"{name}.local_variance = {self.local_variance} is below "
                f"{LEAST_LOCAL_DEVIATION**2}: scale the values up, or use Skellam noise, whose sum "
                "is exact"
            )
        self._check_extra()


@dataclass(frozen=True, slots=True)
class SkellamEvent(_Noisy):
    """An integer vector with Skellam noise of total variance `variance` in each coordinate.

    Skellam shares add up exactly: what counts is the variance of the sum of all shares of parties
    outside the adversary's reach. `l2` and `l1` are sensitivities in integer units.
    """

    l2: float
    l1: float
    variance: float

    def __post_init__(self) -> None:
        _check_positive("SkellamEvent.l2", self.l2)
        _check_positive("SkellamEvent.l1", self.l1)
        _check_positive("SkellamEvent.variance", self.variance, "add noise")
        self._check_extra()


Event = GaussianEvent | DiscreteGaussianEvent | DistributedDiscreteGaussianEvent | SkellamEvent


class Adjacency(enum.Enum):
    """When two data sets are neighbours."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    """A unit is there or not; absent, it counts as zero, and no divisor depends on it."""
    REPLACE_ONE = "replace-one"


class Sampling(enum.Enum):
    """How the units of a round were drawn: a fact about the run, never a choice of accounting."""

    ALL = "all"
    POISSON = "poisson"
    """Each unit by a coin of its own."""
    FIXED_SIZE = "fixed-size"
    """A fixed number of units without replacement."""
    SHUFFLE = "shuffle"
    """All units in random order, cut into batches: each unit once an epoch."""


class SampleSecrecy(enum.Enum):
    """Whether those against whom epsilon is to hold can tell who was drawn."""

    HIDDEN = "hidden"
    SEEN = "seen"
    """As a server sees it that picks the cohort, or one that talks to the clients."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Who takes part in one release: the scheme, the share of units it draws, and who can tell."""

    scheme: Sampling = Sampling.ALL
    rate: float = 1.0
    secrecy: SampleSecrecy = SampleSecrecy.SEEN

    def __post_init__(self) -> None:
        _check_positive("Sample.rate", self.rate, "give the share of units drawn in a round")
        if self.rate > 1:
            raise ConfigurationError(
                f"Sample.rate = {self.rate} is above 1: give the share of units drawn in a round"
            )
        if self.scheme is Sampling.ALL and self.rate != 1:
            raise ConfigurationError(
                f"Sample.rate = {self.rate} where all take part: leave it out, or name the scheme"
            )

    @property
    def batches(self) -> int:
        """Batches of one shuffled epoch; fewer where the rate does not divide one."""
        return max(1, math.floor((1 / self.rate) * (1 + 1e-12)))


@dataclass(frozen=True, slots=True)
class Release:
    """One event, released `count` times to samples drawn alike, adaptively.

    Shuffled batches begin with an epoch: the first of `count` is an epoch's first.
    """

    event: Event
    sample: Sample = Sample()
    count: int = 1

    def __post_init__(self) -> None:
        _check_count("Release.count", self.count, "count the rounds")
