"""A whole run as a person reads it, from its record alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.reporting.accuracy import accuracy, exactness
from fedprivacy.reporting.budget_spent import budget_spent
from fedprivacy.reporting.costs import costs
from fedprivacy.reporting.losses import losses
from fedprivacy.reporting.promises import promises
from fedprivacy.reporting.rounds import outcomes, turned_away
from fedprivacy.reporting.text import counted, printable
from fedprivacy.rounds.record import RunRecord

__all__ = ["run_report"]


def run_report(record: RunRecord) -> Iterator[RenderableType]:
    """The parts of the report in order, an empty line between them; legible at 80 columns."""
    guarantee = record.guarantee
    yield Text(
        f"{counted(len(record.rounds), 'round')} of {printable(guarantee.protocol)} among "
        f"{counted(guarantee.cohort, 'client')}, threshold {guarantee.threshold}; "
        f"fedprivacy {printable(record.fedprivacy)}"
    )
    yield Text(f"run {printable(record.run_id)}")
    for part in _parts(record):
        yield Text()
        yield from part


def _parts(record: RunRecord) -> Iterator[Iterable[RenderableType]]:
    known = record.simulation_only
    yield outcomes(record)
    yield losses(record)
    if declined := list(turned_away(record)):
        yield declined
    if spent := list(budget_spent(record)):
        yield spent
    yield costs(record)
    if known:
        yield accuracy(record, known)
        yield exactness(known)
    yield promises(record.guarantee)
