"""Epsilon against rounds, as a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fedprivacy.accounting import epsilon_of
from fedprivacy.dp.events import Adjacency, Release
from fedprivacy.errors import ConfigurationError, MissingExtra

__all__ = ["plot_epsilon"]

_POINTS = 16


def plot_epsilon(release: Release, delta: float, adjacency: Adjacency, path: Path) -> None:
    """Write how epsilon grows up to `release.count` rounds; the suffix names the format.

    Raises `MissingExtra` without matplotlib and `ConfigurationError` for a format it cannot write.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("report", "a plot") from None
    figure = Figure(figsize=(6, 4), layout="constrained")
    formats = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ConfigurationError(
            f"--plot {path} has no format that can be written: end it in .svg, .png or .pdf"
        )
    steps = {max(1, round(release.count * k / _POINTS)) for k in range(_POINTS + 1)}
    rounds = sorted({1, *steps})
    bounds = [epsilon_of([dataclasses.replace(release, count=t)], delta, adjacency) for t in rounds]
    axes = figure.subplots()
    axes.plot(rounds, [b.epsilon for b in bounds], marker=".", label="epsilon, at most")
    if any(b.lower for b in bounds):
        axes.plot(rounds, [b.lower for b in bounds], linestyle="--", label="at least")
    axes.set(xlabel="rounds", ylabel=f"epsilon at delta = {delta:g}", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path)
