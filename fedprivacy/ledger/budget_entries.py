"""The rows of a budget ledger: what each says, in canonical bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.ledger.budget_events import BudgetTerms, Label, Spend
from fedprivacy.wire import Message, Record, decode, digest, encode

__all__ = [
    "Amended",
    "BudgetKey",
    "Closed",
    "Entry",
    "Founded",
    "Opened",
    "Refused",
    "Request",
    "Reserved",
    "Settled",
    "Unmasking",
    "Voided",
    "decode_entry",
    "encode_entry",
    "entry_hash",
]

ENTRY_LIMIT = 1 << 20  # bytes of one row
NO_ENTRY = bytes(32)
"""What stands before the first row's hash."""

_Time = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Count = Annotated[int, Meta(ge=1, lt=1 << 31)]
_Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Person = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(min_length=1, max_length=2048)]
Spends = Annotated[tuple[Spend, ...], Meta(min_length=1, max_length=4096)]


class BudgetKey(Record, frozen=True):
    """Whose privacy a budget speaks of: a data set, and the unit within it."""

    dataset: Label
    unit: Label

    def __str__(self) -> str:
        return f'budget."{self.dataset}".{self.unit}'


class Founded(Message, frozen=True, tag="founded"):
    """The first row: the ledger's name, drawn at random."""

    at: _Time
    ledger: _Bytes16


class Opened(Message, frozen=True, tag="opened"):
    """A budget, once and for all time: it is amended or closed, never opened again."""

    at: _Time
    key: BudgetKey
    terms: BudgetTerms
    approver: Person
    reason: Text


class Amended(Message, frozen=True, tag="amended"):
    """A budget's limit, changed; `charged` is what its releases cost at the new delta."""

    at: _Time
    key: BudgetKey
    terms: BudgetTerms
    charged: float
    method: str
    approver: Person
    reason: Text


class Closed(Message, frozen=True, tag="closed"):
    """Nothing more is reserved from this budget; what is reserved can still be settled."""

    at: _Time
    key: BudgetKey
    approver: Person
    reason: Text


class Request(Record, frozen=True):
    """One attempt at one round of a run, and what it may release at worst."""

    key: BudgetKey
    run: _Bytes16
    round: _Count
    attempt: _Count
    spends: Spends


class Reserved(Message, frozen=True, tag="reserved"):
    """A request that the budget holds; `charged` is all that the budget is charged with it."""

    at: _Time
    request: Request
    charged: float
    method: str


class Refused(Message, frozen=True, tag="refused"):
    """A request that the budget does not hold; `would_be` is what it would have been charged."""

    at: _Time
    request: Request
    would_be: float
    method: str


class Unmasking(Message, frozen=True, tag="unmasking"):
    """A request from which a sum can be revealed is about to leave; from here on it costs."""

    at: _Time
    reservation: _Number


class Settled(Message, frozen=True, tag="settled"):
    """What was released in truth, in place of what was reserved."""

    at: _Time
    reservation: _Number
    spends: Spends
    charged: float
    method: str


class Voided(Message, frozen=True, tag="voided"):
    """An attempt that ended before anything could be revealed, which costs nothing."""

    at: _Time
    reservation: _Number
    reason: Text
    charged: float
    method: str


Entry = Founded | Opened | Amended | Closed | Reserved | Refused | Unmasking | Settled | Voided


def decode_entry(number: int, body: bytes) -> Entry:
    """The row in these bytes; raises `ConfigurationError` naming it."""
    try:
        entry: Entry = decode(Entry, body, limit=ENTRY_LIMIT)
    except PeerError as error:
        raise ConfigurationError(
            f"ledger.entry {number} cannot be read ({error}): bring back the ledger as it was"
        ) from None
    return entry


def entry_hash(previous: bytes, number: int, body: bytes) -> bytes:
    """The hash of one row, over its content, its number and the hash of the row before it."""
    return digest("ledger-entry", previous, number.to_bytes(8, "big"), body)


def encode_entry(entry: Entry) -> bytes:
    """The row's bytes; raises `ConfigurationError` for what could not be read again."""
    body = encode(entry)
    try:
        decode(Entry, body, limit=ENTRY_LIMIT)
    except PeerError as error:
        raise ConfigurationError(
            f"ledger entry of kind {type(entry).__name__.lower()} cannot be kept ({error}): "
            "shorten or mend what was given"
        ) from None
    return body
