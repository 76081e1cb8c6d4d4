"""The masks of 16 neighbours on a million coordinates, against the bare keystream.

Run by path, on one thread: `pytest benchmarks/bench_masks.py`. The floor of the comparison is
AES-256-CTR over a buffer that stays in the cache, for the same number of bytes: what no mask
generator of this kind can undercut.
"""

from __future__ import annotations

import os
import platform

import numpy as np
import pytest

from fedprivacy.arithmetic import word_dtype
from fedprivacy.crypto import MaskStream
from fedprivacy.randomness import Keystream

LENGTH = 1_000_000
LARGE = 10_000_000  # no cache holds this accumulator: what the order of the loops is worth
NEIGHBOURS = 16
BITS = 22
WORD = word_dtype(BITS)
CHUNK = 1 << 16  # coordinates: 256 KiB of accumulator
SEEDS = [bytes([i]) * 32 for i in range(NEIGHBOURS)]


@pytest.fixture
def sized(benchmark):
    benchmark.group = "masks"
    benchmark.extra_info.update(
        neighbours=NEIGHBOURS,
        bits=BITS,
        word_bytes=WORD.itemsize,
        threads=1,
        cpus=os.cpu_count(),
        machine=platform.machine(),
        numpy=np.__version__,
    )
    return benchmark


def vector(benchmark, length):
    """Zeros to be masked; notes the sizes."""
    mask_bytes = length * NEIGHBOURS * WORD.itemsize
    benchmark.extra_info.update(length=length, keystream_bytes=mask_bytes)
    return np.zeros(length, dtype=WORD)


def test_bare_keystream(sized):
    total = vector(sized, LENGTH).nbytes * NEIGHBOURS
    buffer = np.empty(1 << 14, dtype=WORD)  # 64 KiB
    whole, rest = divmod(total, buffer.nbytes)

    def run():
        stream = Keystream(SEEDS[0])
        for _ in range(whole):
            stream.fill(buffer)
        stream.fill(buffer.view(np.uint8)[:rest])

    sized(run)


@pytest.mark.parametrize("length", [LENGTH, LARGE])
def test_masks_chunk_by_chunk(sized, length):
    accumulator = vector(sized, length)

    def run():
        streams = [MaskStream(seed, BITS) for seed in SEEDS]
        for start in range(0, length, CHUNK):
            for stream in streams:
                stream.add_to(accumulator[start : start + CHUNK])

    sized(run)


@pytest.mark.parametrize("length", [LENGTH, LARGE])
def test_masks_seed_by_seed(sized, length):
    accumulator = vector(sized, length)

    def run():
        for seed in SEEDS:
            MaskStream(seed, BITS).add_to(accumulator)

    sized(run)
