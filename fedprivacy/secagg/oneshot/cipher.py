"""Key-additive encryption over a lattice ring, on both ends: c_j = a_j s + e_j + D m_j mod 2**K.

The polynomials a_j are public, expanded from the session's seed; s is a client's key for this
attempt; each e_j is fresh. Sums of ciphertexts are ciphertexts of the sum under the sum of the
keys. Source: the scheme of Bell et al., "ACORN", USENIX Security 2023, section 3.2, with a modulus
that is a power of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import FixedFactor, PackedSum, centred_binomial
from fedprivacy.errors import Reason, RoundAborted
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.oneshot.parameters import OneShotParameters
from fedprivacy.secagg.spooled_sum import SpooledSum
from fedprivacy.secagg.uploads import CHUNK_VALUES

__all__ = [
    "Encryption",
    "OpenedSum",
    "key_of_elements",
    "key_to_elements",
    "open_sum",
    "values_per_chunk",
]

_Words = NDArray[np.uint64]


def _public_polynomials(stream: Keystream, count: int, degree: int) -> _Words:
    """The next polynomials: a word of eight bytes, little-endian, a coefficient, mod 2**K."""
    words = np.empty((count, degree), dtype="<u8")
    stream.fill(words)
    return words


def values_per_chunk(parameters: OneShotParameters) -> int:
    """The values whose ciphertext fills a chunk of an upload."""
    return CHUNK_VALUES // parameters.degree * parameters.per_polynomial


def _join(p: OneShotParameters, values: NDArray[np.int64]) -> _Words:
    """Values as a row of coefficients: whole polynomials of them but for the last."""
    (whole, rest), slots, parts = divmod(len(values), p.per_polynomial), p.values.count, []
    if whole:
        body = values[: len(values) - rest].reshape(whole, slots, p.degree)
        parts.append(p.values.join(body).reshape(-1))
    if rest:
        last = np.zeros(slots * p.width_of(rest), dtype=np.int64)
        last[:rest] = values[len(values) - rest :]
        parts.append(p.values.join(last.reshape(slots, -1)))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _separate(p: OneShotParameters, joined: _Words, clients: int) -> NDArray[np.int64]:
    """The values in such a row; raises `ValueError` for what no sum of so many clients is."""
    whole, rest = divmod(len(joined), p.degree)
    parts = []
    if whole:
        body = joined[: len(joined) - rest].reshape(whole, p.degree)
        parts.append(p.values.separate(body, clients).reshape(-1))
    if rest:
        parts.append(p.values.separate(joined[len(joined) - rest :], clients).reshape(-1))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Encryption:
    """A client's key for one session, and its ciphertext, polynomial after polynomial.

    `secret` and `errors` are 32 uniform bytes each, used for nothing else.
    """

    def __init__(
        self, parameters: OneShotParameters, seed: bytes, *, secret: bytes, errors: bytes
    ) -> None:
        self._parameters = parameters
        self._public = Keystream(seed)
        self._errors = Keystream(errors)
        self._key = centred_binomial(parameters.degree, Keystream(secret))
        wide = self._key.astype(np.int64)
        self._factor = FixedFactor.of(wide, parameters.bits)
        wide[:] = 0

    def next(self, values: NDArray[np.int64]) -> _Words:
        """The ciphertext of the next values, whole polynomials of them but for the last.

        Raises `ValueError` for a value beyond the plan's bound.
        """
        p = self._parameters
        message = _join(p, values)
        message *= np.uint64(p.scale)
        count = -(-len(message) // p.degree)
        products = self._factor.times(_public_polynomials(self._public, count, p.degree))
        ciphertext = products.reshape(-1)[: len(message)]
        ciphertext += message
        ciphertext += centred_binomial(len(message), self._errors).astype(np.int64).view(np.uint64)
        ciphertext &= np.uint64((1 << p.bits) - 1)
        return ciphertext

    @property
    def key(self) -> NDArray[np.int8]:
        """The key's coefficients: a secret, overwritten by `erase`."""
        return self._key

    def key_elements(self) -> _Words:
        """The key as the field elements that are shared: whoever asks overwrites them."""
        return key_to_elements(self._key, self._parameters)

    def erase(self) -> None:
        """Overwrite the key, and what it is multiplied as.

        What was computed on the way to them lies in memory until it is used for something else.
        """
        self._key[:] = 0
        self._factor.erase()
        self._errors = self._public

    def __repr__(self) -> str:
        return "<key>"


