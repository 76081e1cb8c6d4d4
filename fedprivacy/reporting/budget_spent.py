"""What a run told of one unit, beside what it may tell, and the noise that stood before it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.accounting import upwards
from fedprivacy.reporting.tables import figures, titled
from fedprivacy.reporting.text import counted, printable
from fedprivacy.rounds.record import BudgetRecord, RunRecord
from fedprivacy.rounds.rules import Trust

__all__ = ["budget_spent", "spent_figures", "spent_remark"]


def budget_spent(record: RunRecord) -> Iterator[RenderableType]:
    """Epsilon after the last round, the measured noise, and why the run ended where it did.

    Nothing where no budget is charged.
    """
    budget = record.rounds[-1].budget if record.rounds else None
    if budget is None:
        return
    yield titled(f"What the sums tell of one {printable(budget.unit)}, at delta = {budget.delta:g}")
    yield figures(spent_figures(record, budget))
    if remark := spent_remark(record):
        yield Text(remark)
    for r in record.rounds:
        if r.refusal:
            yield Text(f"Round {r.round} was refused before anyone was asked:")
            yield Text(printable(r.refusal))


def spent_remark(record: RunRecord) -> str:
    """For whom that epsilon does not hold; empty where it holds for all."""
    plan = record.plan
    if plan.sampling.scheme == "all" or plan.noise.trust is not Trust.SERVER:
        return ""
    return (
        "This counts on it that who takes part stays hidden. It does not hold for those who "
        "see that: the server, the clients, and whoever reads this record, which names them."
    )


def spent_figures(record: RunRecord, budget: BudgetRecord) -> Iterator[tuple[str, str]]:
    """What is charged after the last round, of how much, and the noise that was measured."""
    summed = sum(r.outcome == "sum" for r in record.rounds)
    after = f"epsilon after {counted(summed, 'sum')} ({printable(budget.adjacency)})"
    yield after, upwards(budget.epsilon, 3)
    yield "epsilon that the budget allows", f"{budget.limit:g}"
    drawn = [
        r.simulation_only.noise
        for r in record.rounds
        if r.simulation_only and r.simulation_only.noise
    ]
    if drawn:
        measured = math.sqrt(sum(n.deviation**2 for n in drawn) / len(drawn))
        counts = math.sqrt(sum(n.planned**2 for n in drawn) / len(drawn))
        yield "deviation of the noise in a sum, measured, in integer steps", f"{measured:,.0f}"
        yield "of the noise that the plan counts", f"{counts:,.0f}"
