"""What the operations of homomorphic aggregation are probed with; `machine` times them."""

from __future__ import annotations

from collections.abc import Callable

from fedprivacy.secagg import SumPlan
from fedprivacy.secagg.homomorphic.messages import Seals
from fedprivacy.secagg.homomorphic.native import NativeContext, add, check
from fedprivacy.secagg.homomorphic.schemes import SCHEMES, Kind
from fedprivacy.secagg.homomorphic.structure import check_structure

__all__ = ["homomorphic_probes"]

_32 = bytes(range(32))


def homomorphic_probes(name: str, plan: SumPlan) -> dict[str, tuple[Callable[[], object], int]]:
    """By field of `Work`: a call, and how many operations it is, on one ciphertext.

    What a worker process does is done here, without the way to it and back.
    """
    scheme, seals = SCHEMES[name], Seals(plan, _32)
    context = NativeContext.generate(scheme)
    values = [1 if scheme.kind is Kind.BFV else 1.0] * scheme.slots
    data = context.encrypt(values)
    chunk = seals.seal(0, 0, data)

    def added() -> None:
        seals.check(0, chunk)
        check_structure(scheme, chunk.data)
        check(name, data)
        add(name, data, data)

    return {
        "ciphertexts_encrypted": (lambda: seals.seal(0, 0, context.encrypt(values)), 1),
        "ciphertexts_added": (added, 1),
        "ciphertexts_decrypted": (lambda: context.decrypt(data), 1),
    }
