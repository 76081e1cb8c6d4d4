"""What a run cost: bytes that one client sent, seconds that the parties in sight computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from rich.console import RenderableType

from fedprivacy.reporting.tables import add_rows, titled, titled_table
from fedprivacy.reporting.text import byte_count, printable
from fedprivacy.rounds.record import PhaseRecord, RoundRecord, RunRecord

__all__ = ["cost_rows", "costs"]


def costs(record: RunRecord) -> Iterator[RenderableType]:
    """A row a phase; a round's bytes are those of all its attempts.

    Of each phase the record keeps what the client that sent most sent. These are added up, so that
    over phases and rounds the figure is one that no client exceeded.
    """
    whose = "all parties together" if record.simulation_only else "the server's alone"
    yield titled(f"What it cost (seconds: {whose}; bytes: no client sent more)")
    table = titled_table(["phase"], ["seconds", "sent in one round", "sent in all rounds"])
    add_rows(table, cost_rows(record))
    yield table


def cost_rows(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """The rows of that table: phase, seconds, bytes in one round, bytes in all of them."""
    seconds: Counter[str] = Counter()
    in_all: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for r in record.rounds:
        sent: Counter[str] = Counter()
        for phase in _phases(r):
            seconds[phase.phase] += phase.seconds  # type: ignore[assignment]  # typed for int alone
            sent[phase.phase] += phase.bytes_up_most
        in_all.update(sent)
        most |= sent  # the greater of the two, phase by phase
    rows = [
        (printable(name), f"{spent:.2f}", byte_count(most[name]), byte_count(in_all[name]))
        for name, spent in seconds.items()
    ]
    trained = sum(r.simulation_only.training_seconds for r in record.rounds if r.simulation_only)
    if record.simulation_only:
        rows.append(("(training)", f"{trained:.2f}", "", ""))
    busiest = max((_sent(r) for r in record.rounds), default=0)
    together = f"{sum(seconds.values()) + trained:.2f}"
    rows.append(("together", together, byte_count(busiest), byte_count(sum(in_all.values()))))
    return rows


def _phases(r: RoundRecord) -> Iterator[PhaseRecord]:
    return chain.from_iterable(attempt.phases for attempt in r.attempts)


def _sent(r: RoundRecord) -> int:
    return sum(phase.bytes_up_most for phase in _phases(r))
