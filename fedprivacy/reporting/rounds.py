"""How each round ended: a sum and over whom, or an abort and why."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.accounting import upwards
from fedprivacy.reporting.tables import MOST_ROWS, add_rows, titled, titled_table
from fedprivacy.reporting.text import counted, names, percent, printable, small
from fedprivacy.rounds.record import AttemptRecord, RoundRecord, RunRecord
from fedprivacy.vector import Weights

__all__ = ["outcomes", "round_line", "turned_away", "turned_away_rows"]


def round_line(record: RoundRecord, of: int) -> str:
    """One round in one line, for those who watch: how it ended and who was lost before what."""
    parts = [f"round {record.round} of {of}: {_ended(record)}"]
    for attempt in record.attempts:
        which = f"attempt {attempt.attempt}, " if len(record.attempts) > 1 else ""
        parts += [
            f"lost before {which}{printable(phase.phase)}: {names(phase.lost)}"
            for phase in attempt.phases
            if phase.lost
        ]
        parts += [f"{which}{what}: {who}" for what, who in _turned_away(attempt)]
    return "; ".join(parts)


def outcomes(record: RunRecord) -> Iterator[RenderableType]:
    """Every round's outcome, and, of a simulation, its accuracy and the difference of its sum."""
    yield titled("How each round ended, and what its sum is over")
    numbers = ["clients", _weighed(record)]
    adapts = bool(record.plan.adaptive.quantile)
    if adapts:
        numbers.append("clip")
    if any(r.budget for r in record.rounds):
        numbers.append("epsilon")
    if record.simulation_only:
        numbers += ["accuracy", "difference"]
    table = titled_table(["round", "outcome"], numbers)
    add_rows(table, [_row(r, shows_clip=adapts) for r in record.rounds])
    yield table
    if (earlier := len(record.rounds) - MOST_ROWS) > 0:
        yield Text(f"{counted(earlier, 'earlier round')}: see rounds.jsonl")


def turned_away(record: RunRecord) -> Iterator[RenderableType]:
    """Who declined an attempt, was shut out of it or caused its end; nothing where nobody was."""
    if rows := turned_away_rows(record):
        yield titled("Who declined, was shut out, or caused an abort")
        table = titled_table(["round", "attempt", "what", "clients"])
        add_rows(table, rows)
        yield table
        if len(rows) > MOST_ROWS:
            yield Text(f"{len(rows) - MOST_ROWS:,} earlier: see rounds.jsonl")


def turned_away_rows(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """Round, attempt, what befell clients, and which."""
    return [
        (str(r.round), str(a.attempt), what, who)
        for r in record.rounds
        for a in r.attempts
        for what, who in _turned_away(a)
    ]


def _weighed(record: RunRecord) -> str:
    """What the sum's weight counts, as the head of a column."""
    plan = record.plan
    counts_units = plan.protects_units and plan.update.weights is Weights.SUMMED
    return f"{printable(plan.dataset.unit)}s" if counts_units else "weight"


def _row(r: RoundRecord, *, shows_clip: bool) -> list[str]:
    summed = r.outcome == "sum"
    ended = "sum" if summed else _ended(r)
    if len(r.attempts) > 1:
        ended += f", attempt {r.attempts[-1].attempt}"
    clients = str(len(r.attempts[-1].survivors)) if summed else "-"
    row = [str(r.round), ended, clients, str(r.weight) if summed else "-"]
    if shows_clip:
        row.append(small(r.clip) if summed else "-")
    if r.budget:
        row.append(upwards(r.budget.epsilon, 3))
    if r.simulation_only:
        found = r.simulation_only.largest_difference
        difference = small(found) if summed and found is not None else "-"
        row += [percent(r.simulation_only.accuracy), difference]
    return row


def _ended(r: RoundRecord) -> str:
    match r.outcome:
        case "sum":
            return f"sum over {counted(len(r.attempts[-1].survivors), 'client')}"
        case "refused":
            return "refused (budget)"
        case _:
            return _aborted(r.attempts[-1])


def _aborted(attempt: AttemptRecord) -> str:
    return f"aborted ({printable(attempt.reason)})"


def _turned_away(attempt: AttemptRecord) -> Iterator[tuple[str, str]]:
    """What befell clients other than being lost, and which clients."""
    for did, reasons in (("declined", attempt.refused), ("shut out", attempt.excluded)):
        for reason in dict.fromkeys(reasons.values()):
            who = [name for name, given in reasons.items() if given == reason]
            yield f"{did} ({printable(reason)})", names(who)
    if attempt.culprits:
        yield "caused the abort", names(attempt.culprits)
