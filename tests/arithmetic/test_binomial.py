from math import comb

import numpy as np
import pytest

from fedprivacy.arithmetic import (
    BINOMIAL_BOUND,
    BINOMIAL_VARIANCE,
    centred_binomial,
    sum_tail,
)
from fedprivacy.randomness import Keystream


class Fixed:
    """A stream of given bytes."""

    def __init__(self, data):
        self.data = data

    def fill(self, out):
        memoryview(out).cast("B")[:] = self.data


def test_a_number_counts_the_low_28_bits_of_three_words():
    top, all_ones = 0xF0000000, 0x0FFFFFFF
    words = [[0, 0, 0], [top, top, top], [all_ones, 0, 1], [all_ones] * 3, [0xFFFFFFFF] * 3]
    data = np.array(words, dtype="<u4").tobytes()
    assert centred_binomial(5, Fixed(data)).tolist() == [-42, -42, -13, 42, 42]


def test_however_a_stream_is_read_the_numbers_are_the_same():
    one, parts = Keystream(bytes(32)), Keystream(bytes(32))
    whole = centred_binomial(100, one)
    assert whole.tolist() == [*centred_binomial(37, parts), *centred_binomial(63, parts)]
    assert whole.dtype == np.int8


def test_the_numbers_are_those_of_the_binomial():
    """A chi-squared over the 29 cells around zero that hold nearly all; wrong alarm 2**-40."""
    count = 1 << 18
    numbers = centred_binomial(count, Keystream(b"b" * 32))
    seen = np.bincount(np.clip(numbers, -14, 14) + 14, minlength=29)
    chances = [comb(84, 42 + k) / 2**84 for k in range(-42, 43)]
    expected = np.array([sum(chances[:29]), *chances[29:56], sum(chances[56:])]) * count
    # Laurent and Massart, Ann. Stat. 28, 2000, lemma 1.
    degrees, bits = 28, 40 * np.log(2)
    limit = degrees + 2 * np.sqrt(degrees * bits) + 2 * bits
    assert ((seen - expected) ** 2 / expected).sum() < limit


def test_bound_and_variance_are_those_of_the_definition():
    values = np.arange(-42, 43)
    chances = np.array([comb(84, 42 + int(k)) / 2**84 for k in values])
    assert (chances * values**2).sum() == pytest.approx(BINOMIAL_VARIANCE)
    assert values.max() == BINOMIAL_BOUND


@pytest.mark.parametrize("terms", [1, 2, 8])
@pytest.mark.parametrize("failure_bits", [4, 10, 20])
def test_the_tail_is_no_smaller_than_the_exact_one(terms, failure_bits):
    tail = sum_tail(terms, 1, failure_bits)
    bits = 84 * terms
    beyond = sum(comb(bits, bits // 2 + k) for k in range(tail + 1, bits // 2 + 1))
    assert 2 * beyond * 2**failure_bits <= 2**bits


def test_the_tail_never_exceeds_the_bound_of_all_terms():
    assert sum_tail(1, 10**9, 40) == 42
    assert sum_tail(100, 500_000, 40) < 42 * 100
