"""What must outlive a process: what a client has done, what a server has spent."""

from fedprivacy.ledger.accountant import LedgerAccountant
from fedprivacy.ledger.budget_entries import BudgetKey
from fedprivacy.ledger.budget_events import BudgetTerms, EpsilonAccountant, PrivacyEvent, Spend
from fedprivacy.ledger.budget_history import History, Verification
from fedprivacy.ledger.budget_ledger import BudgetLedger
from fedprivacy.ledger.budget_releases import spend_of
from fedprivacy.ledger.budget_state import Budget, BudgetStatus, Reservation, ReservationState
from fedprivacy.ledger.client_budget import Charge, ClientBudget
from fedprivacy.ledger.client_history import ClientHistory, DatasetCharges
from fedprivacy.ledger.client_store import ClientStore, Once, Role
from fedprivacy.ledger.heads import HEAD_LIMIT, Contradiction, Finding, SignedHead

__all__ = [
    "HEAD_LIMIT",
    "Budget",
    "BudgetKey",
    "BudgetLedger",
    "BudgetStatus",
    "BudgetTerms",
    "Charge",
    "ClientBudget",
    "ClientHistory",
    "ClientStore",
    "Contradiction",
    "DatasetCharges",
    "EpsilonAccountant",
    "Finding",
    "History",
    "LedgerAccountant",
    "Once",
    "PrivacyEvent",
    "Reservation",
    "ReservationState",
    "Role",
    "SignedHead",
    "Spend",
    "Verification",
    "spend_of",
]
