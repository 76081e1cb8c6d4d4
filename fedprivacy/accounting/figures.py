"""A bound as text: rounded to the side on which it still is one."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

__all__ = ["downwards", "upwards"]


def upwards(bound: float, digits: int = 6) -> str:
    """So many figures, never less than the bound: an epsilon must not shrink as it is written."""
    return _figures(bound, digits, ROUND_CEILING)


def downwards(bound: float, digits: int = 6) -> str:
    """So many figures, never more than the bound: of what is left, or of what it is at least."""
    return _figures(bound, digits, ROUND_FLOOR)


def _figures(bound: float, digits: int, towards: str) -> str:
    if not math.isfinite(bound):
        return "infinity"
    if not bound:
        return "0"
    # Nine figures first: a budget that is kept up to float64 rounding is shown as it was given.
    nearest = Context(prec=9).create_decimal_from_float(bound)
    rounded = Context(prec=digits, rounding=towards).plus(nearest)
    if rounded == rounded.to_integral_value():
        return f"{rounded.to_integral_value():f}"
    return f"{rounded.quantize(Decimal(1).scaleb(rounded.adjusted() - digits + 1)):f}"
