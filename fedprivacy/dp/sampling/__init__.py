"""Exact integer noise: samplers that are the same for the same variance, built once."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from fedprivacy.dp.sampling.alias import AliasTable, Stream
from fedprivacy.dp.sampling.masses import discrete_gaussian_masses, skellam_masses
from fedprivacy.dp.sampling.samplers import NoiseTable, Sampler, Summed, draw
from fedprivacy.dp.sampling.wide import MAX_VARIANCE, WideGaussian
from fedprivacy.errors import ConfigurationError

__all__ = [
    "AliasTable",
    "NoiseTable",
    "Sampler",
    "Stream",
    "Summed",
    "WideGaussian",
    "discrete_gaussian",
    "draw",
    "skellam",
]

_TABULATED = 1 << 24  # the largest variance of a table: 65,536 columns
_LEAST = Fraction(1, 1 << 20)
_TERMS = 1 << 10
_KEPT = 16  # samplers; the largest table takes a megabyte


def discrete_gaussian(variance: float | Fraction) -> Sampler:
    """P[x] proportional to exp(-x**2 / (2 variance)) over the integers.

    The parameter, at least the variance, is taken exactly, whatever its type. From a table up to a
    deviation of 4,096, and by rejection from a coarser one above. Raises `ConfigurationError`
    outside [2**-20, 2**60].
    """
    return _discrete_gaussian(_checked(variance, "discrete Gaussian", MAX_VARIANCE))


def skellam(variance: float | Fraction) -> Sampler:
    """The difference of two independent Poisson variables of mean variance / 2 each.

    From a table up to a deviation of 4,096, above it as the sum of as few equal ones as will do.
    Raises `ConfigurationError` outside [2**-20, 2**34].
    """
    return _skellam(_checked(variance, "Skellam", _TERMS * _TABULATED))


def _checked(variance: float | Fraction, name: str, most: int) -> Fraction:
    if isinstance(variance, bool) or not isinstance(variance, int | float | Fraction):
        raise ConfigurationError(f"the {name} variance {variance!r} is not a number: pass one")
    if not _LEAST <= variance <= most:  # NaN compares with nothing
        raise ConfigurationError(
            f"the {name} variance {variance} is outside [2**-20, 2**{most.bit_length() - 1}]: "
            "choose another scale of the values, or another noise"
        )
    return Fraction(variance)


@lru_cache(maxsize=_KEPT)
def _discrete_gaussian(variance: Fraction) -> Sampler:
    if variance > _TABULATED:
        return WideGaussian(variance)
    return NoiseTable(discrete_gaussian_masses(variance))


@lru_cache(maxsize=_KEPT)
def _skellam(variance: Fraction) -> Sampler:
    terms = -(-variance // _TABULATED)
    if terms > 1:
        return Summed(_skellam(variance / terms), terms)
    return NoiseTable(skellam_masses(variance))
