"""Plans keep their budget, waste little of it, and cost what the pipeline and the noise imply."""

import math

import numpy as np
import pytest

from accounts import ADD, REPLACE, gaussian, hidden
from fedprivacy.accounting import NoiseModel, Workload, epsilon_of, noise_for, rounds_within
from fedprivacy.dp import Clip
from fedprivacy.dp.events import DiscreteGaussianEvent, GaussianEvent, Release, Sample
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import FixedPoint, Pipeline, Update, Weights

BUDGET = {"epsilon": 4.0, "delta": 1e-6}


def workload(mechanism, sample=None, clients=1000, bits=16, length=1000):
    return Workload(mechanism, clients, sample or Sample(), 1.0, bits, length)


@pytest.mark.parametrize("mechanism", NoiseModel)
@pytest.mark.parametrize("adjacency", [ADD, REPLACE])
def test_the_least_noise_keeps_the_budget_and_a_little_less_does_not(mechanism, adjacency):
    work = workload(mechanism)
    least, bound = noise_for(work, **BUDGET, rounds=20, adjacency=adjacency)
    assert BUDGET["epsilon"] * (1 - 1e-5) < bound.epsilon <= BUDGET["epsilon"]
    cheaper = epsilon_of([work.release(least * (1 - 1e-5), 20)], BUDGET["delta"], adjacency)
    assert cheaper.epsilon > BUDGET["epsilon"]


def test_noise_and_rounds_undo_each_other():
    work = workload(NoiseModel.GAUSSIAN, hidden(0.02))
    least, _ = noise_for(work, **BUDGET, rounds=50, adjacency=ADD)
    assert rounds_within(work.release(least, 1), **BUDGET, adjacency=ADD) == 50


@pytest.mark.parametrize("event", [GaussianEvent(30.0), DiscreteGaussianEvent(1.0, 900.0)])
def test_the_last_round_is_the_last(event):
    bought = rounds_within(Release(event), **BUDGET, adjacency=ADD)
    costs = [
        epsilon_of([Release(event, count=n)], BUDGET["delta"]).epsilon for n in (bought, bought + 1)
    ]
    assert costs[0] <= BUDGET["epsilon"] < costs[1]


def test_a_budget_for_not_even_one_round():
    assert rounds_within(gaussian(0.1), **BUDGET, adjacency=ADD) == 0


def test_a_release_that_costs_next_to_nothing_is_bought_for_as_long_as_anyone_runs():
    assert rounds_within(gaussian(1e9), **BUDGET, adjacency=ADD) >= 10**12


def test_the_error_of_the_mean_is_the_one_that_is_met():
    """Rounding and noise, drawn: 2,000 coordinates, within 6 standard errors of the estimate."""
    length, clients, multiplier = 2000, 50, 0.5
    work = workload(NoiseModel.DISCRETE_GAUSSIAN, clients=clients, bits=8, length=length)
    cost = work.cost(multiplier)
    rng, draw = InsecureTestRng(3), np.random.default_rng(4)
    pipeline = Pipeline.of(length, Clip(1.0), FixedPoint(8), weights=Weights.UNIFORM)
    vectors = draw.normal(size=(clients, length)) / math.sqrt(length) / 2
    total = sum(np.asarray(pipeline.encode(Update(v), rng=rng)) for v in vectors)
    noise = draw.normal(size=length) * multiplier * work.l2
    error = (total + noise) / work.rounded.scale / clients - vectors.mean(axis=0)
    met = math.sqrt((error**2).mean())
    assert met == pytest.approx(cost.rms_error, rel=6 / math.sqrt(2 * length))
    assert cost.vector_error == pytest.approx(cost.rms_error * math.sqrt(length))


def test_bits_hold_the_sum_and_its_noise():
    cost = workload(NoiseModel.SKELLAM, bits=16).cost(1.0)
    reach = 1000 * 32767 + 14 * workload(NoiseModel.SKELLAM, bits=16).l2
    assert 2 ** (cost.modulus_bits - 1) <= 2 * math.ceil(reach) < 2**cost.modulus_bits
    assert cost.upload_bytes == math.ceil(1000 * cost.modulus_bits / 8)


def test_few_bits_for_many_coordinates_show_in_the_sensitivity():
    assert workload(NoiseModel.SKELLAM, bits=16).cost(1.0).inflation < 1.01
    assert workload(NoiseModel.SKELLAM, bits=10, length=2**20).cost(1.0).inflation > 1.4


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf, True, "4"])
def test_what_is_no_budget_is_refused(epsilon):
    budget = {"epsilon": epsilon, "delta": 1e-6, "adjacency": ADD}
    with pytest.raises(ConfigurationError, match=r"^epsilon = .* is outside \(0, inf\): choose"):
        noise_for(workload(NoiseModel.GAUSSIAN), **budget, rounds=1)
    with pytest.raises(ConfigurationError, match=r"^epsilon = .* is outside \(0, inf\): choose"):
        rounds_within(gaussian(1.0), **budget)


def test_a_delta_that_gives_everything_away_needs_no_noise_and_is_refused():
    with pytest.raises(ConfigurationError, match="holds at this delta with hardly any noise"):
        noise_for(workload(NoiseModel.GAUSSIAN), epsilon=1e9, delta=0.5, rounds=1, adjacency=ADD)


def test_a_cohort_of_less_than_one_is_refused():
    with pytest.raises(ConfigurationError, match=r"^rate = 0\.001 of 10 clients is less than one"):
        workload(NoiseModel.GAUSSIAN, hidden(0.001), clients=10)
