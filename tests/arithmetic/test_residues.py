import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.arithmetic import MAX_BITS, from_residues, modulus_bits, to_residues, word_dtype

bit_widths = st.integers(1, MAX_BITS)


@given(st.integers(0, 1 << 70))
def test_the_modulus_is_the_least_that_holds_both_signs(bound):
    bits = modulus_bits(bound)
    assert 2**bits >= 2 * bound + 1
    assert bits == 1 or 2 ** (bits - 1) < 2 * bound + 1


@pytest.mark.parametrize(
    ("bound", "bits"), [(0, 1), (1, 2), (2, 3), (3, 3), (4, 4), (127, 8), (128, 9), (2**61, 63)]
)
def test_modulus_at_its_boundaries(bound, bits):
    assert modulus_bits(bound) == bits


def test_a_negative_bound_is_refused():
    with pytest.raises(ValueError, match="negative"):
        modulus_bits(-1)


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_boundary_values_survive(bits):
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = np.array([least, min(least + 1, most), -1, 0, max(most - 1, least), most])
    residues = to_residues(values, bits)
    assert residues.dtype == np.uint64
    assert [int(r) for r in residues] == [int(v) % (1 << bits) for v in values]
    assert from_residues(residues, bits).tolist() == values.tolist()


@given(bit_widths, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_the_representative_is_the_centred_one(bits, values):
    array = np.array(values, dtype=np.int64)
    back = from_residues(to_residues(array, bits), bits)
    half = 1 << (bits - 1)
    assert back.dtype == np.int64
    assert back.tolist() == [(v + half) % (2 * half) - half for v in values]


@given(st.data())
def test_wrapping_words_sum_to_the_true_sum(data):
    clients = data.draw(st.integers(1, 20))
    bound = data.draw(st.integers(0, (2**60) // clients))
    bits = modulus_bits(clients * bound)
    inputs = data.draw(
        st.lists(st.integers(-bound, bound), min_size=clients, max_size=clients), label="inputs"
    )
    total = np.zeros(1, dtype=word_dtype(bits))
    for value in inputs:
        total += to_residues(np.array([value]), bits).astype(total.dtype)
    assert from_residues(total, bits).tolist() == [sum(inputs)]


@given(bit_widths)
def test_the_word_is_the_smallest_that_holds_the_bits(bits):
    dtype = word_dtype(bits)
    assert dtype.kind == "u"
    assert dtype.newbyteorder("<") == dtype
    assert bits <= 8 * dtype.itemsize
    assert dtype.itemsize == 1 or bits > 4 * dtype.itemsize


@pytest.mark.parametrize("bits", [-1, 0, MAX_BITS + 1, 64])
@pytest.mark.parametrize(
    "function",
    [
        word_dtype,
        lambda bits: to_residues(np.zeros(1, dtype=np.int64), bits),
        lambda bits: from_residues(np.zeros(1, dtype=np.uint64), bits),
    ],
)
def test_other_widths_are_refused(function, bits):
    with pytest.raises(ValueError, match="bits are outside"):
        function(bits)
