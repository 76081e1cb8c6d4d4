"""Events are plain frozen values, and what cannot be noise is refused with the remedy."""

import math

import pytest

from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    GaussianEvent,
    Release,
    Sample,
    Sampling,
    SkellamEvent,
)
from fedprivacy.errors import ConfigurationError

GIVEN = {
    GaussianEvent: {"noise_multiplier": 1.0},
    DiscreteGaussianEvent: {"l2": 3.0, "variance": 9.0},
    DistributedDiscreteGaussianEvent: {
        "l2": 3.0,
        "l1": 9.0,
        "dimension": 4,
        "local_variance": 4.0,
        "shares": 10,
    },
    SkellamEvent: {"l2": 3.0, "l1": 9.0, "variance": 40.0},
}
EACH = [(kind, key) for kind, given in GIVEN.items() for key in given]


@pytest.mark.parametrize(("kind", "key"), EACH)
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, -math.inf, "1", None, True])
def test_what_is_no_positive_number_is_refused(kind, key, value):
    with pytest.raises(ConfigurationError) as caught:
        kind(**{**GIVEN[kind], key: value})
    assert str(caught.value).startswith(f"{kind.__name__}.{key} = ")
    assert ": " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("value", [-1e-30, 1.0, math.nan, math.inf, None, True])
def test_a_loss_that_is_no_probability_is_refused(kind, value):
    with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\.delta_extra = .*: give the"):
        kind(**GIVEN[kind], delta_extra=value)


@pytest.mark.parametrize("kind", GIVEN)
def test_equal_events_are_one_key(kind):
    one, other = kind(**GIVEN[kind]), kind(**GIVEN[kind])
    assert {one: 1, other: 2} == {one: 2}
    assert kind(**GIVEN[kind], delta_extra=1e-30) != one
    assert Release(one, count=3) == Release(other, count=3)
    with pytest.raises(AttributeError):
        one.delta_extra = 0.5
    assert not hasattr(one, "__dict__")


def test_shares_below_two_deviations_are_refused():
    given = {**GIVEN[DistributedDiscreteGaussianEvent], "local_variance": 3.999}
    with pytest.raises(ConfigurationError, match=r"local_variance = 3\.999 is below 4\.0: scale"):
        DistributedDiscreteGaussianEvent(**given)


@pytest.mark.parametrize("rate", [0, -0.1, 1.0001, math.nan, True, "0.1"])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigurationError, match=r"^Sample\.rate = "):
        Sample(Sampling.POISSON, rate)


def test_a_rate_below_one_needs_a_scheme():
    with pytest.raises(ConfigurationError, match=r"^Sample\.rate = 0\.5 where all take part"):
        Sample(rate=0.5)


@pytest.mark.parametrize("count", [0, -1, 1.0, True, (1 << 40) + 1])
def test_a_count_of_releases_is_a_whole_number(count):
    with pytest.raises(ConfigurationError, match=r"^Release\.count = "):
        Release(GaussianEvent(1.0), count=count)


@pytest.mark.parametrize("batches", [1, 2, 3, 7, 49, 1000, 12345])
def test_a_shuffled_epoch_has_as_many_batches_as_the_rate_says(batches):
    assert Sample(Sampling.SHUFFLE, 1 / batches).batches == batches
    assert Sample(Sampling.SHUFFLE, 0.0015).batches == 666
