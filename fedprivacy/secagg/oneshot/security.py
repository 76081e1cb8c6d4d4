"""How hard the lattice problem is: the standard's table, and an estimate in its cost model.

The table is that of Albrecht et al., "Homomorphic Encryption Security Standard" (2018), table 1:
the largest modulus, in bits, with 128 bits of classical security for errors of standard deviation
3.2, in its column for ternary secrets, the strictest. The estimate is of the primal attack by
unique shortest vectors, with the condition of Albrecht, Goepfert, Virdia and Wunderer, ASIACRYPT
2017, and two costs: the one that the standard's estimates used (BKZ with sieving,
2**(0.292 beta + 16.4) for each of 8 d calls), and core-SVP, 2**(0.292 beta), which counts a single
call without its constant (Alkim et al., USENIX Security 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["SECURITY_BITS", "STANDARD_LIMITS", "Estimate", "estimate_primal"]

SECURITY_BITS = 128
STANDARD_LIMITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}
"""Bits of the largest modulus, by the ring's degree."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cheapest primal attack that was found."""

    block_size: int
    """beta, of the lattice reduction that it takes."""
    dimension: int
    """d, of the lattice that is reduced."""

    @property
    def standard_bits(self) -> float:
        """log2 of its cost as the standard counts."""
        return 0.292 * self.block_size + 16.4 + math.log2(8 * self.dimension)

    @property
    def core_svp_bits(self) -> float:
        return 0.292 * self.block_size


def estimate_primal(
    degree: int, modulus_bits: float, *, secret_deviation: float, error_deviation: float
) -> Estimate:
    """The attack on a secret of `degree` coefficients, from as many samples as it likes to take.

    Raises `ValueError` where even blocks of twice the degree would not do: there is no estimate.
    """
    best = _attack(2 * degree, degree, modulus_bits, secret_deviation, error_deviation)
    if best is None:
        raise ValueError(f"no estimate for degree {degree} and a modulus of {modulus_bits} bits")
    low, high = 40, 2 * degree
    while low < high:
        middle = (low + high) // 2
        attack = _attack(middle, degree, modulus_bits, secret_deviation, error_deviation)
        if attack is None:
            low = middle + 1
        else:
            best, high = attack, middle
    return best


def _attack(
    block_size: int, degree: int, modulus_bits: float, secret: float, error: float
) -> Estimate | None:
    """The attack with this block size and the number of samples that suits it best, if it works.

    sqrt(beta) sigma <= delta**(2 beta - d - 1) (q**m nu**n)**(1/d), with d = m + n + 1 and the
    secret's part of the lattice scaled by nu = sigma / sigma_s.
    """
    samples = np.arange(1, 2 * degree + 1)
    dimensions = samples + degree + 1
    volume = (samples * modulus_bits + degree * math.log2(error / secret)) / dimensions
    delta = _root_hermite_bits(block_size)
    short = (2 * block_size - dimensions - 1) * delta + volume
    margin = short - 0.5 * math.log2(block_size) - math.log2(error)
    margin[dimensions < block_size] = -np.inf
    at = int(np.argmax(margin))
    return Estimate(block_size, int(dimensions[at])) if margin[at] >= 0 else None


def _root_hermite_bits(block_size: int) -> float:
    """log2 of delta, what BKZ with such blocks reaches (Chen, 2013)."""
    b = block_size
    return (math.log2(math.pi * b) / b + math.log2(b / (2 * math.pi * math.e))) / (2 * (b - 1))
