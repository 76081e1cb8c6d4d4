import json

import numpy as np
import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import MAX_BITS, word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.randomness import Keystream

widths = st.integers(1, MAX_BITS)
seeds = st.binary(min_size=32, max_size=32)


def keystream(seed, count):
    """The second implementation's."""
    return AES.new(seed, AES.MODE_CTR, nonce=b"", initial_value=0).encrypt(bytes(count))


def mask(seed, bits, count):
    dtype = word_dtype(bits)
    return np.frombuffer(keystream(seed, count * dtype.itemsize), dtype=dtype)


@given(seeds, widths, st.integers(0, 300), st.integers(0, 2**32))
def test_the_mask_is_the_keystreams_words(seed, bits, count, start):
    accumulator = np.full(count, start % (1 << bits), dtype=word_dtype(bits))
    expected = accumulator + mask(seed, bits, count)
    MaskStream(seed, bits).add_to(accumulator)
    assert np.array_equal(accumulator, expected)


@pytest.mark.parametrize("bits", [1, 8, 9, 16, 17, 22, 32, 33, 62])
def test_long_vectors_cross_the_chunks(bits):
    count = 3 * (1 << 16) + 5
    accumulator = np.zeros(count, dtype=word_dtype(bits))
    MaskStream(b"s" * 32, bits).add_to(accumulator)
    assert np.array_equal(accumulator, mask(b"s" * 32, bits, count))


@given(seeds, widths, st.lists(st.integers(0, 50), max_size=8))
def test_chunks_do_not_change_the_mask(seed, bits, lengths):
    whole = np.zeros(sum(lengths), dtype=word_dtype(bits))
    parts = whole.copy()
    MaskStream(seed, bits).add_to(whole)
    stream, start = MaskStream(seed, bits), 0
    for length in lengths:
        stream.add_to(parts[start : start + length])
        start += length
    assert np.array_equal(whole, parts)


@given(seeds, widths, st.integers(0, 100))
@settings(max_examples=50)
def test_adding_and_subtracting_cancel(seed, bits, count):
    original = np.arange(count, dtype=np.uint64).astype(word_dtype(bits))
    accumulator = original.copy()
    MaskStream(seed, bits).add_to(accumulator)
    MaskStream(seed, bits).subtract_from(accumulator)
    assert np.array_equal(accumulator, original)


def test_published_generator(shared):
    kat = json.loads((shared / "vectors/secagg_graph_kat.json").read_text())["aes_ctr_prng"]
    assert kat["cipher"] == "AES-256-CTR"
    key, counter = bytes.fromhex(kat["key_hex"]), bytes.fromhex(kat["iv_hex"])
    expected = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=counter).encrypt(bytes(4096))
    assert Keystream(key).read(4096) == expected
    accumulator = np.zeros(1024, dtype=word_dtype(32))
    MaskStream(key, 32).add_to(accumulator)
    assert accumulator.tobytes() == expected


def test_the_residues_are_uniform():
    # 100,000 masks of 5 bits: chi-squared with 31 degrees of freedom, beyond 95 with probability
    # 2e-8; the seed is fixed.
    accumulator = np.zeros(100_000, dtype=word_dtype(5))
    MaskStream(b"u" * 32, 5).add_to(accumulator)
    counts = np.bincount(accumulator & 31, minlength=32)
    assert ((counts - 3125) ** 2 / 3125).sum() < 95


def test_another_accumulator_is_refused():
    stream = MaskStream(bytes(32), 22)
    for wrong in (
        np.zeros(3, dtype=np.uint64),
        np.zeros(3, dtype=np.int32),
        np.zeros(3, dtype=">u4"),
        np.zeros((3, 1), dtype=np.uint32),
    ):
        with pytest.raises(ValueError, match="accumulator"):
            stream.add_to(wrong)


def test_bad_seeds_and_widths_are_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        MaskStream(bytes(16), 22)
    with pytest.raises(ValueError, match="bits are outside"):
        MaskStream(bytes(32), 63)


def test_the_seed_shows_nowhere():
    assert repr(MaskStream(b"s" * 32, 22)) == "MaskStream(dtype=<u4)"


@given(seed=seeds, bits=widths, start=st.integers(0, 100), count=st.integers(1, 100))
def test_a_mask_may_be_taken_up_in_the_middle(seed, bits, start, count):
    """As threads do that share one mask's work."""
    first = 16 * start
    whole = np.zeros(first + count, dtype=word_dtype(bits))
    MaskStream(seed, bits).add_to(whole)
    rest = np.zeros(count, dtype=word_dtype(bits))
    MaskStream(seed, bits, first).add_to(rest)
    assert np.array_equal(rest, whole[first:])


@pytest.mark.parametrize("start", [-16, 1, 17])
def test_a_keystream_starts_at_a_block(start):
    with pytest.raises(ValueError, match="multiples of 16"):
        Keystream(bytes(32), start)
