"""Signed heads of a ledger, which clients keep as receipts, and what pooled ones contradict.

A head names a ledger, a row and that row's hash: whoever signed it has committed to every row up to
that one. A ledger that was cut, rewritten or forked contradicts a head that some client kept from
what is gone. Rows of which nobody kept a head can be taken back unseen: nothing is claimed of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedprivacy.crypto import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify
from fedprivacy.errors import ConfigurationError
from fedprivacy.wire import DIGEST_BYTES, Message, decode

__all__ = [
    "HEAD_LIMIT",
    "Contradiction",
    "Finding",
    "SignedHead",
    "contradictions",
    "load_heads",
    "store_heads",
]

_LABEL = "ledger-head"
HEAD_LIMIT = 256  # bytes of one signed head
_MAX_HEADS = 1 << 20
_LONGEST_LINE = 1 << 10


class SignedHead(Message, frozen=True, tag="ledger-head"):
    """A ledger's last row at some moment, signed by its operator."""

    ledger: Annotated[bytes, Meta(min_length=16, max_length=16)]
    number: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    """The last row's number; the first row's is 0."""
    head: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    operator: Annotated[bytes, Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

    @classmethod
    def sign(cls, key: SigningKey, ledger: bytes, number: int, head: bytes) -> SignedHead:
        """The operator's word for this row."""
        signature = key.sign(_LABEL, ledger, number.to_bytes(8, "big"), head)
        return cls(ledger, number, head, key.public, signature)

    @classmethod
    def decode(cls, data: bytes) -> SignedHead:
        """The head in a peer's bytes; raises `PeerError`. Its signature is not checked yet."""
        return decode(cls, data, limit=HEAD_LIMIT)

    def is_signed_by(self, operator: bytes) -> bool:
        """Whether this operator, and no other, signed it."""
        number = self.number.to_bytes(8, "big")
        return self.operator == operator and verify(
            operator, self.signature, _LABEL, self.ledger, number, self.head
        )

    def follows(self, earlier: SignedHead) -> bool:
        """Whether it speaks of a later row of the same ledger, in the same operator's name."""
        same = (self.ledger, self.operator) == (earlier.ledger, earlier.operator)
        return same and self.number > earlier.number


class Contradiction(enum.Enum):
    """What a receipt says of a ledger."""

    TRUNCATED = "truncated"
    """A row that was signed is no longer there."""
    REWRITTEN = "rewritten"
    """A row that was signed is another one now."""
    FORKED = "forked"
    """Two heads were signed for one row: two histories were told."""
    ANOTHER_LEDGER = "another ledger"
    """Signed for a ledger of another name: it says nothing of this one."""
    NOT_SIGNED = "not signed"
    """Not by the operator: it says nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One receipt, by its place in the pool, and what is wrong with it or with the ledger."""

    receipt: int
    contradiction: Contradiction
    detail: str

    @property
    def accuses(self) -> bool:
        """Whether the operator contradicted itself; anybody can check the signatures."""
        return self.contradiction in {
            Contradiction.TRUNCATED,
            Contradiction.REWRITTEN,
            Contradiction.FORKED,
        }


def contradictions(
    ledger: bytes, heads: Sequence[bytes], receipts: Iterable[SignedHead], operator: bytes
) -> tuple[Finding, ...]:
    """What these receipts say against a ledger whose rows have these hashes, in order."""
    findings: list[Finding] = []
    first: dict[tuple[bytes, int], bytes] = {}
    for place, receipt in enumerate(receipts):
        if not receipt.is_signed_by(operator):
            detail = f"not signed by {operator.hex()}"
            findings.append(Finding(place, Contradiction.NOT_SIGNED, detail))
            continue
        head = first.setdefault((receipt.ledger, receipt.number), receipt.head)
        if head != receipt.head:
            told = f"{head.hex()} and with {receipt.head.hex()}"
            detail = f"row {receipt.number} was signed with the hash {told}"
            findings.append(Finding(place, Contradiction.FORKED, detail))
        findings += _against(ledger, heads, place, receipt)
    return tuple(findings)


def _against(
    ledger: bytes, heads: Sequence[bytes], place: int, receipt: SignedHead
) -> list[Finding]:
    number = receipt.number
    if receipt.ledger != ledger:
        detail = f"of the ledger {receipt.ledger.hex()}, where this one is {ledger.hex()}"
        return [Finding(place, Contradiction.ANOTHER_LEDGER, detail)]
    if number >= len(heads):
        detail = f"row {number} was signed where the last one now is {len(heads) - 1}"
        return [Finding(place, Contradiction.TRUNCATED, detail)]
    if heads[number] != receipt.head:
        detail = f"row {number} was signed with the hash {receipt.head.hex()}"
        return [Finding(place, Contradiction.REWRITTEN, detail)]
    return []


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["fedprivacy/receipt/1"] = "fedprivacy/receipt/1"
    ledger: str
    number: int
    head: str
    operator: str
    signature: str

    @classmethod
    def of(cls, head: SignedHead) -> _Receipt:
        """Bytes in hex."""
        fields = (head.ledger, head.head, head.operator, head.signature)
        ledger, body, operator, signature = (field.hex() for field in fields)
        return cls(
            ledger=ledger, number=head.number, head=body, operator=operator, signature=signature
        )

    def read(self) -> SignedHead:
        """The head; raises `ValueError` for what is no hex, or of another length."""
        texts = (self.head, self.operator, self.signature)
        fields = (bytes.fromhex(self.ledger), self.number, *map(bytes.fromhex, texts))
        return msgspec.convert(
            ["ledger-head", *fields], SignedHead, builtin_types=(bytes,), strict=True
        )


def store_heads(heads: Iterable[SignedHead]) -> str:
    """Receipts as text, a JSON document a line: several files are pooled by putting them together.

    Nothing in it is secret.
    """
    return "".join(f"{msgspec.json.encode(_Receipt.of(head)).decode()}\n" for head in heads)


def load_heads(text: str, name: str = "receipts") -> tuple[SignedHead, ...]:
    """The receipts in a text; raises `ConfigurationError` naming the line that is none.

    `name` is what messages call the text.
    """
    found: list[SignedHead] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        if len(line) > _LONGEST_LINE or len(found) == _MAX_HEADS:
            raise ConfigurationError(
                f"{name}, line {number}: more than {_LONGEST_LINE} characters, or than "
                f"{_MAX_HEADS:,} receipts: give the file that was exported"
            )
        try:
            found.append(msgspec.json.decode(line, type=_Receipt).read())
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{name}, line {number}: {error}: give the file that was exported"
            ) from None
    return tuple(found)
