"""The door to TenSEAL: contexts, encryption, decryption, and what a worker process does.

TenSEAL draws keys and errors from SEAL's own generator, seeded by the operating system: the one
place in this package where randomness is not handed in. Its exceptions become `ValueError`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from fedprivacy.errors import MissingExtra
from fedprivacy.secagg.homomorphic.schemes import SCHEMES, Kind, Scheme

__all__ = ["NativeContext", "add", "check", "own_context", "require", "warm"]

_FAILURES = (ValueError, RuntimeError, IndexError, OverflowError, TypeError, MemoryError)
"""What pybind11 makes of C++ exceptions."""


@cache
def require() -> Any:
    """TenSEAL itself; raises `MissingExtra` where it is not installed."""
    try:
        import tenseal
    except ImportError:
        raise MissingExtra("he", "homomorphic aggregation") from None
    return tenseal


@contextlib.contextmanager
def _native() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        # Neither values nor keys: TenSEAL's texts speak of parameters.
        raise ValueError(f"refused by the library: {type(error).__name__}") from None


class NativeContext:
    """Parameters with keys, to which ciphertexts are linked; never shown."""

    __slots__ = ("_context", "scheme")

    def __init__(self, scheme: Scheme, context: Any) -> None:
        self.scheme = scheme
        self._context = context

    @classmethod
    def generate(cls, scheme: Scheme) -> NativeContext:
        """Fresh keys."""
        ts = require()
        symmetric = ts.ENCRYPTION_TYPE.SYMMETRIC
        if scheme.kind is Kind.BFV:
            context = ts.context(
                ts.SCHEME_TYPE.BFV,
                scheme.degree,
                plain_modulus=scheme.plain,
                coeff_mod_bit_sizes=list(scheme.moduli),
                encryption_type=symmetric,
                n_threads=1,
            )
        else:
            context = ts.context(
                ts.SCHEME_TYPE.CKKS,
                scheme.degree,
                coeff_mod_bit_sizes=list(scheme.moduli),
                encryption_type=symmetric,
                n_threads=1,
            )
            context.global_scale = 2.0**scheme.scale_bits
        return cls(scheme, context)

    @classmethod
    def load(cls, scheme: Scheme, data: bytes) -> NativeContext:
        """The context that `secret_bytes` gave; raises `ValueError` for other bytes."""
        ts = require()
        with _native():
            context = ts.context_from(data, n_threads=1)
            if not context.has_secret_key():
                raise ValueError
        return cls(scheme, context)

    def secret_bytes(self) -> bytes:
        """Parameters and the secret key, for a file that only its owner can read."""
        data: bytes = self._context.serialize(
            save_public_key=False,
            save_secret_key=True,
            save_galois_keys=False,
            save_relin_keys=False,
        )
        return data

    def encrypt(self, values: Sequence[int] | Sequence[float]) -> bytes:
        """A ciphertext of as many values as there are slots."""
        ts = require()
        make = ts.bfv_vector if self.scheme.kind is Kind.BFV else ts.ckks_vector
        data: bytes = make(self._context, values).serialize()
        return data

    def open(self, data: bytes) -> Any:
        """The vector in checked bytes; raises `ValueError` for what the library refuses.

        `structure.check_structure` comes before.
        """
        ts, scheme = require(), self.scheme
        load = ts.bfv_vector_from if scheme.kind is Kind.BFV else ts.ckks_vector_from
        with _native():
            vector = load(self._context, data)
            (inner,) = vector.ciphertext()
            scale = 1.0 if scheme.kind is Kind.BFV else 2.0**scheme.scale_bits
            found = (vector.size(), inner.size(), inner.poly_modulus_degree(), inner.scale)
            if found != (scheme.slots, 2, scheme.degree, scale):
                raise ValueError
        return vector

    def decrypt(self, data: bytes) -> list[Any]:
        """What is in a ciphertext of this key, a number for each slot; raises as `open` does."""
        vector = self.open(data)
        with _native():
            values: list[Any] = vector.decrypt()
        return values

    def __repr__(self) -> str:
        return f"NativeContext({self.scheme.name})"


@lru_cache(maxsize=4)
def own_context(scheme: Scheme) -> NativeContext:
    """Parameters with keys of no use, made once a process: to add, a server needs no client's."""
    return NativeContext.generate(scheme)


@lru_cache(maxsize=4)
def _own_vector(scheme: Scheme) -> Any:
    """An honest ciphertext, of zeros."""
    context = own_context(scheme)
    return context.open(context.encrypt([0] * scheme.slots))


# ---------------------------------------------------------------------- in a worker process


def warm(name: str) -> None:
    """Make ready what the first ciphertext would wait for."""
    _own_vector(SCHEMES[name])


def check(name: str, data: bytes) -> None:
    """Load a ciphertext, and add it to one; raises `ValueError` where the library refuses.

    What cannot be added costs its sender then, and not the sum that it was to go into.
    """
    scheme = SCHEMES[name]
    vector = own_context(scheme).open(data)
    with _native():
        vector + _own_vector(scheme)


def add(name: str, total: bytes, data: bytes) -> bytes:
    """The ciphertext of the sum of two; raises as `check` does."""
    context = own_context(SCHEMES[name])
    with _native():
        added: bytes = (context.open(total) + context.open(data)).serialize()
    return added
