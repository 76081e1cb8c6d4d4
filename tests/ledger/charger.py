"""Sends one charged round after the other, and says so after each; run by path and killed."""

import sys

from budgets import PlainSum, pure
from fedprivacy.ledger import BudgetTerms, Charge, ClientBudget, ClientStore

budget = ClientBudget("data.csv", "cohort-7", "patient", BudgetTerms("replace-one", 1e6, 1e-5))
charge = Charge.of(budget, [pure(1)], PlainSum())
with ClientStore(sys.argv[1]) as store:
    print("open", flush=True)  # noqa: T201
    for number in range(1, 1_000_000):
        store.mark_spent(b"run", number, 1, charge=charge)
        print(number, flush=True)  # noqa: T201
