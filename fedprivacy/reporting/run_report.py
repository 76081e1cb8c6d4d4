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
    yield Text(
        f"{counted(len(record.rounds), 'round')} of {printable(record.guarantee.protocol)} among "
        f"{_among(record)}; fedprivacy {printable(record.fedprivacy)}"
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
        if known.largest_difference is not None:
            yield exactness(known.largest_difference, known.quantisation_bound)
    yield promises(record.guarantee, _of_which_cohort(record))


def _among(record: RunRecord) -> str:
    """Whom the rounds were over, and how many open a sum where all rounds have the same."""
    everyone, sampling = counted(len(record.clients), "client"), record.plan.sampling
    if committee := record.guarantee.committee:
        return f"{everyone}, opened by {committee.threshold} of a committee of {committee.size}"
    if sampling.scheme == "all":
        return f"{everyone}, threshold {record.guarantee.threshold}"
    return f"{everyone}, each drawn at a rate of {sampling.rate:g}"


def _of_which_cohort(record: RunRecord) -> str:
    """Where cohorts are of any size, the guarantee is that of the one that promises least."""
    if record.plan.sampling.scheme == "all":
        return ""
    least = counted(record.guarantee.cohort, "client")
    return f"Of a cohort of {least}, which promises the least with which a round is run:"
