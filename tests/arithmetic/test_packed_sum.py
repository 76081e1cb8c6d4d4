import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import MAX_BITS, PackedSum, Residues, from_residues, pack
from fedprivacy.arithmetic.packed_sum import RUN_VALUES

WIDTHS = range(1, MAX_BITS + 1)


def uniform(count, bits, seed):
    return np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint64)


def literal_sum(vectors, bits):
    """Value by value on Python integers."""
    columns = zip(*(v.tolist() for v in vectors), strict=True)
    return np.array([sum(column) % (1 << bits) for column in columns], dtype=np.uint64)


@pytest.mark.parametrize("bits", WIDTHS)
@given(data=st.data())
@settings(max_examples=15)
def test_a_sum_of_packed_vectors_is_the_sum_of_their_values(bits, data):
    length = data.draw(st.integers(1, 300), label="length")
    values = st.integers(0, (1 << bits) - 1)
    vectors = data.draw(
        st.lists(st.lists(values, min_size=length, max_size=length), max_size=4), label="vectors"
    )
    vectors = [np.array(v, dtype=np.uint64) for v in vectors]
    total = PackedSum(length, bits)
    for vector in vectors:
        total.add_packed(0, pack(vector, bits))
    expected = literal_sum(vectors, bits) if vectors else np.zeros(length, dtype=np.uint64)
    assert total.residues(0, length).tolist() == expected.tolist()
    assert np.array_equal(np.asarray(total), from_residues(expected, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_carry_is_kept_within_its_value(bits):
    """All ones and one: each value wraps to zero, and no neighbour learns of it."""
    length = 5 * RUN_VALUES + 7
    full = np.full(length, (1 << bits) - 1, dtype=np.uint64)
    total = PackedSum(length, bits)
    total.add_packed(0, pack(full, bits))
    one = np.zeros(length, dtype=np.uint64)
    one[::2] = 1
    total.add_packed(0, pack(one, bits))
    assert total.residues(0, length).tolist() == np.where(one, 0, full).tolist()


@pytest.mark.parametrize("bits", [1, 7, 8, 13, 16, 22, 31, 32, 33, 48, 62])
def test_pieces_are_added_where_they_belong(bits):
    """In pieces, over more words than are worked on at a time."""
    length = 3 * (1 << 14) + 77
    vectors = [uniform(length, bits, seed) for seed in range(3)]
    total = PackedSum(length, bits)
    for vector in vectors:
        for start in range(0, length, 1 << 13):
            total.add_packed(start, memoryview(pack(vector[start : start + (1 << 13)], bits)))
    expected = sum(vectors) & np.uint64((1 << bits) - 1)
    assert np.array_equal(total.residues(0, length), expected)
    signed = from_residues(expected, bits)
    for part in (slice(0, 5), slice(1000, 30_001), slice(length - 3, None), slice(7, 7)):
        assert np.array_equal(total[part], signed[part])
    assert len(total) == length


@pytest.mark.parametrize("bits", [1, 5, 8, 9, 16, 17, 22, 32, 33, 47, 62])
@pytest.mark.parametrize("runs", [0, 1, 4, 9])
def test_sums_are_unpacked_from_the_front_in_their_own_memory(bits, runs):
    length = runs * RUN_VALUES + 9
    vector = uniform(length, bits, 1)
    total = PackedSum(length, bits)
    total.add_packed(0, pack(vector, bits))
    words = total.words()
    assert len(words) == length
    for start in range(0, length, RUN_VALUES):
        part = slice(start, min(start + RUN_VALUES, length))
        assert total.packed(part) == pack(vector[part], bits)
        words[part] = total.residues(part.start, part.stop)
    assert np.array_equal(Residues(words, bits), from_residues(vector, bits))
    assert "values mod 2**" in repr(total)


def test_long_sums_are_unpacked_in_their_own_memory():
    """Long enough that the packed sums begin with a page of their own."""
    length, bits, step = 800_011, 26, 1 << 16
    vector = uniform(length, bits, 2)
    total = PackedSum(length, bits)
    total.add_packed(0, pack(vector, bits))
    words = total.words()
    for start in range(0, length, step):
        stop = min(start + step, length)
        words[start:stop] = total.residues(start, stop)
    assert np.array_equal(Residues(words, bits), from_residues(vector, bits))
