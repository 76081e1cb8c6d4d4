"""What protection cost in accuracy, beside what it must beat."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from fedprivacy.reporting.tables import figures, titled
from fedprivacy.reporting.text import counted, percent, printable, small
from fedprivacy.rounds.record import RunRecord, SimulatedRun

__all__ = ["accuracy", "exactness"]


def accuracy(record: RunRecord, known: SimulatedRun) -> Iterator[RenderableType]:
    """Held-out accuracy: of this run, of the same run unprotected, of always one answer."""
    plan = record.plan
    # Where the unit is a client, what is held out are not units but examples that no client has.
    held_out = printable(plan.dataset.unit) if plan.protects_units else "example"
    yield titled(f"Accuracy on {counted(known.held_out, held_out)} that no client trained on")
    yield figures(
        [
            (f"this run ({printable(record.guarantee.protocol)})", percent(known.accuracy)),
            ("the same run, unprotected", percent(known.accuracy_unprotected)),
            ("always naming the commoner class", percent(known.majority)),
        ]
    )


def exactness(found: float, bound: float) -> Iterator[RenderableType]:
    """How far a decoded sum was from the float64 sum of the same updates, and how far it may be."""
    yield titled("Largest difference between a round's sum and the float64 sum of the same updates")
    yield figures(
        [
            ("found, in the round that came closest to its bound", small(found)),
            ("that round's bound, from rounding alone", small(bound)),
        ]
    )
