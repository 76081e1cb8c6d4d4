"""Signed sums of mask streams, added to a vector chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import PackedSum, Residues, unpack, word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.secagg.pool import map_ahead
from fedprivacy.secagg.uploads import chunk_slices

__all__ = ["MaskedVector", "Term", "add_terms"]

_OPEN = 256  # masks made at the same time: each takes a kilobyte


@dataclass(frozen=True, slots=True)
class Term:
    """One mask and its sign, +1 or -1."""

    sign: int
    seed: bytes = field(repr=False)


class _Masks:
    """The masks of some terms, added from front to back."""

    def __init__(self, terms: Iterable[Term], bits: int, start: int = 0) -> None:
        self._streams = [(term.sign, MaskStream(term.seed, bits, start)) for term in terms]

    def add_to(self, words: NDArray[Any]) -> None:
        """Add the masks of the next coordinates, in place."""
        for sign, stream in self._streams:
            if sign > 0:
                stream.add_to(words)
            else:
                stream.subtract_from(words)


class MaskedVector:
    """A client's masked input, made from front to back."""

    def __init__(self, bits: int, terms: Iterable[Term]) -> None:
        self._bits = bits
        self._masks = _Masks(terms, bits)

    def add_to(self, values: NDArray[np.int64]) -> NDArray[Any]:
        """The next values plus their masks, as residues mod 2**bits, in words of `word_dtype`."""
        # Casting keeps the low bits: the word's modulus is a multiple of 2**bits.
        words = values.astype(word_dtype(self._bits))
        self._masks.add_to(words)
        words &= words.dtype.type((1 << self._bits) - 1)
        return words


def add_terms(total: PackedSum, terms: Iterable[Term], pool: Executor | None = None) -> Residues:
    """The sums with every term's mask added; they take the memory of `total`, which is used up.

    A `pool` of processes shares the work. Memory beyond `total` is that of a few chunks, however
    many terms.
    """
    bits, words, every = total.bits, total.words(), tuple(terms)
    parts = list(chunk_slices(len(total)))
    if pool is not None:
        pieces = (_piece(total, part, every) for part in parts)
        for part, chunk in zip(parts, map_ahead(_with_terms, pieces, pool), strict=True):
            words[part] = chunk
        return Residues(words, bits)
    for first in range(0, max(1, len(every)), _OPEN):
        masks = _Masks(every[first : first + _OPEN], bits)
        for part in parts:
            if not first:
                words[part] = total.residues(part.start, part.stop)
            masks.add_to(words[part])
    return Residues(words, bits)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk of a packed sum, and the masks to add to it."""

    bits: int
    start: int
    values: int
    packed: bytes = field(repr=False)
    terms: tuple[Term, ...] = field(repr=False)


def _piece(total: PackedSum, part: slice, terms: tuple[Term, ...]) -> _Piece:
    return _Piece(total.bits, part.start, part.stop - part.start, total.packed(part), terms)


def _with_terms(piece: _Piece) -> NDArray[Any]:
    words = unpack(piece.packed, piece.values, piece.bits)
    words = words.astype(word_dtype(piece.bits), copy=False)
    _Masks(piece.terms, piece.bits, piece.start).add_to(words)
    return words
