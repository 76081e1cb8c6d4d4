"""What a command shows while it runs: a line for each thing that ends, and a bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedprivacy.reporting.rounds import round_line

if TYPE_CHECKING:
    from fedprivacy.rounds import RoundRecord
    from fedprivacy.simulation.run import Observer
    from fedprivacy.transport import PhaseMeter

__all__ = ["counting", "watching"]


@contextmanager
def watching(console: Console) -> Iterator[Observer]:
    """An observer that writes to this console, tidied up however the run ends."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[phase]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(console, progress)


@contextmanager
def counting(console: Console, what: str, count: int) -> Iterator[Callable[[str], None]]:
    """Takes a line for each of `count` things that has ended."""

    def line(told: str) -> None:
        console.print(told, soft_wrap=not console.is_terminal)

    if not console.is_terminal:
        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=count)

        def both(told: str) -> None:
            line(told)
            progress.advance(task)

        yield both


class _Lines:
    """A line for each round that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._of = 0

    def round_started(self, number: int, of: int) -> None:
        self._of = of

    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None:
        """Nothing is said before the round has ended."""

    def round_ended(self, record: RoundRecord) -> None:
        # In a file a line is a line; a terminal's are broken between words.
        line = round_line(record, self._of)
        self._console.print(line, soft_wrap=not self._console.is_terminal)


class _Bar(_Lines):
    """The same lines, and beneath them the round and the phase that the run is in."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self._progress = progress
        self._task = progress.add_task("", total=None, phase="")

    def round_started(self, number: int, of: int) -> None:
        super().round_started(number, of)
        self._progress.update(
            self._task, total=of, completed=number - 1, description=f"round {number} of {of}"
        )

    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None:
        lost = f", {len(meter.lost)} lost" if meter.lost else ""
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self._progress.update(self._task, phase=f"{meter.phase} done{lost}{again}")

    def round_ended(self, record: RoundRecord) -> None:
        super().round_ended(record)
        self._progress.update(self._task, completed=record.round, phase="")
