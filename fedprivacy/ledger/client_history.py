"""What a client's store has to tell of the past: where its data left, and what that was charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select

from fedprivacy.ledger.budget_events import (
    BudgetTerms,
    EpsilonAccountant,
    Spend,
    charged_epsilon,
)
from fedprivacy.ledger.client_budget import charged_events
from fedprivacy.ledger.tables import answers, attempts, charges, sources, spent

__all__ = ["ClientHistory", "DatasetCharges", "client_history"]


@dataclass(frozen=True, slots=True)
class DatasetCharges:
    """All that was ever charged to one data set, of all runs."""

    dataset: str
    unit: str
    adjacency: str
    sources: tuple[str, ...]
    """This client's own words for the data."""
    runs: int
    rounds: int
    spends: tuple[Spend, ...]

    def epsilon(self, accountant: EpsilonAccountant, terms: BudgetTerms) -> float:
        """What all of it costs together, at these terms."""
        return charged_epsilon(accountant, {s.event: s.count for s in self.spends}, terms)


@dataclass(frozen=True, slots=True)
class ClientHistory:
    """What this client did, in all runs."""

    begun: int
    """Attempts whose plan it accepted."""
    sent: int
    """Rounds in which its input left."""
    uncharged: int
    """Of those, rounds that no budget was charged for."""
    answered: int
    """Rounds in which it signed or unmasked."""
    charges: tuple[DatasetCharges, ...]


def client_history(connection: Connection) -> ClientHistory:
    """The past as it stands in a store; data sets in the order of their names."""
    sent, charged = _rounds(connection, spent), _rounds(connection, charges)
    return ClientHistory(
        begun=connection.execute(select(func.count()).select_from(attempts)).scalar_one(),
        sent=len(sent),
        uncharged=len(sent - charged),
        answered=len(_rounds(connection, answers)),
        charges=tuple(_datasets(connection)),
    )


def _rounds(
    connection: Connection, table: Table, dataset: str | None = None
) -> set[tuple[bytes, int]]:
    """The rounds in a table, by run and number; of one data set only, where it is named."""
    query = select(table.c.run_id, table.c.round)
    if dataset is not None:
        query = query.where(table.c.dataset == dataset)
    return {(run, number) for run, number in connection.execute(query)}


def _datasets(connection: Connection) -> Iterator[DatasetCharges]:
    known = connection.execute(select(sources).order_by(sources.c.dataset, sources.c.source)).all()
    for dataset in dict.fromkeys(row.dataset for row in known):
        alike = [row for row in known if row.dataset == dataset]
        rounds = _rounds(connection, charges, dataset)
        events = charged_events(connection, dataset)
        yield DatasetCharges(
            dataset=dataset,
            unit=alike[0].unit,
            adjacency=alike[0].adjacency,
            sources=tuple(row.source for row in alike),
            runs=len({run for run, _ in rounds}),
            rounds=len(rounds),
            spends=tuple(Spend(event, count) for event, count in events.items()),
        )
