"""Signed sums of mask streams, added to a vector chunk by chunk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import PackedSum, word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.secagg.uploads import chunk_slices

__all__ = ["MaskedVector", "Term", "add_terms"]

_OPEN_STREAMS = 1024  # ciphers kept open beside one chunk of the sum: 1.5 MB


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

    def add_to(self, values: NDArray[np.int64]) -> NDArray[Any]:
        """The next values plus their masks, as residues mod 2**bits, in words of `word_dtype`."""
        # Casting keeps the low bits: the word's modulus is a multiple of 2**bits.
        words = values.astype(word_dtype(self._bits))
        self._streams.add_next(words)
        return _reduced(words, self._bits)


def add_terms(total: PackedSum, terms: Iterable[Term]) -> None:
    """Add every term's mask to a whole packed sum, in place.

    Memory beyond `total` is one chunk and a bounded number of open ciphers, however many terms.
    """
    bits, waiting = total.bits, iter(terms)
    while group := tuple(itertools.islice(waiting, _OPEN_STREAMS)):
        streams = _Streams(bits, group)
        for part in chunk_slices(len(total)):
            words = total.residues(part.start, part.stop).astype(word_dtype(bits), copy=False)
            streams.add_next(words)
            total.replace(part.start, _reduced(words, bits))


def _reduced(words: NDArray[Any], bits: int) -> NDArray[Any]:
    """Words mod 2**bits, in place."""
    words &= words.dtype.type((1 << bits) - 1)
    return words
