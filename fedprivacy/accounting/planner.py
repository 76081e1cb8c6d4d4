"""Planning: how much noise a budget needs, what it does to the mean, how many rounds it buys."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fedprivacy.accounting.accountant import Bound, check_delta, check_epsilon, epsilon_of
from fedprivacy.accounting.charges import charges
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp.clipping import Clip
from fedprivacy.dp.events import (
    Adjacency,
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    Event,
    GaussianEvent,
    Release,
    Sample,
    SkellamEvent,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.vector import FixedPoint, VectorSpec, check_whole

__all__ = ["Cost", "NoiseModel", "Workload", "noise_for", "rounds_within"]

_MOST_ROUNDS = 1 << 40
_MOST_CLIENTS = 1 << 32
_LEAST_NOISE, _MOST_NOISE = 1e-3, 1e9
_ACCURACY = 1e-7  # of a noise multiplier, relative
_TAIL = 14.0  # deviations: beyond, a Gaussian has mass 2e-44


class NoiseModel(enum.Enum):
    """Which noise, and who adds it."""

    GAUSSIAN = "gaussian"
    """Continuous, to the sum: the figure that others quote, and no more than that in floats."""
    DISCRETE_GAUSSIAN = "discrete-gaussian"
    """Integers, by one party that sees the sum."""
    DISTRIBUTED_DISCRETE_GAUSSIAN = "distributed-discrete-gaussian"
    """Integers, a share by each client."""
    SKELLAM = "skellam"
    """Integers, a share by each client, whose sum is exact."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be summed: a round's expected cohort is `clients` times the sample's rate.

    The unit of privacy is a client whose vector of `dimension` coordinates has L2 norm at most
    `clip` and is rounded to `value_bits` bits a coordinate.
    """

    mechanism: NoiseModel
    clients: int
    sample: Sample
    clip: float
    value_bits: int
    dimension: int

    def __post_init__(self) -> None:
        check_whole("clients", self.clients, 1, _MOST_CLIENTS)
        check_whole("dimension", self.dimension, 1, 1 << 40)
        if self.cohort < 1:
            raise ConfigurationError(
                f"rate = {self.sample.rate} of {self.clients} clients is less than one client a "
                "round: raise the rate, or enrol more clients"
            )

    @property
    def cohort(self) -> float:
        """Clients in a round, on average."""
        return self.clients * self.sample.rate

    @property
    def rounded(self) -> VectorSpec:
        """One client's vector of integers; its norm counts what rounding may add."""
        return FixedPoint(self.value_bits).admit(Clip(self.clip).admit(VectorSpec(self.dimension)))

    @property
    def l2(self) -> float:
        """L2 sensitivity in integer units."""
        return self.rounded.l2 or 0.0

    def event(self, multiplier: float) -> Event:
        """One round's event; the multiplier is the sum's deviation over its L2 sensitivity."""
        l2 = self.l2
        # Of integers each magnitude is at most its square.
        l1 = min(math.sqrt(self.dimension) * l2, l2**2)
        variance = (multiplier * l2) ** 2
        match self.mechanism:
            case NoiseModel.GAUSSIAN:
                return GaussianEvent(multiplier)
            case NoiseModel.DISCRETE_GAUSSIAN:
                return DiscreteGaussianEvent(l2, variance)
            case NoiseModel.SKELLAM:
                return SkellamEvent(l2, l1, variance)
            case NoiseModel.DISTRIBUTED_DISCRETE_GAUSSIAN:
                shares = max(1, math.floor(self.cohort))
                return DistributedDiscreteGaussianEvent(
                    l2, l1, self.dimension, variance / shares, shares
                )

    def release(self, multiplier: float, rounds: int) -> Release:
        """So many rounds."""
        return Release(self.event(multiplier), self.sample, rounds)

    def cost(self, multiplier: float) -> Cost:
        """What this noise does to a round, and what a round takes."""
        spec = self.rounded
        scale, cohort = spec.scale or 1.0, self.cohort
        noise = multiplier * self.clip
        if self.mechanism is not NoiseModel.GAUSSIAN:
            noise = multiplier * self.l2 / scale
        # A value y is rounded up with probability y - floor(y): its variance is at most 1/4.
        rounding = math.sqrt(cohort) / 2 / scale
        reach = math.ceil(cohort) * int(spec.bound) + math.ceil(_TAIL * noise * scale)
        bits = (2 * reach).bit_length()
        return Cost(
            value_bits=self.value_bits,
            modulus_bits=bits,
            upload_bytes=(self.dimension * bits + 7) // 8,
            inflation=self.l2 / (self.clip * scale),
            rms_error=math.hypot(noise, rounding) / cohort,
            vector_error=math.hypot(noise, rounding) / cohort * math.sqrt(self.dimension),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """A round's price: bits, bytes of one client's masked vector, error of the decoded mean."""

    value_bits: int
    modulus_bits: int
    """So that a sum of the expected cohort and 14 deviations of noise does not wrap."""
    upload_bytes: int
    inflation: float
    """By how much rounding raises the sensitivity: 1 is not at all."""
    rms_error: float
    """Expected root mean square error of a coordinate of the mean, in the update's unit."""
    vector_error: float
    """The same of the whole vector, as an L2 norm; clipping apart."""


def noise_for(
    workload: Workload, *, epsilon: float, delta: float, rounds: int, adjacency: Adjacency
) -> tuple[float, Bound]:
    """The least noise multiplier that keeps a budget over so many rounds, and what it gives.

    Raises `ConfigurationError` for a budget that no noise keeps, or that none is needed for.
    """
    check_epsilon(epsilon)
    check_delta(delta)
    check_whole("rounds", rounds, 1, _MOST_ROUNDS)

    @cache
    def bound(multiplier: float) -> Bound:
        return epsilon_of([workload.release(multiplier, rounds)], delta, adjacency)

    def over(multiplier: float) -> float:
        return bound(multiplier).epsilon - epsilon

    def over_by_renyi(multiplier: float) -> float:
        curve = composed_curve(charges([workload.release(multiplier, rounds)]), adjacency)
        return renyi_epsilon(curve, delta, ORDERS) - epsilon

    # The Renyi bound costs a tenth, and the least noise by it is a little more than enough.
    enough = _root(over_by_renyi, *_bracket(over_by_renyi, 1.0, 2.0, workload, epsilon))
    least = _root(over, *_bracket(over, enough, 1.2, workload, epsilon))
    return least, bound(least)


def rounds_within(release: Release, *, epsilon: float, delta: float, adjacency: Adjacency) -> int:
    """How many releases like this one a budget buys; zero where not even one."""
    check_epsilon(epsilon)
    check_delta(delta)

    def cost(rounds: int) -> float:
        many = dataclasses.replace(release, count=rounds)
        return epsilon_of([many], delta, adjacency).epsilon

    low, step = 0, 1
    while cost(low + step) <= epsilon:
        low, step = low + step, 2 * step
        if low + step > _MOST_ROUNDS:
            return low
    return _last_within(cost, epsilon, low, low + step)


def _last_within(cost: Callable[[int], float], epsilon: float, low: int, high: int) -> int:
    """The last whole number of [low, high) at which an increasing cost is within epsilon."""
    left, right = (cost(low) if low else 0.0), cost(high)
    near = 1
    while high - low > 1:
        # Where a straight line would cross, and on either side of it, wider each time.
        guess = (low + high) // 2
        if left < right < math.inf:
            guess = low + int((epsilon - left) / (right - left) * (high - low))
            guess = min(max(guess, low + 1), high - 1)
        for probe in (guess, guess - near, guess + near):
            if not low < probe < high:
                continue
            found = cost(probe)
            if found <= epsilon:
                low, left = probe, found
            else:
                high, right = probe, found
        near *= 4
    return low


def _bracket(
    over: Callable[[float], float], start: float, step: float, workload: Workload, epsilon: float
) -> tuple[float, float]:
    """Two multipliers at most a step apart, between which `over` falls to zero."""
    high = start
    while over(high) > 0:
        high *= step
        if high > _MOST_NOISE:
            raise ConfigurationError(
                f"epsilon = {epsilon} is out of reach at this delta with any noise that "
                f"{workload.mechanism.value} can have: raise epsilon or delta, or take fewer rounds"
            )
    low = high / step
    while over(low) <= 0:
        high, low = low, low / step
        if low < _LEAST_NOISE:
            raise ConfigurationError(
                f"epsilon = {epsilon} holds at this delta with hardly any noise: lower delta to "
                "well below 1 / number of clients"
            )
    return low, high


def _root(over: Callable[[float], float], low: float, high: float) -> float:
    """Where `over` falls to zero: at most `_ACCURACY` above, never below."""
    from scipy.optimize import brentq

    def capped(z: float) -> float:
        return min(over(z), 1e6)  # an infinite epsilon is only a large one

    found = float(brentq(capped, low, high, rtol=_ACCURACY / 4, xtol=1e-12))
    step = _ACCURACY / 4
    while over(found) > 0:
        found *= 1 + step
        step *= 2
    return found
