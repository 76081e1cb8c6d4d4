"""The server's side of a run's budget: what is reserved, settled and signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedprivacy.crypto import Authority, SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import (
    BudgetKey,
    BudgetLedger,
    LedgerAccountant,
    Reservation,
    SignedHead,
    spend_of,
)
from fedprivacy.randomness import Rng
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.privacy import release_of, round_event
from fedprivacy.rounds.record import BudgetRecord

__all__ = ["Books"]

_APPROVER = "the plan"


@dataclass(slots=True)
class Books:
    """One plan's budget in a ledger; `length` is that of an update, `operator` signs heads."""

    plan: Plan
    length: int
    ledger: BudgetLedger
    operator: SigningKey
    key: BudgetKey

    @classmethod
    def open(
        cls,
        plan: Plan,
        length: int,
        place: str | Path,
        *,
        operator: SigningKey,
        reason: str,
        clock: Callable[[], int],
        rng: Rng,
    ) -> Books:
        """The budget of the plan's data set and unit, in the ledger at `place`.

        Where the ledger has none it is opened with what the plan sets; one that is there stays as
        it was agreed on, with all that was charged before. Raises `ConfigurationError` where it
        was agreed on under another adjacency.
        """
        ledger = BudgetLedger.found(place, clock=clock, accountant=LedgerAccountant(), rng=rng)
        key, adjacency = BudgetKey(plan.dataset.id, plan.dataset.unit), plan.dataset.adjacency.value
        agreed = {budget.key: budget.terms for budget in ledger.budgets()}
        if key not in agreed:
            ledger.open_budget(
                key,
                adjacency=adjacency,
                epsilon=plan.noise.epsilon,
                delta=plan.noise.delta,
                approver=_APPROVER,
                reason=reason,
            )
        elif agreed[key].adjacency != adjacency:
            ledger.close()
            raise ConfigurationError(
                f"plan.dataset.adjacency = {adjacency} where the ledger's budget of {key} is for "
                f"{agreed[key].adjacency}: what they charge cannot be added up, use the latter"
            )
        return cls(plan, length, ledger, operator, key)

    def reserve(self, run_id: bytes, number: int, attempt: int, cohort: int) -> Reservation | None:
        """Charge one attempt, before anyone is asked; raises `BudgetExhausted`.

        None where no budget is charged: the plan adds no noise.
        """
        event = round_event(self.plan, cohort, self.length)
        if event is None:
            return None
        spend = spend_of(release_of(self.plan, event))
        return self.ledger.reserve(self.key, run_id, number, attempt, [spend])

    def head(self) -> SignedHead:
        """The operator's word for all that is in the ledger now."""
        return self.ledger.signed_head(self.operator)

    def unmasks(self, reservation: Reservation) -> None:
        """A request is about to leave from which a sum can be revealed."""
        self.ledger.journal_unmasking(reservation)

    def close_attempt(self, reservation: Reservation, *, may_be_known: bool) -> None:
        """Settle it with what was reserved, or take it back where nothing can have been told."""
        if may_be_known:
            self.ledger.settle(reservation, reservation.spends)
        else:
            self.ledger.void(reservation, reason="ended before anyone was asked to unmask")

    @property
    def operator_text(self) -> str:
        """The public half of the key that signs heads, as `budget verify --operator` reads it."""
        return Authority("operator", self.operator.public).to_json()

    @property
    def record(self) -> BudgetRecord:
        """What is charged by now."""
        budget = self.ledger.budget(self.key)
        return BudgetRecord(
            epsilon=budget.charged,
            limit=budget.terms.epsilon,
            delta=budget.terms.delta,
            adjacency=budget.terms.adjacency,
            unit=self.key.unit,
            method=LedgerAccountant().method,
        )

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()
