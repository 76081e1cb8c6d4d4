import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import MAX_BITS, pack, packed_size, unpack, word_dtype

WIDTHS = range(1, MAX_BITS + 1)


def literally(values, bits):
    """The definition, on one long integer."""
    number = sum(int(value) << (i * bits) for i, value in enumerate(values))
    return number.to_bytes((len(values) * bits + 7) // 8, "little")


def uniform(count, bits, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 1 << bits, count, dtype=np.uint64)


@pytest.mark.parametrize("bits", WIDTHS)
@given(data=st.data())
@settings(max_examples=15)
def test_packing_is_its_definition_and_round_trips(bits, data):
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=140))
    array = np.array(values, dtype=np.uint64)
    packed = pack(array, bits)
    assert packed == literally(values, bits)
    assert len(packed) == packed_size(len(values), bits)
    back = unpack(packed, len(values), bits)
    assert back.dtype == (np.uint32 if bits <= 32 else np.uint64)
    assert back.tolist() == values


@pytest.mark.parametrize("bits", WIDTHS)
def test_many_blocks_round_trip(bits):
    # More than two blocks, and a last group that is not full.
    values = uniform((1 << 15) + 77, bits, seed=bits)
    packed = pack(values, bits)
    assert packed == literally_fast(values, bits)
    assert np.array_equal(unpack(packed, len(values), bits), values)
    assert np.array_equal(unpack(memoryview(packed), len(values), bits), values)


def literally_fast(values, bits):
    """The definition, bit by bit in numpy: eight times the memory."""
    shifts = np.arange(bits, dtype=np.uint64)
    stream = (values[:, None] >> shifts & np.uint64(1)).astype(np.uint8)
    return np.packbits(stream.reshape(-1), bitorder="little").tobytes()


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65])
def test_extreme_values(bits, count):
    full = np.full(count, (1 << bits) - 1, dtype=np.uint64)
    packed = pack(full, bits)
    assert packed == literally(full, bits)
    assert np.array_equal(unpack(packed, count, bits), full)
    assert pack(np.zeros(count, dtype=np.uint64), bits) == bytes(packed_size(count, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_accumulators_of_any_width_pack_alike(bits):
    values = uniform(100, bits)
    assert pack(values.astype(word_dtype(bits)), bits) == pack(values, bits)
    spread = np.repeat(values, 2)[::2]
    assert pack(spread, bits) == pack(values, bits)


@pytest.mark.parametrize("bits", WIDTHS)
def test_nothing_packs_to_nothing(bits):
    assert pack(np.zeros(0, dtype=np.uint64), bits) == b""
    assert unpack(b"", 0, bits).tolist() == []


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_value_too_large_is_refused(bits):
    with pytest.raises(ValueError, match="does not fit"):
        pack(np.array([0, 1 << bits], dtype=np.uint64), bits)


@given(st.sampled_from([b for b in WIDTHS if b % 8]), st.integers(1, 70), st.data())
def test_padding_must_be_zero(bits, count, data):
    used = count * bits % 8
    if not used:
        count, used = 1, bits % 8
    packed = bytearray(pack(uniform(count, bits), bits))
    packed[-1] |= 1 << data.draw(st.integers(used, 7))
    with pytest.raises(ValueError, match="not zero"):
        unpack(packed, count, bits)


@given(st.binary(max_size=200), st.integers(0, 100), st.sampled_from(WIDTHS))
def test_any_bytes_are_refused_or_are_what_packing_gives(data, count, bits):
    try:
        values = unpack(data, count, bits)
    except ValueError:
        return
    assert pack(values, bits) == data


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("extra", [-1, 1, 8])
def test_another_length_is_refused(bits, extra):
    data = bytes(max(0, packed_size(50, bits) + extra))
    with pytest.raises(ValueError, match="are expected"):
        unpack(data, 50, bits)


@pytest.mark.parametrize("bits", [-1, 0, MAX_BITS + 1, 64])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match="bits are outside"):
        pack(np.zeros(1, dtype=np.uint64), bits)
    with pytest.raises(ValueError, match="bits are outside"):
        unpack(bytes(8), 1, bits)