def key_to_elements(key: NDArray[np.int8], parameters: OneShotParameters) -> _Words:
    """`(N,)` coefficients joined to `(key_elements,)` numbers: those of the first slot come first.

    The last are filled up with zeros.
    """
    slots, width = parameters.keys, parameters.key_elements
    padded = np.zeros(slots.count * width, dtype=np.int8)
    padded[: len(key)] = key
    elements = slots.join(padded.reshape(slots.count, width))
    padded[:] = 0
    return elements


def key_of_elements(
    elements: _Words, parameters: OneShotParameters, clients: int
) -> NDArray[np.int64]:
    """The sum of so many keys from the sum of their elements.

    Raises `ValueError` for what no such sum can be: in absolute value above 42 a client.
    """
    sums = parameters.keys.separate(elements, clients).reshape(-1)
    return sums[: parameters.degree]


def open_sum(
    total: PackedSum | SpooledSum,
    key: NDArray[np.int64],
    parameters: OneShotParameters,
    seed: bytes,
    clients: int,
) -> OpenedSum:
    """The exact sum of so many clients' values from the sum of their ciphertexts and of their keys.

    `total` is overwritten. Raises `RoundAborted`: `NOISE_RANGE` where an error is larger than those
    of honest clients add up to, `SUM_RANGE` where values are.
    """
    p = parameters
    factor, public = FixedFactor.of(key, p.bits), Keystream(seed)
    mask, error = np.uint64((1 << p.bits) - 1), np.uint64(p.most_error)
    for start in range(0, p.coefficients, CHUNK_VALUES):
        stop = min(start + CHUNK_VALUES, p.coefficients)
        count = -(-(stop - start) // p.degree)
        noisy = total.residues(start, stop)
        products = factor.times(_public_polynomials(public, count, p.degree))
        noisy -= products.reshape(-1)[: len(noisy)]
        # In [0, 2 E] plus a multiple of D, if all is well.
        noisy += error
        noisy &= mask
        message = noisy // np.uint64(p.scale)
        noisy -= message * np.uint64(p.scale)
        if int(noisy.max()) > 2 * p.most_error:
            detail = "the recovered key leaves more noise than honest clients add"
            raise RoundAborted(Reason.NOISE_RANGE, detail)
        try:
            _separate(p, message, clients)
        except ValueError:
            detail = "a value of the sum is beyond what honest clients reach"
            raise RoundAborted(Reason.SUM_RANGE, detail) from None
        total.replace(start, message)
    factor.erase()
    return OpenedSum(total, parameters, clients)


class OpenedSum:
    """The sum, joined as it was encrypted, read like an array of int64."""

    def __init__(
        self, joined: PackedSum | SpooledSum, parameters: OneShotParameters, clients: int
    ) -> None:
        self._joined = joined
        self._parameters = parameters
        self._clients = clients

    def __len__(self) -> int:
        return self._parameters.length

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        p = self._parameters
        start, stop, step = part.indices(p.length)
        if stop <= start:
            return np.zeros(0, dtype=np.int64)
        first, last = start // p.per_polynomial, -(-stop // p.per_polynomial)
        joined = self._joined.residues(
            first * p.degree, min(last * p.degree, self._parameters.coefficients)
        )
        values = _separate(p, joined, self._clients)
        before = first * p.per_polynomial
        return values[start - before : stop - before : step]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self[:].astype(np.int64 if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"OpenedSum({len(self)} values)"
