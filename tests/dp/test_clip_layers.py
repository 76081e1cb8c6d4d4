import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.dp import Clip, ClipLayers, NonFinite, PerUnit
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import BLOCK_VALUES, FixedPoint, Pipeline, Update, VectorSpec, Weights

RNG = InsecureTestRng(0)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LAYERS = st.lists(st.lists(FLOATS, min_size=1, max_size=9), min_size=1, max_size=6)


def clipped(values, stage):
    update = stage.encode(Update(values), VectorSpec(values.shape[-1]), rng=RNG)
    return np.asarray(update.values)


def layers_of(values, lengths):
    return np.split(values, np.cumsum(lengths)[:-1])


@given(LAYERS, st.sampled_from([1e-9, 1 / 3, 1.0, 7, 1e9]))
def test_each_layer_has_its_share_and_the_whole_its_norm(layers, norm):
    """Over the reals: the layers' shares, which are rounded down, add up to no more."""
    values = np.concatenate(layers)
    stage = ClipLayers(norm, tuple(map(len, layers)))
    before, out = values.copy(), clipped(values, stage)
    assert np.array_equal(values, before)
    assert sum(Fraction(v) ** 2 for v in out.tolist()) <= Fraction(norm) ** 2
    share = norm / math.sqrt(len(layers))
    for layer, found in zip(layers, layers_of(out, stage.lengths), strict=True):
        alone = clipped(np.array(layer), Clip(share * (1 - 2.0**-51)))
        assert np.array_equal(found, alone)
        assert np.linalg.norm(found) <= share
    admitted = stage.admit(VectorSpec(len(values)))
    assert admitted.l2 == norm
    assert np.abs(out).max() <= admitted.bound <= share


def test_a_long_layer_does_not_shrink_the_others():
    values = np.array([100.0, 100.0, 0.3, 0.4])
    out = clipped(values, ClipLayers(1.0, (2, 2)))
    assert out[2:].tolist() == [0.3, 0.4]
    assert np.linalg.norm(out[:2]) == pytest.approx(1 / math.sqrt(2))
    assert clipped(values, Clip(1.0))[2:].max() < 0.01


def test_layers_that_cross_the_blocks_in_which_values_are_read():
    rng = np.random.default_rng(1)
    lengths = (BLOCK_VALUES - 5, 3, BLOCK_VALUES + 40, 7)
    values = rng.standard_normal(sum(lengths)).astype(np.float32)
    stage = ClipLayers(1.0, lengths)
    spec = VectorSpec(len(values))
    update = stage.encode(Update(values), spec, rng=RNG)
    step = BLOCK_VALUES // 3
    read = [update.values[..., a : a + step] for a in range(0, len(values), step)]
    again = np.asarray(update.values)
    assert np.array_equal(np.concatenate(read), again)
    wanted = [clipped(layer, stage._each) for layer in layers_of(values, lengths)]
    assert np.array_equal(again, np.concatenate(wanted))


def test_units_are_clipped_one_by_one_and_a_bad_layer_takes_the_unit_out():
    rows = np.array([[3.0, 4.0, 0.1], [np.nan, 0.0, 0.2], [0.1, 0.0, -9.0]])
    units = PerUnit(ClipLayers(1.0, (2, 1), NonFinite.ZERO), FixedPoint(16), max_units=3)
    pipeline = Pipeline.of(3, units, weights=Weights.UNIFORM)
    encoded = pipeline.encode(Update(rows), rng=RNG)
    total = pipeline.decode(np.asarray(encoded), clients=1).sum
    half = 1 / math.sqrt(2)
    wanted = [half * 0.6 + 0.1, half * 0.8, 0.1 - half]
    assert np.abs(total - wanted).max() <= 3 / pipeline.specs[-1].scale
    with pytest.raises(ConfigurationError, match="finite number"):
        clipped(rows[1], ClipLayers(1.0, (2, 1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ClipLayers(1.0, ()), "is empty"),
        (lambda: ClipLayers(1.0, (2, 0)), "not a whole number from 1"),
        (lambda: ClipLayers(math.nan, (1,)), "Clip.norm = nan is outside"),
        (lambda: ClipLayers(1e-100, (1, 1)), "is outside"),
        (lambda: ClipLayers(1.0, (2, 3)).admit(VectorSpec(6)), "add up to 5 where a vector has 6"),
    ],
)
def test_layers_that_make_no_vector_are_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
