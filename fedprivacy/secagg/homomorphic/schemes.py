"""The parameters of each homomorphic scheme, and what a ciphertext of it holds.

Each stands in the homomorphic-encryption standard's table for 128 bits with ternary secrets: at
most 109 bits of modulus at degree 4096, 218 at 8192.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fedprivacy.arithmetic import Slots
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg.contract import SumPlan

__all__ = ["BFV_4096", "CKKS_4096", "CKKS_8192", "SCHEMES", "Kind", "Layout", "Scheme", "layout_of"]

MARK_BITS = 12
"""Of a mark in one slot of CKKS."""
_RANGE_BITS = 12
"""Sums in a slot of CKKS stay within 2**12: half of what 4096 [54, 54] at 2**40 holds."""
_ERROR_BITS = 24
"""The error of a slot was measured below 2**-24 in sums of 100 fresh ciphertexts."""


class Kind(enum.Enum):
    """Which scheme: exact integers, or approximate numbers."""

    BFV = "bfv"
    CKKS = "ckks"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One set of parameters; `name` is its codepoint in a plan."""

    name: str
    kind: Kind
    degree: int
    """N."""
    moduli: tuple[int, ...]
    """Bits of each prime; the last is the library's own and in no ciphertext."""
    plain: int = 0
    """t of BFV: a prime, 1 mod 2N, so that there are N slots."""
    scale_bits: int = 0
    """Of CKKS."""

    @property
    def slots(self) -> int:
        return self.degree if self.kind is Kind.BFV else self.degree // 2

    @property
    def marks(self) -> int:
        """Slots of a ciphertext that hold marks; together they have 46 bits or more."""
        return 1 if self.kind is Kind.BFV else 4

    @property
    def raw_bytes(self) -> int:
        """Two polynomials, eight bytes a coefficient and prime, and what SEAL puts before them."""
        return 97 + 2 * 8 * self.degree * (len(self.moduli) - 1)

    @property
    def most_bytes(self) -> int:
        """Of a ciphertext as it travels, which is compressed where it can be."""
        return self.raw_bytes + 64


BFV_4096 = Scheme("bfv", Kind.BFV, 4096, (60, 49), plain=70_368_743_669_761)
CKKS_4096 = Scheme("ckks", Kind.CKKS, 4096, (54, 54), scale_bits=40)
CKKS_8192 = Scheme("ckks-8192", Kind.CKKS, 8192, (60, 40, 40), scale_bits=40)
SCHEMES = {scheme.name: scheme for scheme in (BFV_4096, CKKS_4096, CKKS_8192)}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one plan's vectors lie in ciphertexts of a scheme."""

    scheme: Scheme
    length: int
    clients: int
    bound: int
    """B: of one client's values."""
    joined: Slots
    """How values share a slot; one a slot with CKKS."""

    @property
    def per_ciphertext(self) -> int:
        """Values in a ciphertext."""
        return self.joined.count * (self.scheme.slots - self.scheme.marks)

    @property
    def ciphertexts(self) -> int:
        return -(-self.length // self.per_ciphertext)

    @property
    def value_bits(self) -> int:
        """CKKS: a value is divided by 2**value_bits / 2**12, so that sums stay in their range."""
        return (self.clients * self.bound).bit_length()

    @property
    def mark_shift(self) -> int:
        """CKKS: a mark is divided by 2**mark_shift, so that sums of n stay below 2**12."""
        return (self.clients - 1).bit_length()


def layout_of(scheme: Scheme, plan: SumPlan) -> Layout:
    """The layout that a plan leads to; raises `ConfigurationError` where sums do not fit."""
    clients, bound = plan.cohort_size, plan.client_bound
    if bound < 1:
        raise ConfigurationError("plan.client_bound = 0: a homomorphic sum needs a bound")
    path = f"sums of {clients} values of up to {bound} do not fit {scheme.name}"
    if scheme.kind is Kind.BFV:
        joined = Slots.fill(bound, clients, scheme.plain)
        if not joined.count:
            raise ConfigurationError(f"{path}, whose slots hold 46 bits: lower update.value_bits")
        return Layout(scheme, plan.length, clients, bound, joined)
    # The sum's error grows with the root of n: rounding takes it off while it is well below a half.
    spread = max((clients.bit_length() - 6) // 2, 0)
    most = _RANGE_BITS + _ERROR_BITS - 4 - spread
    bits = (clients * bound).bit_length()
    if bits > most:
        raise ConfigurationError(
            f"{path}, which is approximate: {bits} bits where {most} can be rounded: lower "
            "update.value_bits, or choose bfv"
        )
    return Layout(scheme, plan.length, clients, bound, Slots(bound, clients, 1))
