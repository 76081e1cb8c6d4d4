"""One-shot aggregation against CKKS as NVIDIA FLARE sets TenSEAL: 10^6 values, 100 clients.

FLARE: degree 8192, moduli [60, 40, 40], scale 2^40, symmetric encryption. Who encrypts clips,
scales and rounds a float32 vector, where it has to, encrypts, and serialises; who decrypts parses a
sum and gives floats.
"""

from __future__ import annotations

import numpy as np
import pytest
from oneshot_round import CLIENTS, LENGTH, Quantised

from fedprivacy.arithmetic import PackedSum, centred_binomial, pack
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.homomorphic.native import NativeContext
from fedprivacy.secagg.homomorphic.schemes import CKKS_8192
from fedprivacy.secagg.oneshot import choose_parameters
from fedprivacy.secagg.oneshot.cipher import Encryption, open_sum, values_per_chunk

pytest.importorskip("tenseal")

ROUNDS, BITS = 5, 16
BOUND = (1 << (BITS - 1)) - 1
SECRET, ERRORS = b"s" * 32, b"e" * 32


@pytest.fixture(scope="module")
def vector():
    return np.random.default_rng(0).uniform(-1, 1, LENGTH).astype(np.float32)


@pytest.fixture(scope="module")
def parameters():
    return choose_parameters(CLIENTS, BOUND, LENGTH)


@pytest.fixture(scope="module")
def flare():
    return NativeContext.generate(CKKS_8192)


def oneshot(vector, parameters):
    """The bytes of one client's ciphertext."""
    source, step = Quantised(vector, BOUND), values_per_chunk(parameters)
    encryption = Encryption(parameters, bytes(32), secret=SECRET, errors=ERRORS)
    parts = (encryption.next(source[at : at + step]) for at in range(0, LENGTH, step))
    return [pack(part, parameters.bits) for part in parts]


def ckks(vector, context):
    slots, floats = CKKS_8192.slots, vector.astype(np.float64)
    return [context.encrypt(floats[at : at + slots]) for at in range(0, LENGTH, slots)]


def sizes(parameters):
    return {
        "length": LENGTH,
        "clients": CLIENTS,
        "value_bits": BITS,
        "degree": parameters.degree,
        "modulus_bits": parameters.bits,
        "threads": 1,
    }


AGAINST = "TenSEAL CKKS 8192 [60, 40, 40], scale 2^40, symmetric"


def test_encrypting(bench, vector, parameters, flare):
    pairs = bench.in_turn(
        lambda: bench.seconds(lambda: oneshot(vector, parameters)),
        lambda: bench.seconds(lambda: ckks(vector, flare)),
        rounds=ROUNDS,
    )
    row = bench.row(
        "oneshot-encrypt-ckks",
        "encrypting 10^6 values: from floats to bytes",
        against=AGAINST,
        quantity="seconds",
        pairs=pairs,
        sizes=sizes(parameters),
    )
    bench.keep(row)


def test_ciphertext_bytes(bench, vector, parameters, flare):
    ours = bench.benchmark.pedantic(oneshot, args=(vector, parameters), rounds=1)
    row = bench.row(
        "oneshot-bytes-ckks",
        "the ciphertext of 10^6 values",
        against=AGAINST,
        quantity="bytes",
        pairs=[(sum(map(len, ours)), sum(map(len, ckks(vector, flare))))],
        sizes=sizes(parameters),
    )
    bench.keep(row)


def test_decrypting(bench, vector, parameters, flare):
    packed, theirs = b"".join(oneshot(vector, parameters)), ckks(vector, flare)
    key = centred_binomial(parameters.degree, Keystream(SECRET)).astype(np.int64)

    def opened():
        total = PackedSum(parameters.coefficients, parameters.bits)
        total.add_packed(0, packed)
        return np.asarray(open_sum(total, key, parameters, bytes(32), 1)) / BOUND

    def decrypted():
        return np.concatenate([np.asarray(flare.open(part).decrypt()) for part in theirs[:-1]])

    pairs = bench.in_turn(
        lambda: bench.seconds(opened), lambda: bench.seconds(decrypted), rounds=ROUNDS
    )
    row = bench.row(
        "oneshot-decrypt-ckks",
        "decrypting 10^6 values: from bytes to floats",
        against=AGAINST,
        quantity="seconds",
        pairs=pairs,
        sizes=sizes(parameters),
    )
    bench.keep(row)
