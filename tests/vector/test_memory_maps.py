"""Vectors that lie in files: read from one map, released into another."""

import tracemalloc

import numpy as np

from fedprivacy.dp import Clip
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import BLOCK_VALUES, FixedPoint, Pipeline, Update, Weigh, Weights

LENGTH = 12 * BLOCK_VALUES + 7


def a_map(path, mode="w+"):
    return np.memmap(path, dtype=np.float32, mode=mode, shape=(LENGTH,))


def a_pipeline():
    stages = (Clip(1.0), Weigh(5), FixedPoint(16))
    return Pipeline.of(LENGTH, *stages, weights=Weights.SUMMED)


def test_from_a_map_and_to_a_map(tmp_path):
    values = np.random.default_rng(1).standard_normal(LENGTH).astype(np.float32)
    values /= np.float32(2 * np.linalg.norm(values))
    written = a_map(tmp_path / "update")
    written[:] = values
    written.flush()
    built = a_pipeline()
    sent = built.encode(Update(a_map(tmp_path / "update", "r"), 3), rng=InsecureTestRng(1))
    released = a_map(tmp_path / "sum")
    aggregate = built.decode(np.asarray(sent), clients=1, out=released)
    assert aggregate.sum is released
    assert aggregate.weight == 3
    assert np.abs(released - 3.0 * values).max() < built.quantisation_bound(3) + 1e-7


def test_a_map_that_is_read_only_is_not_copied(tmp_path):
    """Memory on the way is that of some blocks, not of the vector."""
    a_map(tmp_path / "update")[:] = 1e-6
    mapped = a_map(tmp_path / "update", "r")
    tracemalloc.start()
    try:
        sent = a_pipeline().encode(Update(mapped), rng=InsecureTestRng(1))
        for start in range(0, len(sent), 1 << 12):
            assert sent[start : start + (1 << 12)].dtype == np.int64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mapped.nbytes


def test_a_vector_that_may_change_is_copied_when_its_norm_is_taken():
    values = np.full(LENGTH, 1e-4, dtype=np.float32)
    sent = a_pipeline().encode(Update(values), rng=InsecureTestRng(1))
    again = a_pipeline().encode(Update(values.copy()), rng=InsecureTestRng(1))
    values[:] = 1e30
    assert np.array_equal(np.asarray(sent), np.asarray(again))
