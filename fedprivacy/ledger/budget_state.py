"""What the rows of a ledger amount to, and the rules by which one row may follow another.

A ledger's state is a fold over its chained rows and nothing else, so that whoever holds the rows
can say what was spent, and a row against the rules is found however well its hash fits.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.budget_entries import (
    NO_ENTRY,
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
    decode_entry,
    entry_hash,
)
from fedprivacy.ledger.budget_events import BudgetTerms, PrivacyEvent, Spend, merged

__all__ = ["Budget", "BudgetStatus", "LedgerState", "Reservation", "ReservationState"]


class BudgetStatus(enum.Enum):
    """Whether a budget gives anything more."""

    OPEN = "open"
    CLOSED = "closed"


class ReservationState(enum.Enum):
    """How far an attempt has come; all but the last are charged."""

    RESERVED = "reserved"
    UNMASKING = "unmasking"
    SETTLED = "settled"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one attempt is charged: its worst, until it is settled; nothing, once it is void."""

    number: int
    request: Request
    spends: tuple[Spend, ...]
    state: ReservationState = ReservationState.RESERVED


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget at one moment."""

    key: BudgetKey
    terms: BudgetTerms
    charged: float
    """Epsilon at the terms' delta, of settled attempts and of those still reserved."""
    method: str
    """How it was accounted; empty before anything was charged."""
    status: BudgetStatus
    spends: tuple[Spend, ...]
    attempts: Mapping[ReservationState, int]
    refused: int

    @property
    def remaining(self) -> float:
        """Epsilon between what is charged and the limit; epsilons of releases do not just add."""
        return max(0.0, self.terms.epsilon - self.charged)


@dataclass(slots=True)
class _Book:
    terms: BudgetTerms
    charged: float = 0.0
    method: str = ""
    status: BudgetStatus = BudgetStatus.OPEN
    spends: Counter[PrivacyEvent] = field(default_factory=Counter)
    attempts: Counter[ReservationState] = field(default_factory=Counter)
    refused: int = 0


_Attempt = tuple[BudgetKey, bytes, int, int]


def _attempt(request: Request) -> _Attempt:
    return request.key, request.run, request.round, request.attempt


