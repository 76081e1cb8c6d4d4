"""The masks of 16 neighbours, expanded and added, against the bare keystream.

On one thread. The floor of the comparison is AES-256-CTR, called without anything of this package,
over a buffer that stays in the cache, for the same number of bytes. What is measured is what a
client does to its vector, chunk by chunk: values become words, masks are added, words are reduced.
"""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedprivacy.arithmetic import word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.secagg.masking.masks import MaskedVector, Term
from fedprivacy.secagg.uploads import CHUNK_VALUES, chunk_slices

LENGTH = 10_000_000  # no cache holds this accumulator: what the order of the loops is worth
NEIGHBOURS = 16
BITS = 22
WORD = word_dtype(BITS)
BUFFER = 1 << 16
SEEDS = [bytes([i]) * 32 for i in range(NEIGHBOURS)]


def bare_keystream():
    """Every byte that the masks take, each into the same buffer."""
    zeros, out = bytes(BUFFER), bytearray(BUFFER)
    for seed in SEEDS:
        encryptor = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
        whole, rest = divmod(LENGTH * WORD.itemsize, BUFFER)
        for _ in range(whole):
            encryptor.update_into(zeros, out)
        encryptor.update_into(zeros[:rest], out)


def masked(terms):
    """Every chunk of a vector of zeros, masked as a client does."""
    vector, zeros = MaskedVector(BITS, terms), np.zeros(CHUNK_VALUES, dtype=np.int64)
    for part in chunk_slices(LENGTH):
        vector.add_to(zeros[: part.stop - part.start])


@pytest.fixture
def accumulator():
    return np.zeros(LENGTH, dtype=WORD)


def test_masks_against_the_bare_keystream(bench):
    terms = [Term(+1 if i % 2 else -1, seed) for i, seed in enumerate(SEEDS)]
    pairs = bench.in_turn(
        lambda: bench.seconds(lambda: masked(terms)),
        lambda: bench.seconds(bare_keystream),
        rounds=15,
    )
    row = bench.row(
        "masks",
        "expand and add the masks of 16 neighbours, 10^7 values, one core",
        against="a bare AES-256-CTR keystream over a 64 KiB buffer",
        quantity="seconds",
        pairs=pairs,
        sizes={
            "length": LENGTH,
            "neighbours": NEIGHBOURS,
            "bits": BITS,
            "word_bytes": WORD.itemsize,
            "keystream_bytes": LENGTH * NEIGHBOURS * WORD.itemsize,
            "buffer_bytes": BUFFER,
            "threads": 1,
        },
    )
    bench.keep(row)


def test_the_order_of_the_loops(bench, accumulator):
    """All seeds for each chunk, as shipped, and one seed after the other; printed, not kept."""
    terms = [Term(+1, seed) for seed in SEEDS]

    def seed_by_seed():
        for seed in SEEDS:
            MaskStream(seed, BITS).add_to(accumulator)

    pairs = bench.in_turn(
        lambda: bench.seconds(lambda: masked(terms)),
        lambda: bench.seconds(seed_by_seed),
        rounds=5,
    )
    bench.benchmark.extra_info["pairs"] = pairs
