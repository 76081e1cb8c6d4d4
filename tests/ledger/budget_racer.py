"""What one process of `test_budget_processes.py` does; run by path, with its globals given.

`place`: the ledger. `run`: a run of its own. `rounds`: how many it would like. `barrier`: passed
once the ledger is open. `results`: a queue for the number of rounds that it was given.
"""

from budgets import KEY, PlainSum, pure
from fedprivacy.errors import BudgetExhausted
from fedprivacy.ledger import BudgetLedger


def given(ledger, number):
    try:
        reservation = ledger.reserve(KEY, run, number, 1, [pure(1)])  # noqa: F821
    except BudgetExhausted:
        return 0
    ledger.journal_unmasking(reservation)
    ledger.settle(reservation, [pure(1)])
    return 1


with BudgetLedger(place, clock=lambda: 1, accountant=PlainSum()) as opened:  # noqa: F821
    barrier.wait(60)  # noqa: F821
    results.put(sum(given(opened, number) for number in range(1, rounds + 1)))  # noqa: F821
