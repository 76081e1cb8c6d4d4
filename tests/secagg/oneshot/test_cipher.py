"""Ciphertexts against the formula with Python's integers, and what opens and what does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.arithmetic import PackedSum, centred_binomial
from fedprivacy.errors import Reason, RoundAborted
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.oneshot import choose_parameters
from fedprivacy.secagg.oneshot.cipher import (
    Encryption,
    key_of_elements,
    key_to_elements,
    open_sum,
    values_per_chunk,
)

SEED, SECRET, ERRORS = (bytes([i]) * 32 for i in (1, 2, 3))
P = choose_parameters(4, 100, 50_000)


def small_numbers(stream, count):
    """Bits set in three words of 28 bits, less 42, one number after the other."""
    data = stream.read(12 * count)
    for at in range(0, len(data), 12):
        words = [int.from_bytes(data[at + k : at + k + 4], "little") for k in (0, 4, 8)]
        yield sum((word % (1 << 28)).bit_count() for word in words) - 42


def test_a_ciphertext_is_a_s_plus_e_plus_d_m():
    # The second polynomial holds fewer values than it could, and is shorter.
    width = 640
    rest = P.values.count * width - 5
    values = np.random.default_rng(1).integers(-100, 101, P.per_polynomial + rest)
    ours = Encryption(P, SEED, secret=SECRET, errors=ERRORS).next(values)
    public = Keystream(SEED).read(8 * 2 * P.degree)
    key = list(small_numbers(Keystream(SECRET), P.degree))
    errors = list(small_numbers(Keystream(ERRORS), P.degree + width))
    padded = [*values.tolist(), *[0] * 5]
    base = 2 * 100 * 4 + 1
    assert len(ours) == P.degree + width
    for at in [0, 1, 4095, 4096, 4500, 4735, *range(100, 4000, 777)]:
        row, k = divmod(at, P.degree)
        a = [
            int.from_bytes(public[8 * i : 8 * i + 8], "little")
            for i in range(row * P.degree, (row + 1) * P.degree)
        ]
        product = sum(a[i] * key[k - i] for i in range(k + 1))
        product -= sum(a[i] * key[P.degree + k - i] for i in range(k + 1, P.degree))
        first = row * P.per_polynomial + k
        step = width if row else P.degree
        digits = [padded[first + slot * step] + 100 for slot in range(P.values.count)]
        message = sum(digit * base**slot for slot, digit in enumerate(digits))
        assert ours[at] == (product + errors[at] + P.scale * message) % (1 << P.bits)


def test_two_keys_streams_or_seeds_share_no_ciphertext():
    values = np.zeros(10, dtype=np.int64)
    one = Encryption(P, SEED, secret=SECRET, errors=ERRORS).next(values)
    for seed, secret, errors in [
        (ERRORS, SECRET, ERRORS),
        (SEED, SEED, ERRORS),
        (SEED, SECRET, SECRET),
    ]:
        other = Encryption(P, seed, secret=secret, errors=errors).next(values)
        assert np.mean(one == other) < 0.2


def encrypted(parameters, vectors):
    """The sum of the ciphertexts of these vectors, and that of their keys."""
    total = PackedSum(parameters.coefficients, parameters.bits)
    sums = np.zeros(parameters.coefficients, dtype=np.uint64)
    key = np.zeros(parameters.degree, dtype=np.int64)
    step = values_per_chunk(parameters)
    for i, vector in enumerate(vectors):
        secret, errors = bytes([i, 1]) * 16, bytes([i, 2]) * 16
        encryption = Encryption(parameters, SEED, secret=secret, errors=errors)
        parts = [encryption.next(vector[s : s + step]) for s in range(0, len(vector), step)]
        sums += np.concatenate(parts)
        key += centred_binomial(parameters.degree, Keystream(secret))
    sums &= np.uint64((1 << parameters.bits) - 1)
    for start in range(0, len(sums), 1 << 16):
        total.replace(start, sums[start : start + (1 << 16)])
    return total, key


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 400_000), st.integers(0, 2**32))
def test_sums_of_ciphertexts_open_with_the_sum_of_keys(clients, length, seed):
    p = choose_parameters(3, 9, length)
    rng = np.random.default_rng(seed)
    vectors = [rng.integers(-9, 10, length) for _ in range(clients)]
    opened = open_sum(*encrypted(p, vectors), p, SEED, clients)
    assert np.array_equal(np.asarray(opened), sum(vectors))


def test_another_key_opens_nothing_and_neither_does_too_much_noise():
    vectors = [np.zeros(5000, dtype=np.int64)] * 2
    for change in ("key", "noise", "none"):
        p = choose_parameters(2, 9, 5000)
        total, key = encrypted(p, vectors)
        if change == "key":
            key[17] += 1
        if change == "noise":
            first = total.residues(0, 64)
            first[3] += np.uint64(2 * p.most_error + 1)
            total.replace(0, first & np.uint64((1 << p.bits) - 1))
        if change == "none":
            assert not np.asarray(open_sum(total, key, p, SEED, 2)).any()
            continue
        with pytest.raises(RoundAborted) as caught:
            open_sum(total, key, p, SEED, 2)
        assert caught.value.reason is Reason.NOISE_RANGE


@given(st.integers(2, 1000), st.integers(0, 2**32))
def test_sums_of_keys_come_back_from_the_sums_of_their_elements(clients, seed):
    p = choose_parameters(clients, 3, 10)
    rng = np.random.default_rng(seed)
    keys = [centred_binomial(p.degree, Keystream(rng.bytes(32))) for _ in range(2)]
    keys[0][:5], keys[1][:5] = 42, -42
    elements = sum(key_to_elements(key, p) for key in keys)
    back = key_of_elements(elements, p, 2)
    assert back.tolist() == sum(key.astype(int) for key in keys).tolist()
