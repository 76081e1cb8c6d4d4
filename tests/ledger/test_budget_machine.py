"""Any order of reserving, settling, voiding and amending, against a model of a few lines."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from budgets import KEY, PlainSum, found, opened, pure
from fedprivacy.errors import BudgetExhausted, ConfigurationError
from fedprivacy.ledger import BudgetStatus, ReservationState

COSTS = st.integers(0, 6)


class BudgetMachine(RuleBasedStateMachine):
    """The model: a limit, and of each attempt its state and what it is charged."""

    reservations = Bundle("reservations")

    def __init__(self):
        super().__init__()
        self.ledger = opened(found(":memory:"), epsilon=10.0)
        self.limit, self.closed, self.refused = 10, False, 0
        self.charges, self.states = {}, {}
        self.rows = 2
        self.last = 0

    def teardown(self):
        self.ledger.close()

    @property
    def spent(self):
        return sum(self.charges.values())

    def refused_as(self, error, act):
        with pytest.raises(error):
            act()

    @rule(target=reservations, cost=COSTS, run=st.sampled_from([b"a" * 16, b"b" * 16]))
    def reserve(self, cost, run):
        self.last += 1

        def act():
            return self.ledger.reserve(KEY, run, self.last, 1, [pure(cost)])

        if self.closed:
            self.refused_as(ConfigurationError, act)
            return None
        self.rows += 1
        if self.spent + cost > self.limit:
            self.refused_as(BudgetExhausted, act)
            self.refused += 1
            return None
        reservation = act()
        self.charges[reservation.number] = cost
        self.states[reservation.number] = ReservationState.RESERVED
        return reservation

    @rule(reservation=reservations)
    def reserve_again(self, reservation):
        if reservation:
            asked = reservation.request
            self.refused_as(
                ConfigurationError,
                lambda: self.ledger.reserve(KEY, asked.run, asked.round, asked.attempt, [pure(0)]),
            )

    @rule(reservation=reservations)
    def journal_unmasking(self, reservation):
        if reservation:
            self.step(
                reservation,
                ReservationState.RESERVED,
                ReservationState.UNMASKING,
                lambda: self.ledger.journal_unmasking(reservation),
            )

    @rule(reservation=reservations)
    def void(self, reservation):
        if reservation and self.step(
            reservation,
            ReservationState.RESERVED,
            ReservationState.VOIDED,
            lambda: self.ledger.void(reservation, reason="aborted"),
        ):
            self.charges[reservation.number] = 0

    @rule(reservation=reservations, cost=COSTS)
    def settle(self, reservation, cost):
        if not reservation:
            return
        number = reservation.number
        before = self.states[number]
        same = before is ReservationState.SETTLED and self.charges[number] == cost
        if before is not ReservationState.UNMASKING and not same:
            self.refused_as(
                ConfigurationError, lambda: self.ledger.settle(reservation, [pure(cost)])
            )
            return
        self.rows += not same
        self.charges[number] = cost
        self.states[number] = ReservationState.SETTLED
        if self.spent > self.limit:
            self.refused_as(BudgetExhausted, lambda: self.ledger.settle(reservation, [pure(cost)]))
        else:
            self.ledger.settle(reservation, [pure(cost)])

    def step(self, reservation, needed, reached, act):
        """Whether the step was made now."""
        before = self.states[reservation.number]
        if before not in {needed, reached}:
            self.refused_as(ConfigurationError, act)
            return False
        act()
        self.rows += before is needed
        self.states[reservation.number] = reached
        return before is needed

    @rule(limit=st.integers(1, 30))
    def amend(self, limit):
        def act():
            self.ledger.amend_budget(KEY, epsilon=float(limit), approver="b", reason="r")

        if self.closed or limit < self.spent:
            self.refused_as(ConfigurationError, act)
        else:
            act()
            self.limit = limit
            self.rows += 1

    @rule(sure=st.integers(0, 9))
    def close(self, sure):
        if sure or self.closed:
            return
        self.ledger.close_budget(KEY, approver="b", reason="r")
        self.closed = True
        self.rows += 1

    @invariant()
    def the_ledger_says_what_the_model_says(self):
        budget = self.ledger.budget(KEY)
        assert (budget.charged, budget.terms.epsilon) == (self.spent, self.limit)
        assert budget.refused == self.refused
        assert (budget.status is BudgetStatus.CLOSED) == self.closed
        known = {r.number: r.state for r in self.ledger.reservations()}
        assert known == self.states
        assert self.ledger.head()[0] == self.rows - 1

    @invariant()
    def whoever_reads_the_rows_again_says_the_same(self):
        history = self.ledger.history()
        assert history.budgets == self.ledger.budgets()
        assert PlainSum().epsilon(history.budgets[0].spends, None) == self.spent


BudgetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestBudgetMachine = BudgetMachine.TestCase
