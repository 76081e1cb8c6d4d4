# ruff: noqa: A002 - a round is called a round, as in every message and plan.
"""A client's own budget: what its data has told across all runs, whatever any server accounts for.

Taking part is charged in full, as if the client were in every sample, when its input leaves, and
nothing is ever handed back. Data is known by what this client calls it, where its policy says that:
under the name of another data set, or unit, it is then refused, since whoever could rename it could
begin its budget anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from fedprivacy.accounting import upwards
from fedprivacy.errors import BudgetExhausted, ConfigurationError, PolicyRefused, Reason
from fedprivacy.ledger.budget_events import (
    BudgetTerms,
    EpsilonAccountant,
    PrivacyEvent,
    Spend,
    charged_epsilon,
    merged,
)
from fedprivacy.ledger.tables import charges, sources
from fedprivacy.wire import Message, decode, encode

__all__ = [
    "Charge",
    "ClientBudget",
    "charge_round",
    "charged_events",
    "charged_so_far",
    "check_affordable",
]


@dataclass(frozen=True, slots=True)
class ClientBudget:
    """What a client's policy sets for one of its data sets.

    `source` is the client's own word for the data: its path, or its key in the policy.
    """

    source: str
    dataset: str
    unit: str
    terms: BudgetTerms

    def __post_init__(self) -> None:
        path = f'policy.budget."{self.dataset}"'
        for key in ("source", "dataset", "unit"):
            if not getattr(self, key):
                raise ConfigurationError(f'{path}.{key} = "" names nothing: give a name')
        self.terms.check(path)


@dataclass(frozen=True, slots=True)
class Charge:
    """What taking part in one round costs this client at worst, never amplified by sampling."""

    budget: ClientBudget
    spends: tuple[Spend, ...]
    accountant: EpsilonAccountant

    @classmethod
    def of(
        cls, budget: ClientBudget, spends: Iterable[Spend], accountant: EpsilonAccountant
    ) -> Charge:
        """A charge in its one form; raises `ConfigurationError` for one that charges nothing."""
        return cls(budget, merged(spends), accountant)

    @property
    def record(self) -> tuple[bytes, ...]:
        """What the store's chain says of it."""
        budget = self.budget
        names = (budget.source, budget.dataset, budget.unit, budget.terms.adjacency)
        return (*(name.encode() for name in names), _packed(self.spends))


class _Spends(Message, frozen=True, tag="spends"):
    spends: tuple[Spend, ...]


def charge_round(connection: Connection, charge: Charge, run_id: bytes, round: int) -> None:
    """Charge one round, once however many attempts it takes, where they release alike.

    Raises `PolicyRefused` (`POLICY_DATASET`) for data under another name, `BudgetExhausted`.
    """
    budget = charge.budget
    if not _is_pinned(connection, budget):
        names = {"source": budget.source, "dataset": budget.dataset, "unit": budget.unit}
        connection.execute(insert(sources).values(**names, adjacency=budget.terms.adjacency))
    if _is_charged(connection, charge, run_id, round):
        return
    check_affordable(connection, charge, run_id, round)
    row = {"dataset": budget.dataset, "run_id": run_id, "round": round}
    connection.execute(insert(charges).values(**row, spends=_packed(charge.spends)))


def check_affordable(connection: Connection, charge: Charge, run_id: bytes, round: int) -> None:
    """Raise as `charge_round` would for this round; nothing is recorded."""
    budget, terms = charge.budget, charge.budget.terms
    _is_pinned(connection, budget)
    if _is_charged(connection, charge, run_id, round):
        return
    counts = charged_events(connection, budget.dataset)
    for spend in charge.spends:
        counts[spend.event] += spend.count
    epsilon = charged_epsilon(charge.accountant, counts, terms)
    if epsilon > terms.epsilon:
        raise BudgetExhausted(
            f'policy.budget."{budget.dataset}".epsilon = {upwards(epsilon)} with round {round} is '
            f"above the budget's {terms.epsilon:.6g} at delta = {terms.delta:.6g}: take part no "
            "more, or raise the budget in this client's own policy"
        )


def _is_charged(connection: Connection, charge: Charge, run_id: bytes, round: int) -> bool:
    """By an earlier attempt at this round, and for the same: at most one of them is unmasked."""
    row = {"dataset": charge.budget.dataset, "run_id": run_id, "round": round}
    known = select(charges).filter_by(**row, spends=_packed(charge.spends))
    return connection.execute(known).first() is not None


def charged_so_far(
    connection: Connection, budget: ClientBudget, accountant: EpsilonAccountant
) -> float:
    """Epsilon of all rounds in which this data left."""
    _is_pinned(connection, budget)
    return charged_epsilon(accountant, charged_events(connection, budget.dataset), budget.terms)


def _is_pinned(connection: Connection, budget: ClientBudget) -> bool:
    """Whether this data is known, by these names; refuses it under any others."""
    pinned = connection.execute(select(sources).where(sources.c.source == budget.source)).first()
    if pinned is not None and pinned.dataset != budget.dataset:
        raise _renamed("id", budget.dataset, pinned.dataset)
    alike = select(sources).where(sources.c.dataset == budget.dataset).limit(1)
    known = connection.execute(alike).first()
    if known is not None and known.unit != budget.unit:
        raise _renamed("unit", budget.unit, known.unit)
    if known is not None and known.adjacency != budget.terms.adjacency:
        raise _renamed("adjacency", budget.terms.adjacency, known.adjacency)
    return pinned is not None


def _renamed(key: str, value: str, pinned: str) -> PolicyRefused:
    remedy = "what this data told was charged under that name, ask the operator to keep it"
    path = f"plan.dataset.{key}"
    return PolicyRefused(Reason.POLICY_DATASET, path, value, pinned, remedy, relation="not")


def charged_events(connection: Connection, dataset: str) -> Counter[PrivacyEvent]:
    """How often each event was charged to a data set."""
    counts: Counter[PrivacyEvent] = Counter()
    query = select(charges.c.spends).where(charges.c.dataset == dataset)
    for (packed,) in connection.execute(query):
        for spend in decode(_Spends, packed, limit=len(packed)).spends:
            counts[spend.event] += spend.count
    return counts


def _packed(spends: tuple[Spend, ...]) -> bytes:
    return encode(_Spends(spends))
