"""The mistakes that other accountants make, each as a test that it is not made here."""

import math
import subprocess
import sys
import time

import pytest

from accounts import ADD, REPLACE, SEEN, bound, gaussian, hidden
from fedprivacy.accounting import Accountant, Method, epsilon_of
from fedprivacy.accounting.charges import Charge, charges
from fedprivacy.accounting.losses import pld_epsilon
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
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

DELTA = 1e-6
HALF = GaussianEvent(0.5)
RATE = 1 / 1000
EVENTS = [
    GaussianEvent(1.0),
    DiscreteGaussianEvent(100.0, 100.0**2),
    SkellamEvent(100.0, 1000.0, 100.0**2),
    DistributedDiscreteGaussianEvent(100.0, 1000.0, 100, 100.0, 100),
]


def total(*releases, delta=DELTA, adjacency=ADD):
    return epsilon_of(releases, delta, adjacency)


def test_a_shuffled_epoch_is_not_a_poisson_one():
    poisson = total(Release(HALF, hidden(RATE), 1000)).epsilon
    assert poisson == pytest.approx(4.24, abs=0.01)
    shuffled = total(Release(HALF, Sample(Sampling.SHUFFLE, RATE), 1000))
    # Measured as 11.00: one release to each unit, without any amplification.
    assert round(shuffled.epsilon, 2) >= 11.0
    assert shuffled.epsilon >= total(Release(HALF)).lower
    assert any("no amplification by shuffling" in told for told in shuffled.assumptions)
    two = total(Release(HALF, Sample(Sampling.SHUFFLE, RATE), 1001)).epsilon
    assert two == total(Release(HALF, count=2)).epsilon


@pytest.mark.parametrize(
    "sample",
    [
        Sample(Sampling.POISSON, RATE, SEEN),
        Sample(Sampling.FIXED_SIZE, RATE),
        Sample(Sampling.FIXED_SIZE, RATE, hidden(RATE).secrecy),
    ],
)
@pytest.mark.parametrize("event", EVENTS)
def test_only_a_hidden_poisson_sample_amplifies(sample, event):
    found = total(Release(event, sample, 10))
    assert found.epsilon == total(Release(event, count=10)).epsilon
    assert found.epsilon > total(Release(event, hidden(RATE), 10)).epsilon
    assert any("no amplification" in told for told in found.assumptions)


def test_a_hidden_shuffle_amplifies_nothing_either():
    sample = Sample(Sampling.SHUFFLE, RATE, hidden(RATE).secrecy)
    assert total(Release(HALF, sample)).epsilon == total(Release(HALF)).epsilon


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("sample", [Sample(), hidden(0.01)])
def test_replacing_costs_what_twice_the_sensitivity_costs(event, sample):
    replaced = total(Release(event, sample, 5), adjacency=REPLACE).epsilon
    assert replaced > total(Release(event, sample, 5)).epsilon
    if sample.rate == 1 and isinstance(event, GaussianEvent):
        assert replaced == total(Release(GaussianEvent(0.5), count=5)).epsilon


def test_the_factor_of_replacing_is_not_counted_twice():
    counts = charges([gaussian(1.0)])
    by_losses = pld_epsilon(counts, REPLACE, 1e-5, 10.0)
    assert by_losses == pytest.approx(9.9973, abs=1e-3)
    halved = pld_epsilon(charges([gaussian(0.5)]), ADD, 1e-5, 10.0)
    assert by_losses == pytest.approx(halved, abs=1e-6)


def test_the_adjacency_is_told():
    assert "twice" in total(gaussian(1.0), adjacency=REPLACE).assumptions[0]
    assert total(gaussian(1.0)).assumptions[0].startswith("add-or-remove-one")


@pytest.mark.parametrize("delta", [1e-13, 1e-15, 1e-18, 1e-50, 1e-300])
@pytest.mark.parametrize("q", [0.02, 1.0])
def test_a_tiny_delta_has_a_finite_answer(delta, q):
    found = bound(1.0, q, 100, delta)
    assert found.method is not Method.PLD
    assert 0 <= found.lower <= found.epsilon < math.inf
    assert found.epsilon >= bound(1.0, q, 100, 1e-12).epsilon


