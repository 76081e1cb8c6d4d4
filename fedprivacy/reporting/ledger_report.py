"""Budgets, the rows of their ledger and what receipts say of it, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import assert_never

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.accounting import upwards
from fedprivacy.ledger import Budget, Contradiction, History, ReservationState, Verification
from fedprivacy.ledger.budget_entries import (
    Amended,
    Closed,
    Entry,
    Founded,
    Opened,
    Refused,
    Request,
    Reserved,
    Settled,
    Unmasking,
    Voided,
)
from fedprivacy.ledger.budget_events import BudgetTerms
from fedprivacy.reporting.tables import titled_table
from fedprivacy.reporting.text import counted, names, printable

__all__ = ["budget_table", "log_lines", "verification_lines"]

_LAST_SECOND = 253_402_300_799  # of the year 9999, the last that a date can show


def budget_table(budgets: Sequence[Budget]) -> Iterator[RenderableType]:
    """A line a budget: what is charged, the limit, and whether anything is left open."""
    if not budgets:
        yield Text("no budget is open: `fedprivacy budget open` opens one")
        return
    table = titled_table(("data set", "unit", ""), ("charged", "limit", "delta", "rounds", "open"))
    for budget in budgets:
        attempts = budget.attempts
        pending = attempts[ReservationState.RESERVED] + attempts[ReservationState.UNMASKING]
        table.add_row(
            Text(printable(budget.key.dataset)),
            Text(printable(budget.key.unit)),
            budget.status.value,
            upwards(budget.charged),
            *(f"{figure:.6g}" for figure in (budget.terms.epsilon, budget.terms.delta)),
            f"{attempts[ReservationState.SETTLED]:,}",
            f"{pending:,}",
        )
    yield table


def log_lines(history: History) -> Iterator[str]:
    """A line a row: number, time, what happened."""
    for number, entry in enumerate(history.entries):
        kind = type(entry).__name__.lower()
        yield f"{number}  {_when(entry.at)}  {kind}  {printable(_told(entry))}"


def verification_lines(verification: Verification, places: Sequence[str] = ()) -> Iterator[str]:
    """What was checked, and what the receipts that do not agree say.

    `places` says where each receipt stood. Receipts that say one thing are told together.
    """
    yield f"ledger {verification.ledger.hex()}"
    yield f"{counted(verification.rows, 'row')} in one chain, head {verification.head.hex()}"
    agreeing = verification.receipts - len({f.receipt for f in verification.findings})
    if not verification.receipts:
        yield "no receipts were compared: what nobody kept a head of could have been cut off"
        return
    yield f"{counted(verification.receipts, 'receipt')}, of which {agreeing:,} agree with it"
    alike: dict[tuple[Contradiction, str], list[int]] = {}
    for finding in verification.findings:
        alike.setdefault((finding.contradiction, finding.detail), []).append(finding.receipt)
    for (contradiction, detail), receipts in alike.items():
        where = names([places[at] if places else f"receipt {at}" for at in receipts])
        yield f"{where}: {contradiction.value}, {detail}"


def _when(at: int) -> str:
    """The row's time, or the bare number where no calendar has it."""
    if at > _LAST_SECOND:
        return str(at)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _told(entry: Entry) -> str:
    match entry:
        case Founded():
            told = f"ledger {entry.ledger.hex()}"
        case Opened() | Amended():
            told = f"{entry.key} {_terms(entry.terms)}; {entry.approver}: {entry.reason}"
        case Closed():
            told = f"{entry.key}; {entry.approver}: {entry.reason}"
        case Reserved():
            told = f"{_request(entry.request)}; charged {_by(entry.charged, entry.method)}"
        case Refused():
            told = f"{_request(entry.request)}; would be {_by(entry.would_be, entry.method)}"
        case Unmasking():
            told = f"of reservation {entry.reservation}"
        case Settled():
            told = f"reservation {entry.reservation}; charged {_by(entry.charged, entry.method)}"
        case Voided():
            charged = _by(entry.charged, entry.method)
            told = f"reservation {entry.reservation}; charged {charged}; {entry.reason}"
        case _:  # all kinds stand above
            assert_never(entry)
    return told


def _terms(terms: BudgetTerms) -> str:
    return f"epsilon {terms.epsilon:.6g}, delta {terms.delta:.6g}, {terms.adjacency}"


def _request(request: Request) -> str:
    attempt = f"round {request.round}, attempt {request.attempt}"
    return f"{request.key} run {request.run.hex()}, {attempt}"


def _by(charged: float, method: str) -> str:
    return f"{upwards(charged)} by {method}"
