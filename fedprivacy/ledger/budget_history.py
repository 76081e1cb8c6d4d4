"""A ledger's rows, all of them checked, as an auditor holds them: from a database or a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.ledger.budget_entries import ENTRY_LIMIT, NO_ENTRY, Entry, encode_entry, entry_hash
from fedprivacy.ledger.budget_state import Budget, LedgerState
from fedprivacy.ledger.heads import Finding, SignedHead, contradictions

__all__ = ["History", "Verification"]

_MOST = 1 << 24  # rows of an exported ledger


@dataclass(frozen=True, slots=True)
class Verification:
    """A ledger whose chain and rules hold, and what receipts say against it."""

    ledger: bytes
    rows: int
    head: bytes
    receipts: int
    findings: tuple[Finding, ...]

    @property
    def contradicted(self) -> tuple[Finding, ...]:
        """The findings in which the operator contradicts itself."""
        return tuple(finding for finding in self.findings if finding.accuses)


class _Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/budget-ledger/1"]
    rows: Annotated[tuple[str, ...], Meta(min_length=1, max_length=_MOST)]
    signed: str = ""
    """The operator's signed head, where the export came with one."""


@dataclass(frozen=True, slots=True)
class History:
    """Every row of a ledger with its hash; made only of rows whose chain and rules hold."""

    state: LedgerState
    entries: tuple[Entry, ...]
    heads: tuple[bytes, ...]

    @classmethod
    def of(cls, rows: Iterable[Any]) -> History:
        """Walk the rows from the first; raises `ConfigurationError` naming the one that is wrong.

        A row is (number, canonical bytes, hash).
        """
        state, entries, heads = LedgerState(), [], []
        for number, body, head in rows:
            entries.append(state.take(number, body, head))
            heads.append(head)
        if not heads:
            raise ConfigurationError("ledger.entry 0 is missing: bring back the ledger as it was")
        return cls(state, tuple(entries), tuple(heads))

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All budgets at the last row."""
        return self.state.budgets()

    def verify(
        self, receipts: Iterable[SignedHead] = (), *, operator: bytes | None = None
    ) -> Verification:
        """What receipts of this operator say against these rows."""
        pooled = tuple(receipts)
        if pooled and operator is None:
            raise ConfigurationError("receipts without an operator: name the key that signs them")
        findings = contradictions(self.state.ledger, self.heads, pooled, operator or b"")
        return Verification(
            self.state.ledger, len(self.heads), self.heads[-1], len(pooled), findings
        )

    def to_json(self, signed: SignedHead | None = None) -> str:
        """The text from which anybody can check the rows again."""
        rows = tuple(encode_entry(entry).hex() for entry in self.entries)
        word = msgspec.msgpack.encode(signed).hex() if signed else ""
        return msgspec.json.encode(_Export("fedprivacy/budget-ledger/1", rows, word)).decode()

    @classmethod
    def from_json(cls, text: str) -> tuple[History, SignedHead | None]:
        """Rows and signed head of an exported text; raises `ConfigurationError`.

        Hashes are computed, not read: what they are compared with are the signed heads.
        """
        try:
            raw = msgspec.json.decode(text, type=_Export)
            bodies = [_body(row) for row in raw.rows]
            signed = SignedHead.decode(bytes.fromhex(raw.signed)) if raw.signed else None
        except (msgspec.MsgspecError, ValueError, RecursionError, PeerError) as error:
            raise ConfigurationError(f"ledger export: {error}: ask for the file again") from None
        return cls.of(_hashed(bodies)), signed


def _body(row: str) -> bytes:
    if len(row) > 2 * ENTRY_LIMIT:
        raise ValueError(f"a row of {len(row)} digits where {2 * ENTRY_LIMIT} are the most")
    return bytes.fromhex(row)


def _hashed(bodies: Iterable[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    head = NO_ENTRY
    for number, body in enumerate(bodies):
        head = entry_hash(head, number, body)
        yield number, body, head