@pytest.mark.parametrize("sigma", [1e-100, 1e-6, 1e-3, 0.05, 0.1, 1e3, 1e9, 1e100])
@pytest.mark.parametrize("q", [1e-5, 0.5, 1.0])
@pytest.mark.parametrize("T", [1, 1000])
def test_no_noise_leads_to_a_negative_epsilon_or_none(sigma, q, T):  # noqa: N803
    found = bound(sigma, q, T, DELTA)
    assert 0 <= found.lower <= found.epsilon
    assert not math.isnan(found.epsilon)


def test_small_noise_has_the_tighter_bound():
    counts = charges([gaussian(0.05, 0.01, 10)])
    found = bound(0.05, 0.01, 10, 1e-5)
    assert found.method is Method.PLD
    assert found.epsilon < 0.5 * renyi_epsilon(composed_curve(counts, ADD), 1e-5, ORDERS)


@pytest.mark.parametrize("T", [10**6, 10**7])
def test_many_rounds(T):  # noqa: N803
    for sigma, q in ((1.0, 0.001), (100.0, 0.001), (1e4, 0.02)):
        began = time.perf_counter()
        found = bound(sigma, q, T, DELTA)
        # A hundredth of the time that a hang in the library took.
        assert time.perf_counter() - began < 60
        assert 0 < found.lower <= found.epsilon < 100


@pytest.mark.parametrize("delta", [0, 1, -1e-6, math.nan, math.inf, None, "1e-6", True])
def test_what_is_no_delta_is_refused(delta):
    with pytest.raises(ConfigurationError, match=r"^delta = .* is outside \(0, 1\): choose it"):
        total(gaussian(1.0), delta=delta)


def test_nothing_released_costs_nothing():
    assert total().epsilon == 0


def test_lost_mass_is_charged_to_delta():
    clean = DiscreteGaussianEvent(1.0, 4.0)
    lost = DiscreteGaussianEvent(1.0, 4.0, delta_extra=1e-12)
    plain, charged = total(Release(clean, count=10)), total(Release(lost, count=10))
    assert plain.epsilon < charged.epsilon < 1.01 * plain.epsilon
    # (1 + e^eps) of it must fit in what delta has to spare.
    assert (1 + math.exp(charged.epsilon)) * 1e-11 < DELTA
    assert any("mass" in told for told in charged.assumptions)
    hopeless = DiscreteGaussianEvent(1.0, 4.0, delta_extra=1e-7)
    assert total(Release(hopeless, count=10)).epsilon == math.inf
    # Many releases lose more than one.
    assert total(Release(lost, count=10**4)).epsilon == math.inf


def test_a_continuous_gaussian_has_no_fewer_charges_than_its_discrete_twin():
    discrete = total(Release(DiscreteGaussianEvent(3.0, 36.0), count=7))
    curve = composed_curve({Charge(GaussianEvent(2.0), 1.0): 7}, ADD)
    assert discrete.epsilon == pytest.approx(renyi_epsilon(curve, DELTA, ORDERS), rel=0.02)
    assert discrete.epsilon >= total(Release(GaussianEvent(2.0), count=7)).epsilon


def test_a_cohort_of_unequal_rounds_is_summed_up():
    accountant = Accountant()
    for z in range(20):
        accountant.add(gaussian(1 + z / 10, 0.01))
    found = accountant.bound(DELTA)
    assert found.method is Method.RDP
    assert found.epsilon < 20 * bound(1.0, 0.01, 1, DELTA / 20).epsilon


def test_importing_the_room_leaves_the_library_alone():
    code = (
        "import sys, fedprivacy.accounting; "
        "print([m for m in sys.modules if m.split('.')[0] in ('dp_accounting', 'scipy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_masses_whose_ratio_overflows_leave_the_answer_to_another_bound():
    release = Release(GaussianEvent(0.400390625), hidden(0.38671875), 638)
    told = epsilon_of([release], 1e-5)
    assert 0 < told.lower <= told.epsilon < math.inf
