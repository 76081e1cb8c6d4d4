"""The probabilities of the discrete Gaussian and of the Skellam distribution, enclosed in integers.

Everything is fixed point with `POINT` bits behind the point, and each rounding is counted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

__all__ = ["POINT", "Masses", "discrete_gaussian_masses", "exp_minus", "skellam_masses"]

POINT = 320
"""Bits behind the point: what is lost to rounding stays below 2**-260 of the whole."""

_CUT = 1 << POINT - 132  # where a tail is cut, relative to the mass at zero
_ONE = 1 << POINT


@dataclass(frozen=True, slots=True)
class Masses:
    """The masses of 0, 1, 2, ... of a symmetric distribution, up to a common factor.

    Each true mass, times 2**`POINT`, is at least `least[i]` and at most `least[i] + slack`; all the
    magnitudes after the last, each counted once, have `tail` at most.
    """

    least: list[int] = field(repr=False)
    slack: int
    tail: int


def exp_minus(x: Fraction, bits: int) -> int:
    """A lower bound of exp(-x) 2**bits, less than 3 below it and not negative; x >= 0."""
    if x >= bits:
        return 0
    # Taylor's series at x / 2**halvings < 2**-7, then as many squarings. In units of 2**-point:
    # x is off by 1 and each of fewer than 100 terms by 2, the series by less than 2**8; a squaring
    # of a value of at most 1 doubles that and adds 1: less than 2**(halvings + 9) in the end.
    halvings = max(0, x.numerator.bit_length() - x.denominator.bit_length() + 8)
    point = bits + halvings + 11
    small = (x.numerator << point) // (x.denominator << halvings)
    total = term = 1 << point
    for n in itertools.count(1):
        term = (term * small >> point) // n
        if not term:
            break
        total += -term if n % 2 else term
    for _ in range(halvings):
        total = total * total >> point
    return max(0, (total >> (point - bits)) - 1)


def discrete_gaussian_masses(variance: Fraction) -> Masses:
    """exp(-i**2 / (2 variance)), by the recurrence over the ratios of neighbours.

    Every product is rounded down. In units of 2**-`POINT`, with all factors at most 1: `ratio` and
    `step` begin less than 3 too low, so the i-th ratio is less than 3 + 4 i too low, and the i-th
    mass, which takes the ratios before it, less than the sum of 4 + 4 j over j < i, 2 i (i + 1).
    """
    ratio, step = exp_minus(1 / (2 * variance), POINT), exp_minus(1 / variance, POINT)
    mass, least = _ONE, []
    while mass >= _CUT:
        least.append(mass)
        mass, ratio = mass * ratio >> POINT, ratio * step >> POINT
    slack = 2 * (len(least) + 2) ** 2
    # The ratios fall, so the tail is below a geometric series.
    return Masses(least, slack, _geometric(mass + slack, ratio + slack))


def _geometric(first: int, ratio: int) -> int:
    """No less than first + first ratio + first ratio**2 + ..., in fixed point."""
    return (first << POINT) // (_ONE - ratio) + 1


def skellam_masses(variance: Fraction) -> Masses:
    """I_i(variance) / I_0(variance): the difference of two Poisson variables of half the variance.

    The ratio r_i = I_i / I_{i-1} is 1 / (2 i / variance + r_{i+1}) and lies in (0, 1). Taken from a
    far i down to 1, as in Miller's algorithm, with both ends of the interval and rounded outwards,
    it is enclosed whatever the first one was: each step narrows the interval by about r_i**2.
    Source: Abramowitz, Stegun, 9.6.26 and 9.12; that the ratios fall with i: Amos, "Computation of
    modified Bessel functions and their ratios" (1974).
    """
    low, high = _skellam_ratios(variance)
    least, most, masses = _ONE, _ONE, []
    slack = 0
    for ratio_low, ratio_high in zip(low, high, strict=True):
        masses.append(least)
        slack = max(slack, most - least)
        least, most = least * ratio_low >> POINT, (most * ratio_high >> POINT) + 1
        if least < _CUT:
            break
    return Masses(masses, slack, _geometric(most, high[len(masses)]))


def _skellam_ratios(variance: Fraction) -> tuple[list[int], list[int]]:
    """Lower and upper bounds of r_1, r_2, ... up to far beyond the cut."""
    low, high = [0], [_ONE]
    for i in range(_far(float(variance)), 0, -1):
        term = (2 * i * variance.denominator << POINT) // variance.numerator
        below = (1 << 2 * POINT) // (term + 1 + high[-1])
        above = (1 << 2 * POINT) // (term + low[-1]) + 1
        low.append(below)
        high.append(min(above, _ONE))
    return low[::-1], high[::-1]


def _far(variance: float) -> int:
    """Where the mass is about 2**-300: the interval is narrow long before the cut is reached.

    Only an estimate: what it is worth is seen from the width of the intervals.
    """
    steps = np.arange(1, math.ceil(24 * math.sqrt(variance)) + 500)
    fallen = np.cumsum(np.arcsinh((steps - 0.5) / variance))
    return int(np.searchsorted(fallen, 300 * math.log(2))) + 1
