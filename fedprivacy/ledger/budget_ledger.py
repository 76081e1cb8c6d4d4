# ruff: noqa: A002 - a round is called a round, as in every message and plan.
"""The server's budget ledger: privacy is reserved before anyone is asked, and never forgotten.

A row is durable before the method that wrote it returns. Whoever dies between two rows leaves the
larger charge: a reservation counts in full until it is settled with what was released in truth, or
void because nothing could be revealed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection

from fedprivacy.accounting import upwards
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import BudgetExhausted, ConfigurationError
from fedprivacy.ledger.budget_database import BudgetDatabase, append, rows_from
from fedprivacy.ledger.budget_entries import (
    Amended,
    BudgetKey,
    Closed,
    Entry,
    Founded,
    Opened,
    Refused,
    Request,
    Reserved,
    Settled,
    Unmasking,
    Voided,
    encode_entry,
    entry_hash,
)
from fedprivacy.ledger.budget_events import (
    BudgetTerms,
    EpsilonAccountant,
    Spend,
    charged_epsilon,
    merged,
)
from fedprivacy.ledger.budget_history import History, Verification
from fedprivacy.ledger.budget_state import Budget, LedgerState, Reservation, ReservationState
from fedprivacy.ledger.heads import SignedHead
from fedprivacy.randomness import Rng

__all__ = ["BudgetLedger"]

T = TypeVar("T")


class BudgetLedger:
    """Many budgets in one durable, append-only, hash-chained table.

    `place` is a path, `sqlite:///path` or `postgresql+psycopg://...`; `clock` tells seconds since
    1970, UTC, for the record alone; `accountant` says what events cost, and nothing is charged
    without one. Threads and processes may share a ledger. Opening one walks its whole chain.

    Raises `ConfigurationError` where the database or a row will not do, `BudgetExhausted` where a
    budget does not hold what is asked of it.
    """

    def __init__(
        self,
        place: str | Path | BudgetDatabase,
        *,
        clock: Callable[[], int],
        accountant: EpsilonAccountant | None = None,
    ) -> None:
        self._database = place if isinstance(place, BudgetDatabase) else BudgetDatabase(place)
        self._clock = clock
        self._accountant = accountant
        self._lock = threading.RLock()
        self._state = LedgerState()
        if not self._database.exists():
            raise ConfigurationError(
                f"ledger = {self._database.name} is no budget ledger: name one; `fedprivacy budget "
                "open` makes it"
            )
        self._at(LedgerState.budgets)

    @classmethod
    def found(
        cls,
        place: str | Path,
        *,
        clock: Callable[[], int],
        accountant: EpsilonAccountant | None = None,
        rng: Rng,
    ) -> Self:
        """Make a ledger at a place where there is none, or open the one that is there."""
        database = BudgetDatabase(place)
        name = rng.bytes(16)

        def begin(connection: Connection) -> None:
            if next(rows_from(connection, 0), None) is None:
                body = encode_entry(Founded(clock(), name))
                append(connection, 0, body, entry_hash(bytes(32), 0, body))

        database.make()
        database.in_turn(begin)
        return cls(database, clock=clock, accountant=accountant)

    def close(self) -> None:
        """Let go of the database; the ledger is of no use afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BudgetLedger({self._database.name!r})"

    # --- what it says

    @property
    def ledger_id(self) -> bytes:
        """The 16 bytes that tell this ledger from any other."""
        return self._state.ledger

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets as they stand now."""
        return self._at(LedgerState.budgets)

    def budget(self, key: BudgetKey) -> Budget:
        """One budget as it stands now."""
        return self._at(lambda state: state.budget(key))

    def reservations(self) -> tuple[Reservation, ...]:
        """All reservations as they stand now, in order: whom a crash left open is among them."""
        return self._at(LedgerState.reservations)

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last row."""
        return self._at(lambda state: (state.length - 1, state.head))

    def signed_head(self, key: SigningKey) -> SignedHead:
        """The operator's word for all rows up to now: a client keeps it as a receipt."""
        number, head = self.head()
        return SignedHead.sign(key, self.ledger_id, number, head)

    def history(self) -> History:
        """All rows, read and checked from the first."""
        return self._database.read(lambda connection: History.of(rows_from(connection, 0)))

    def verify(
        self, receipts: Iterable[SignedHead] = (), *, operator: bytes | None = None
    ) -> Verification:
        """Walk the whole chain again, and see what receipts contradict.

        `ConfigurationError` names the first row that does not follow from the one before it.
        """
        return self.history().verify(receipts, operator=operator)

    # --- what people decide

    def open_budget(
        self,
        key: BudgetKey,
        *,
        adjacency: str,
        epsilon: float,
        delta: float,
        approver: str,
        reason: str,
    ) -> Budget:
        """Agree on a budget for a data set and unit: once, and for all time."""
        terms = BudgetTerms(adjacency, float(epsilon), float(delta))
        return self._decided(key, lambda _: Opened(self._clock(), key, terms, approver, reason))

    def amend_budget(
        self,
        key: BudgetKey,
        *,
        epsilon: float | None = None,
        delta: float | None = None,
        approver: str,
        reason: str,
    ) -> Budget:
        """Change a limit. What was charged stays; at another delta it is accounted anew.

        So is an infinite charge: it says no more than that the limit was exceeded.
        """

        def amended(state: LedgerState) -> Entry:
            known = state.budget(key)
            terms = BudgetTerms(
                known.terms.adjacency,
                known.terms.epsilon if epsilon is None else float(epsilon),
                known.terms.delta if delta is None else float(delta),
            )
            terms.check(str(key))
            charged, method = known.charged, known.method
            anew = terms.delta != known.terms.delta or charged == math.inf
            if anew and known.spends:
                charged, method = self._account(state, key, terms=terms)
            return Amended(self._clock(), key, terms, charged, method, approver, reason)

        return self._decided(key, amended)

    def close_budget(self, key: BudgetKey, *, approver: str, reason: str) -> Budget:
        """Give nothing more; what is reserved can still be settled."""
        return self._decided(key, lambda _: Closed(self._clock(), key, approver, reason))

    # --- what a round costs

    def reserve(
        self, key: BudgetKey, run: bytes, round: int, attempt: int, spends: Iterable[Spend]
    ) -> Reservation:
        """Charge one attempt with the most it may release, before any client is asked.

        `BudgetExhausted` where the budget does not hold it: the refusal is a row of its own and
        nothing is charged.
        """
        request = Request(key, run, round, attempt, merged(spends))

        def decided(state: LedgerState) -> Entry:
            terms = state.budget(key).terms
            charged, method = self._account(state, key, more=request.spends)
            if charged > terms.epsilon:
                return Refused(self._clock(), request, charged, method)
            return Reserved(self._clock(), request, charged, method)

        number, entry = self._append(decided)
        if isinstance(entry, Refused):
            raise self._exhausted(key, entry.would_be, f"round {round}, attempt {attempt}")
        return self._at(lambda state: state.reservation(number))

    def journal_unmasking(self, reservation: Reservation) -> Reservation:
        """Record that a request is about to leave from which a sum can be revealed.

        From here on the attempt costs, whatever becomes of it. Again, it changes nothing.
        """
        return self._stepped(
            reservation,
            ReservationState.UNMASKING,
            lambda _: Unmasking(self._clock(), reservation.number),
        )

    def settle(self, reservation: Reservation, realised: Iterable[Spend]) -> Reservation:
        """Charge what was released in truth, before anything that was released is used.

        More than was reserved is charged as well. Where that exceeds the budget, it is recorded and
        `BudgetExhausted` raised: use nothing of it. The same again changes nothing.
        """
        spends = merged(realised)

        def settled(state: LedgerState) -> Entry:
            known = state.reservation(reservation.number)
            key = known.request.key
            charged, method = self._account(state, key, more=spends, less=known.spends)
            return Settled(self._clock(), reservation.number, spends, charged, method)

        done = self._stepped(reservation, ReservationState.SETTLED, settled, spends)
        budget = self.budget(done.request.key)
        if budget.charged > budget.terms.epsilon:
            where = f"round {done.request.round}, attempt {done.request.attempt}"
            raise self._exhausted(budget.key, budget.charged, f"what was released up to {where}")
        return done

    def void(self, reservation: Reservation, *, reason: str) -> Reservation:
        """Take back the charge of an attempt that ended before any unmasking was journaled."""

        def voided(state: LedgerState) -> Entry:
            known = state.reservation(reservation.number)
            charged, method = self._account(state, known.request.key, less=known.spends)
            return Voided(self._clock(), reservation.number, reason, charged, method)

        return self._stepped(reservation, ReservationState.VOIDED, voided)

    # --- how a row is added

    def _account(
        self,
        state: LedgerState,
        key: BudgetKey,
        *,
        more: Iterable[Spend] = (),
        less: Iterable[Spend] = (),
        terms: BudgetTerms | None = None,
    ) -> tuple[float, str]:
        if self._accountant is None:
            raise ConfigurationError(
                "ledger.accountant = None where releases are to be charged: give an accountant"
            )
        counts = state.spends_after(key, more=more, less=less)
        wanted = terms or state.budget(key).terms
        return charged_epsilon(self._accountant, counts, wanted), self._accountant.method

    def _exhausted(self, key: BudgetKey, charged: float, what: str) -> BudgetExhausted:
        terms = self.budget(key).terms
        return BudgetExhausted(
            f"{key}.epsilon = {upwards(charged)} with {what} is above the budget's "
            f"{terms.epsilon:.6g} at delta = {terms.delta:.6g}: stop here, add noise, or have the "
            "budget amended"
        )

    def _decided(self, key: BudgetKey, decide: Callable[[LedgerState], Entry]) -> Budget:
        self._append(decide)
        return self.budget(key)

    def _stepped(
        self,
        reservation: Reservation,
        state: ReservationState,
        decide: Callable[[LedgerState], Entry],
        spends: tuple[Spend, ...] | None = None,
    ) -> Reservation:
        """Take a reservation one step further, unless it is there already."""
        number = reservation.number
        known = self._at(lambda now: now.reservation(number))
        if known.state is not state or spends not in (None, known.spends):
            self._append(decide)
        return self._at(lambda now: now.reservation(number))

    def _append(self, decide: Callable[[LedgerState], Entry]) -> tuple[int, Entry]:
        """One more row, by the state that no other row can change meanwhile."""

        def act(connection: Connection) -> tuple[int, Entry]:
            state = self._caught_up(connection)
            entry = decide(state)
            body = encode_entry(entry)
            state.check(entry)
            head = entry_hash(state.head, state.length, body)
            append(connection, state.length, body, head)
            return state.length, entry

        with self._lock:
            return self._database.in_turn(act)

    def _at(self, read: Callable[[LedgerState], T]) -> T:
        """What is read from the state of this moment."""
        with self._lock:
            return read(self._database.read(self._caught_up))

    def _caught_up(self, connection: Connection) -> LedgerState:
        """The state with all that is committed; a ledger that was cut or changed is refused."""
        state = self._state
        rows = rows_from(connection, max(state.length - 1, 0))
        if state.length:
            last = next(rows, None)
            if last is None or (last[0], last[2]) != (state.length - 1, state.head):
                raise ConfigurationError(
                    f"ledger.entry {state.length - 1} is no longer what it was: bring back the "
                    "newest copy of the ledger"
                )
        for row in rows:
            state.take(*row)
        if not state.length:
            raise ConfigurationError("ledger.entry 0 is missing: bring back the ledger as it was")
        return state
