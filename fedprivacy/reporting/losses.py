"""Who was lost, in which round, before which phase's message."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fedprivacy.reporting.tables import MOST_ROWS, add_rows, titled, titled_table
from fedprivacy.reporting.text import names, printable
from fedprivacy.rounds.record import RunRecord

__all__ = ["losses"]


def losses(record: RunRecord) -> Iterator[RenderableType]:
    """A row for each attempt that lost anybody, a column for each phase in which it happened."""
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
    if not lost:
        yield titled("Nobody was lost")
        return
    yield titled("Who was lost, in which round, before which message")
    heads = [phase for phase in phases if any(phase in row for _, row in lost)]
    table = titled_table(["round", *map(printable, heads)])
    add_rows(table, [[where, *(row.get(head, "") for head in heads)] for where, row in lost])
    yield table
    if (earlier := len(lost) - MOST_ROWS) > 0:
        yield Text(f"{earlier:,} earlier: see rounds.jsonl")
