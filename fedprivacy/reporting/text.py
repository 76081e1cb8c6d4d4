"""Figures and foreign text as they appear in every table."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["byte_count", "counted", "names", "percent", "printable", "seconds", "small"]

_MOST_NAMES = 3


def printable(text: str) -> str:
    """The text in one line, with an escape for each character that a terminal could obey.

    Names and reasons come from peers, and from files that others wrote.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def percent(share: float) -> str:
    """A share such as 0.951 as `95.1 %`."""
    return f"{100 * share:.1f} %"


def byte_count(count: int) -> str:
    """Bytes with the unit that leaves at most three digits before the point; 1 kB is 1000 B."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.95:  # what would round to 1000.0
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def small(value: float) -> str:
    """A small figure with two significant digits; never in the way of reading its magnitude."""
    return f"{value:#.2g}".removesuffix(".")


def seconds(value: float) -> str:
    """Seconds with two significant digits: `0.013 s`, `2.4 s`, `1,200 s`."""
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.0f} s" if rounded >= 10 else f"{small(rounded)} s"


def counted(count: int, noun: str) -> str:
    """`1 client`, `20 clients`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def names(clients: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(printable(name) for name in clients[:_MOST_NAMES])
    more = len(clients) - _MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown
