"""Signed sums of mask streams, added to a vector chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import PackedSum, pack, unpack, word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.secagg.pool import map_ahead
from fedprivacy.secagg.uploads import chunk_slices

__all__ = ["MaskedVector", "Term", "add_terms"]


@dataclass(frozen=True, slots=True)
class Term:
    """One mask and its sign, +1 or -1."""

    sign: int
    seed: bytes = field(repr=False)


class MaskedVector:
    """A client's masked input, made from front to back."""

    def __init__(self, bits: int, terms: Iterable[Term]) -> None:
        self._bits = bits
        self._streams = [(term.sign, MaskStream(term.seed, bits)) for term in terms]

    def add_to(self, values: NDArray[np.int64]) -> NDArray[Any]:
        """The next values plus their masks, as residues mod 2**bits, in words of `word_dtype`."""
        # Casting keeps the low bits: the word's modulus is a multiple of 2**bits.
        words = values.astype(word_dtype(self._bits))
        for sign, stream in self._streams:
            _apply(sign, stream, words)
        return _reduced(words, self._bits)


def add_terms(total: PackedSum, terms: Iterable[Term], pool: Executor | None = None) -> None:
    """Add every term's mask to a whole packed sum, in place; a `pool` of processes shares the work.

    Memory beyond `total` is that of a few chunks, however many terms.
    """
    every = tuple(terms)
    parts = list(chunk_slices(len(total)))
    pieces = (
        _Piece(total.bits, part.start, part.stop - part.start, total.packed(part), every)
        for part in parts
    )
    for part, data in zip(parts, map_ahead(_with_terms, pieces, pool), strict=True):
        total.replace(part.start, data)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk of a packed sum, and the masks to add to it."""

    bits: int
    start: int
    values: int
    packed: bytes = field(repr=False)
    terms: tuple[Term, ...] = field(repr=False)


def _with_terms(piece: _Piece) -> bytes:
    bits = piece.bits
    words = unpack(piece.packed, piece.values, bits).astype(word_dtype(bits), copy=False)
    for term in piece.terms:
        _apply(term.sign, MaskStream(term.seed, bits, piece.start), words)
    return pack(_reduced(words, bits), bits)


def _apply(sign: int, stream: MaskStream, words: NDArray[Any]) -> None:
    if sign > 0:
        stream.add_to(words)
    else:
        stream.subtract_from(words)


def _reduced(words: NDArray[Any], bits: int) -> NDArray[Any]:
    """Words mod 2**bits, in place."""
    words &= words.dtype.type((1 << bits) - 1)
    return words
