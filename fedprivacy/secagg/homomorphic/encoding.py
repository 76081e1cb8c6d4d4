"""From a client's integers to the slots of ciphertexts, and from the slots of a sum back.

The last slots of each ciphertext hold its sender's marks: pseudorandom, of the clients' own key,
the round, the sender and the place. Those of a sum are the sum of its senders' marks, so that
clients see whose ciphertexts were added, and that none is of another round or place: a server
without the key that only adds cannot make it up. One that multiplies might, and it is not claimed
that marks withstand a server that deviates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.crypto import derive
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.contract import Source
from fedprivacy.secagg.homomorphic.schemes import MARK_BITS, Kind, Layout

__all__ = ["Marks", "read_slots", "slots_of"]

_MARKS_AT_ONCE = 1 << 10  # ciphertexts whose marks are summed together


class Marks:
    """The marks of some members, ciphertext by ciphertext, added up."""

    def __init__(self, layout: Layout, key: bytes, round_id: bytes, members: Sequence[str]) -> None:
        self._layout = layout
        self._streams = [
            Keystream(derive(key, salt=round_id, label="homomorphic/marks", context=name.encode()))
            for name in members
        ]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """`(marks,)` int64 for each ciphertext in turn; only once."""
        scheme, left = self._layout.scheme, self._layout.ciphertexts
        while left:
            count = min(left, _MARKS_AT_ONCE)
            total = np.zeros((count, scheme.marks), dtype=np.int64)
            for stream in self._streams:
                words = np.frombuffer(stream.read(8 * total.size), "<u8").reshape(total.shape)
                if scheme.kind is Kind.BFV:
                    # Nearly uniform mod t < 2**46: a word has 64 bits.
                    total += (words % np.uint64(scheme.plain)).astype(np.int64)
                    total %= scheme.plain
                else:
                    total += (words >> np.uint64(64 - MARK_BITS)).astype(np.int64)
            yield from total
            left -= count


def slots_of(layout: Layout, source: Source, marks: Marks) -> Iterator[list[Any]]:
    """The slots of each ciphertext in turn: the vector's values, zeros after the last, the marks.

    Raises `ConfigurationError` for a value beyond the layout's bound.
    """
    step = layout.per_ciphertext
    for start, mark in zip(range(0, layout.length, step), marks, strict=True):
        values = np.zeros(step, dtype=np.int64)
        part = source[start : min(start + step, layout.length)]
        values[: len(part)] = part
        yield _joined(layout, values, mark)


def _joined(layout: Layout, values: NDArray[np.int64], mark: NDArray[np.int64]) -> list[Any]:
    try:
        joined = layout.joined.join(values.reshape(layout.joined.count, -1))
    except ValueError:
        # Neither the value nor its place.
        raise ConfigurationError(
            f"the vector exceeds plan.client_bound = {layout.bound}: clip it"
        ) from None
    slots: list[Any]
    if layout.scheme.kind is Kind.BFV:
        slots = np.concatenate([joined.view(np.int64), mark]).tolist()
    else:
        # Powers of two: what is divided by them stays exact.
        scaled = np.ldexp(values.astype(np.float64), MARK_BITS - layout.value_bits)
        marked = np.ldexp(mark.astype(np.float64), -layout.mark_shift)
        slots = np.concatenate([scaled, marked]).tolist()
    return slots


def read_slots(
    layout: Layout, slots: Sequence[Any], mark: NDArray[np.int64], terms: int
) -> NDArray[np.int64]:
    """The `(per_ciphertext,)` int64 sums in a decrypted sum of so many ciphertexts.

    `mark` is what the senders' marks come to. Raises `PeerError`: `SUM_MEMBERS` where the sum has
    another, `SUM_RANGE` where its values are none that so many clients reach.
    """
    scheme = layout.scheme
    payload = scheme.slots - scheme.marks
    if scheme.kind is Kind.BFV:
        numbers = np.asarray(slots, dtype=np.int64) % scheme.plain
        _check_mark(numbers[payload:], mark)
        try:
            return layout.joined.separate(
                numbers[:payload].view(np.uint64).reshape(1, -1)[0], terms
            ).reshape(-1)
        except ValueError:
            raise PeerError(Reason.SUM_RANGE, "a slot of the sum is out of range") from None
    floats = np.asarray(slots, dtype=np.float64)
    if not np.isfinite(floats).all():
        raise PeerError(Reason.SUM_RANGE, "a slot of the sum is no number")
    _check_mark(np.rint(np.ldexp(floats[payload:], layout.mark_shift)), mark)
    values = np.rint(np.ldexp(floats[:payload], layout.value_bits - MARK_BITS))
    if np.abs(values).max() > terms * layout.bound:
        raise PeerError(Reason.SUM_RANGE, "a slot of the sum is out of range")
    return values.astype(np.int64)


def _check_mark(found: NDArray[Any], wanted: NDArray[np.int64]) -> None:
    if not np.array_equal(found, wanted):
        raise PeerError(
            Reason.SUM_MEMBERS,
            "the sum is not that of these survivors' ciphertexts, of this round and place",
        )
