"""Who was lost, in which round, before which phase's message."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.reporting.tables import MOST_ROWS, add_rows, titled, titled_table
from fedprivacy.reporting.text import names, printable
from fedprivacy.rounds.record import RunRecord

__all__ = ["losses", "lost_clients"]


def losses(record: RunRecord) -> Iterator[RenderableType]:
    """A row for each attempt that lost anybody, a column for each phase in which it happened."""
    heads, rows = lost_clients(record)
    if not rows:
        yield titled("Nobody was lost")
        return
    yield titled("Who was lost, in which round, before which message")
    table = titled_table(["round", *heads])
    add_rows(table, rows)
    yield table
    if (earlier := len(rows) - MOST_ROWS) > 0:
        yield Text(f"{earlier:,} earlier: see rounds.jsonl")


def lost_clients(record: RunRecord) -> tuple[list[str], list[list[str]]]:
    """The phases in which anybody was lost, and the rows of that table."""
    phases: dict[str, None] = {}
    lost: list[tuple[str, dict[str, str]]] = []
    for r in record.rounds:
        for attempt in r.attempts:
            phases |= dict.fromkeys(phase.phase for phase in attempt.phases)
            row = {phase.phase: names(phase.lost) for phase in attempt.phases if phase.lost}
            if row:
                many = len(r.attempts) > 1
                lost.append(
                    (f"{r.round}, attempt {attempt.attempt}" if many else str(r.round), row)
                )
    heads = [phase for phase in phases if any(phase in row for _, row in lost)]
    rows = [[where, *(row.get(head, "") for head in heads)] for where, row in lost]
    return [printable(head) for head in heads], rows
