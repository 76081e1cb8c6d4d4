"""Secrets from shares some of which are wrong: r shares of a threshold t are a Reed-Solomon code.

Up to r - t wrong holders are noticed, and up to (r - t) / 2 are found and left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic.shamir import PRIME, combine, lagrange_at_zero, parity_check

__all__ = ["Corrected", "correct_shares"]


class Corrected(NamedTuple):
    """The secrets, and whose shares were left out."""

    secrets: NDArray[np.uint64]
    wrong: tuple[int, ...]
    """Rows of the shares."""


def correct_shares(
    points: NDArray[np.uint64], shares: NDArray[np.uint64], threshold: int
) -> Corrected:
    """The `(count,)` secrets from the `(r, count)` shares of r >= t holders at `(r,)` points.

    Raises `ValueError` where more than (r - t) / 2 holders would have to be wrong. More than that
    may agree on other secrets: the caller must have another way to tell these.
    """
    rows = list(range(len(points)))
    if len(rows) < threshold:
        raise ValueError(f"{len(rows)} shares where {threshold} are needed")
    most = (len(rows) - threshold) // 2
    while True:
        held = shares[rows]
        bad = combine(parity_check(points[rows], threshold), held).any(axis=0)
        if not bad.any():
            break
        # A holder is wrong everywhere or here and there; one place tells who is wrong there.
        place = int(np.argmax(bad))
        wrong = _wrong_holders([int(x) for x in points[rows]], held[:, place].tolist(), threshold)
        rows = [row for at, row in enumerate(rows) if at not in wrong]
        if not wrong or len(points) - len(rows) > most:
            raise ValueError(f"the shares agree on nothing: more than {most} are wrong")
    basis = lagrange_at_zero(points[rows[:threshold]])
    secrets = combine(basis, shares[rows[:threshold]])
    return Corrected(secrets, tuple(sorted(set(range(len(points))) - set(rows))))


def _wrong_holders(points: list[int], values: list[int], threshold: int) -> set[int]:
    """Whose values do not lie on the polynomial on which nearly all do; empty where none is.

    Source: Welch and Berlekamp, US patent 4,633,470 (expired): a pair Q, E with
    Q(x) = y E(x) at every point, deg E <= e, deg Q < t + e; then the polynomial is Q / E.
    """
    errors = (len(points) - threshold) // 2
    rows = []
    for x, y in zip(points, values, strict=True):
        powers = [pow(x, k, PRIME) for k in range(threshold + errors)]
        rows.append([*powers, *(-y * power % PRIME for power in powers[: errors + 1])])
    solution = _kernel_vector(rows)
    if solution is None:
        return set()
    quotient = _divide(solution[: threshold + errors], solution[threshold + errors :])
    if quotient is None or len(quotient) > threshold:
        return set()
    pairs = enumerate(zip(points, values, strict=True))
    return {at for at, (x, y) in pairs if _value(quotient, x) != y}


def _kernel_vector(rows: list[list[int]]) -> list[int] | None:
    """A vector other than zero that every row takes to zero, mod p; None if there is no such."""
    rows, width = [row[:] for row in rows], len(rows[0])
    free = width
    for at in range(width):
        found = next((r for r in range(at, len(rows)) if rows[r][at]), None)
        if found is None:
            free = at
            break
        rows[at], rows[found] = rows[found], rows[at]
        inverse = pow(rows[at][at], -1, PRIME)
        rows[at] = [value * inverse % PRIME for value in rows[at]]
        for r, row in enumerate(rows):
            if r != at and row[at]:
                factor = row[at]
                rows[r] = [(a - factor * b) % PRIME for a, b in zip(row, rows[at], strict=True)]
    if free == width:
        return None
    above = [-rows[at][free] % PRIME for at in range(free)]
    return [*above, 1, *([0] * (width - free - 1))]


def _divide(dividend: list[int], divisor: list[int]) -> list[int] | None:
    """The quotient of two polynomials mod p, lowest degree first; None if there is a rest."""
    dividend, divisor = _trimmed(dividend), _trimmed(divisor)
    if not divisor:
        return None
    inverse, quotient = pow(divisor[-1], -1, PRIME), [0] * max(len(dividend), 1)
    while len(dividend) >= len(divisor):
        shift = len(dividend) - len(divisor)
        factor = dividend[-1] * inverse % PRIME
        quotient[shift] = factor
        for k, value in enumerate(divisor):
            dividend[shift + k] = (dividend[shift + k] - factor * value) % PRIME
        dividend = _trimmed(dividend)
    return None if dividend else _trimmed(quotient)


def _trimmed(polynomial: list[int]) -> list[int]:
    end = len(polynomial)
    while end and not polynomial[end - 1]:
        end -= 1
    return polynomial[:end]


def _value(polynomial: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value