class LedgerState:
    """The fold; `take` adds the next row or raises `ConfigurationError`, and then is of no use."""

    def __init__(self) -> None:
        self.ledger = b""
        self.length = 0
        self.head = NO_ENTRY
        self._books: dict[BudgetKey, _Book] = {}
        self._reservations: dict[int, Reservation] = {}
        self._numbers: dict[_Attempt, int] = {}

    def take(self, number: object, body: object, head: object) -> Entry:
        """Check the next row's number, hash and meaning, and add it."""
        if number != self.length or not isinstance(body, bytes) or not isinstance(head, bytes):
            raise ConfigurationError(
                f"ledger.entry {self.length} is missing or is no row: bring back the ledger as it "
                "was"
            )
        if entry_hash(self.head, self.length, body) != head:
            raise ConfigurationError(
                f"ledger.entry {self.length} does not continue the hash chain: it or a row before "
                "it was changed, bring back the ledger as it was"
            )
        entry = decode_entry(self.length, body)
        self.check(entry)
        self._add(entry)
        self.length += 1
        self.head = head
        return entry

    # ------------------------------------------------------------------ what it says

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, by data set and unit."""
        return tuple(map(self.budget, sorted(self._books, key=lambda k: (k.dataset, k.unit))))

    def budget(self, key: BudgetKey) -> Budget:
        """One budget; raises `ConfigurationError` where there is none."""
        book = self._book(key)
        counts = [Spend(event, count) for event, count in book.spends.items() if count]
        return Budget(
            key=key,
            terms=book.terms,
            charged=book.charged,
            method=book.method,
            status=book.status,
            spends=merged(counts) if counts else (),
            attempts={state: book.attempts[state] for state in ReservationState},
            refused=book.refused,
        )

    def reservation(self, number: int) -> Reservation:
        """The reservation of this number; raises `ConfigurationError` where there is none."""
        known = self._reservations.get(number)
        if known is None:
            raise ConfigurationError(
                f"reservation = {number} is not in this ledger: use the number that was given"
            )
        return known

    def reservations(self) -> tuple[Reservation, ...]:
        """All of them, in order."""
        return tuple(self._reservations.values())

    def spends_after(
        self, key: BudgetKey, *, more: Iterable[Spend] = (), less: Iterable[Spend] = ()
    ) -> Mapping[PrivacyEvent, int]:
        """A budget's events with some added and some taken away."""
        counts = Counter(self._book(key).spends)
        _move(counts, more, less)
        return counts

    # ------------------------------------------------------------------ the rules

    def check(self, entry: Entry) -> None:
        """Raise `ConfigurationError` unless this row may be the next."""
        if isinstance(entry, Founded) != (self.length == 0):
            raise ConfigurationError(
                f"ledger.entry {self.length} of kind {type(entry).__name__.lower()}: a ledger "
                "begins with its name, once"
            )
        match entry:
            case Opened():
                self._check_opened(entry)
            case Amended():
                self._check_amended(entry)
            case Closed():
                self._open_book(entry.key)
            case Reserved(request=request, charged=charged):
                self._check_request(request)
                self._check_within(request.key, charged, self._open_book(request.key).terms)
            case Refused(request=request, would_be=would_be):
                self._check_request(request)
                _check_over(request.key, would_be, self._book(request.key).terms)
            case Unmasking() | Settled() | Voided():
                self._check_step(entry)

    def _check_opened(self, entry: Opened) -> None:
        entry.terms.check(str(entry.key))
        if entry.key in self._books:
            raise ConfigurationError(
                f"{entry.key} exists: amend it; what was once spent is never forgotten"
            )

    def _check_amended(self, entry: Amended) -> None:
        entry.terms.check(str(entry.key))
        book = self._open_book(entry.key)
        if entry.terms.adjacency != book.terms.adjacency:
            raise ConfigurationError(
                f"{entry.key}.adjacency = {entry.terms.adjacency} where {book.terms.adjacency} was "
                "agreed on: spends under the one say nothing under the other"
            )
        known = entry.terms.delta == book.terms.delta and book.charged < math.inf
        if known and entry.charged != book.charged:
            raise ConfigurationError(
                f"{entry.key}.charged = {entry.charged} where {book.charged} is charged at this "
                "delta: an amendment moves the limit alone"
            )
        self._check_within(entry.key, entry.charged, entry.terms)

    def _check_within(self, key: BudgetKey, charged: float, terms: BudgetTerms) -> None:
        if not 0 <= charged <= terms.epsilon:
            raise ConfigurationError(
                f"{key}.epsilon = {terms.epsilon} is below the {charged} that is charged: "
                "choose a higher limit, or close the budget"
            )

    def _check_request(self, request: Request) -> None:
        self._open_book(request.key)
        if _attempt(request) in self._numbers:
            raise ConfigurationError(
                f"{request.key}: round {request.round}, attempt {request.attempt} is reserved as "
                f"number {self._numbers[_attempt(request)]}: settle that one, or begin another "
                "attempt"
            )

    def _check_step(self, entry: Unmasking | Settled | Voided) -> None:
        known = self.reservation(entry.reservation)
        if isinstance(entry, Settled | Voided) and not entry.charged >= 0:
            raise ConfigurationError(f"ledger: charged = {entry.charged} is no cost, at least 0")
        wanted = ReservationState.RESERVED
        if isinstance(entry, Settled):
            wanted = ReservationState.UNMASKING
        if known.state is not wanted:
            raise ConfigurationError(
                f"reservation = {known.number} is {known.state.value} where only what is "
                f"{wanted.value} can become {_STEPS[type(entry)].value}: {_REMEDIES[type(entry)]}"
            )

    def _book(self, key: BudgetKey) -> _Book:
        book = self._books.get(key)
        if book is None:
            raise ConfigurationError(f"{key} is not in this ledger: open it first")
        return book

    def _open_book(self, key: BudgetKey) -> _Book:
        book = self._book(key)
        if book.status is BudgetStatus.CLOSED:
            raise ConfigurationError(f"{key} is closed: it gives nothing more")
        return book

    # ------------------------------------------------------------------ the fold

    def _add(self, entry: Entry) -> None:
        match entry:
            case Founded(ledger=ledger):
                self.ledger = ledger
            case Opened(key=key, terms=terms):
                self._books[key] = _Book(terms)
            case Amended(key=key, terms=terms):
                book = self._book(key)
                book.terms, book.charged, book.method = terms, entry.charged, entry.method
            case Closed(key=key):
                self._book(key).status = BudgetStatus.CLOSED
            case Refused(request=request):
                self._book(request.key).refused += 1
            case Reserved(request=request):
                self._add_reserved(entry)
            case Unmasking() | Settled() | Voided():
                self._add_step(entry)

    def _add_reserved(self, entry: Reserved) -> None:
        request, number = entry.request, self.length
        book = self._book(request.key)
        self._reservations[number] = Reservation(number, request, request.spends)
        self._numbers[_attempt(request)] = number
        book.attempts[ReservationState.RESERVED] += 1
        _move(book.spends, request.spends, ())
        book.charged, book.method = entry.charged, entry.method

    def _add_step(self, entry: Unmasking | Settled | Voided) -> None:
        known = self.reservation(entry.reservation)
        book = self._book(known.request.key)
        fresh = replace(known, state=_STEPS[type(entry)])
        if isinstance(entry, Settled):
            fresh = replace(fresh, spends=entry.spends)
        elif isinstance(entry, Voided):
            fresh = replace(fresh, spends=())
        if isinstance(entry, Settled | Voided):
            _move(book.spends, fresh.spends, known.spends)
            book.charged, book.method = entry.charged, entry.method
        self._reservations[known.number] = fresh
        book.attempts[known.state] -= 1
        book.attempts[fresh.state] += 1


_STEPS = {
    Unmasking: ReservationState.UNMASKING,
    Settled: ReservationState.SETTLED,
    Voided: ReservationState.VOIDED,
}
_REMEDIES = {
    Unmasking: "reserve another attempt",
    Settled: "journal the unmasking before the request leaves",
    Voided: "what may have been revealed stays charged, settle it",
}


def _move(counts: Counter[PrivacyEvent], more: Iterable[Spend], less: Iterable[Spend]) -> None:
    for spend in more:
        counts[spend.event] += spend.count
    for spend in less:
        counts[spend.event] -= spend.count


def _check_over(key: BudgetKey, would_be: float, terms: BudgetTerms) -> None:
    if not would_be > terms.epsilon:
        raise ConfigurationError(
            f"{key}: a refusal at {would_be} where {terms.epsilon} is the limit: it was affordable"
        )
