"""Signed sums of mask streams, added to a vector chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import to_residues, word_dtype
from fedprivacy.crypto import MaskStream

__all__ = ["MaskedVector", "Term", "add_terms"]

_OPEN_STREAMS = 64  # ciphers kept open beside one chunk of the sum


@dataclass(frozen=True, slots=True)
class Term:
    """One mask and its sign, +1 or -1."""

    sign: int
    seed: bytes = field(repr=False)


class _Streams:
    """Open streams, advanced together."""

    def __init__(self, bits: int, terms: Iterable[Term]) -> None:
        self._streams = [(term.sign, MaskStream(term.seed, bits)) for term in terms]

    def add_next(self, words: NDArray[Any]) -> None:
        for sign, stream in self._streams:
            if sign > 0:
                stream.add_to(words)
            else:
                stream.subtract_from(words)


class MaskedVector:
    """A client's masked input, made from front to back."""

    def __init__(self, bits: int, terms: Iterable[Term]) -> None:
        self._bits = bits
        self._streams = _Streams(bits, terms)

    def add_to(self, values: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The next values plus their masks, as residues mod 2**bits."""
        words = to_residues(values, self._bits).astype(word_dtype(self._bits))
        self._streams.add_next(words)
        return words.astype(np.uint64) & np.uint64((1 << self._bits) - 1)


def add_terms(total: NDArray[Any], bits: int, terms: Sequence[Term], chunk: int = 1 << 15) -> None:
    """Add every term's mask to a whole vector of words, in place.

    Memory beyond `total` is one chunk and a bounded number of open ciphers, however many terms.
    """
    for start in range(0, len(terms), _OPEN_STREAMS):
        streams = _Streams(bits, terms[start : start + _OPEN_STREAMS])
        for at in range(0, len(total), chunk):
            streams.add_next(total[at : at + chunk])
