"""Where a command writes: results to stdout, all that accompanies them to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType

__all__ = ["accompanying", "show"]


def accompanying() -> Console:
    """The console for progress and remarks."""
    return _console(stderr=True)


def show(parts: Iterable[RenderableType]) -> None:
    """Write a report to stdout, without the blanks that fill a table's lines."""
    console = _console(stderr=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    for line in captured.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def _console(*, stderr: bool) -> Console:
    """Plain text comes out as it went in: no markup, no emoji codes, nothing highlighted."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
