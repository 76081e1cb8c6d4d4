"""The collection of published values, each within its tolerance, by the method that it names."""

import itertools
import json
import math
import re

import dp_accounting
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, logsumexp

from accounts import ADD, REPLACE, bound, gaussian
from fedprivacy.accounting import Method, Workload, epsilon_of, noise_for, rounds_within
from fedprivacy.accounting.charges import Charge, charges
from fedprivacy.accounting.losses import pld_epsilon
from fedprivacy.accounting.planner import NoiseModel
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp.events import GaussianEvent


@pytest.fixture(scope="session")
def cases(shared):
    listed = json.loads((shared / "vectors/dp_cases.json").read_text("utf-8"))["cases"]
    return {case["id"]: case for case in listed}


def by_rdp(case, orders=ORDERS):
    given = case["inputs"]
    counts = charges([gaussian(given["sigma"], given["q"], given["T"])])
    return renyi_epsilon(composed_curve(counts, ADD, orders), given["delta"], orders)


def by_pld(case):
    given = case["inputs"]
    counts = charges([gaussian(given["sigma"], given["q"], given["T"])])
    return pld_epsilon(counts, ADD, given["delta"], by_rdp(case))


PRV = [
    "s0.8-q0.001-T100",
    "s0.8-q0.05-T100",
    "s3.0-q0.05-T100",
    "s1.5-q0.2-T100",
    "s1.5-q0.001-T1000",
    "s2.0-q0.05-T1000",
    "s0.8-q0.001-T20000",
    "s3.0-q0.05-T20000",
    "s0.8-q0.001-T50000",
]


@pytest.mark.parametrize("name", PRV)
def test_prv_upper_values(cases, name):
    case = cases[f"msr-prv-{name}"]
    given = case["inputs"]
    found = bound(given["sigma"], given["q"], given["T"], given["delta"])
    assert found.method is Method.PLD
    # The published upper value is its estimate and an error of 0.01.
    assert found.epsilon == pytest.approx(case["expected"] - 0.01, abs=0.0015)
    assert found.lower <= case["expected"] - 0.02 + 0.01
    assert by_rdp(case) >= found.epsilon


def test_every_prv_case_is_listed(cases):
    assert sorted(PRV) == sorted(c.removeprefix("msr-prv-") for c in cases if c.startswith("msr"))


COARSE = (
    *(1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5),
    *range(5, 64),
    *(128, 256, 512),
)
FINE = tuple(np.arange(1.001, 100, 0.001))


@pytest.mark.parametrize("name", ["tfp-rdp-0", "tfp-rdp-1", "tfp-rdp-2"])
def test_renyi_values(cases, name):
    case = cases[name]
    assert by_rdp(case, tuple(map(float, COARSE))) == pytest.approx(case["expected"], abs=1e-6)


def test_renyi_values_at_the_default_orders(cases):
    case = cases["tfp-rdp-sub"]
    assert by_rdp(case) == pytest.approx(case["expected"], abs=1e-6)


def test_the_renyi_value_of_opacus(cases):
    """It is the exact divergence at the best order; dp_accounting's is a little above it.

    At a fractional order dp_accounting adds the magnitudes of terms whose signs alternate.
    """
    case = cases["opacus-rdp-test"]
    given, order = case["inputs"], 3.9
    sigma, q = given["sigma"], given["q"]

    def power(x):
        ratio = math.log(1 - q + q * math.exp((2 * x - 1) / (2 * sigma**2)))
        return math.exp(order * ratio - x**2 / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    moment, _ = quad(power, -20, 30, epsabs=0, epsrel=1e-13, limit=200)
    exact = np.array([given["T"] * math.log(moment) / (order - 1)])
    assert renyi_epsilon(exact, given["delta"], (order,)) == pytest.approx(
        case["expected"], abs=1e-7
    )
    assert case["expected"] <= by_rdp(case) <= case["expected"] + 3e-4


def test_renyi_of_one_gaussian_on_a_fine_grid(cases):
    case = cases["dpa-rdp-gauss"]
    assert by_rdp(case, FINE) == pytest.approx(case["expected"], abs=1e-6)
    given = case["inputs"]
    exact = bound(given["sigma"], given["q"], given["T"], given["delta"])
    assert exact.epsilon == pytest.approx(case["recomputed"]["exact"], abs=1e-8)


def test_a_gaussian_by_losses(cases):
    case = cases["tfp-pld-nosub"]
    assert by_pld(case) == pytest.approx(case["expected"], abs=1e-6)


@pytest.mark.parametrize("delta", ["1e-5", "1e-8", "1e-12"])
def test_closed_forms(cases, delta):
    case = cases[f"exact-gauss-mu1-{delta}"]
    given = case["inputs"]
    found = bound(given["sigma"], given["q"], given["T"], given["delta"])
    assert found.method is Method.EXACT
    assert found.lower <= case["expected"] <= found.epsilon
    assert found.epsilon - found.lower < 1e-7
    assert by_pld(case) == pytest.approx(case["expected"], abs=case["tolerance"])


def test_delta_of_a_gaussian(cases):
    # The accountant is asked for epsilon: at the published delta it is the published one.
    case = cases["dpa-gauss-delta"]
    given = case["inputs"]
    found = [
        bound(given["sigma"], 1.0, given["T"], case["expected"] + error).epsilon
        for error in (-0.001, 0.001)
    ]
    assert found[1] <= given["epsilon"] <= found[0]


def test_the_least_noise(cases):
    case = cases["dpa-sigma-1"]
    given = case["inputs"]
    sample = gaussian(1.0, given["q"]).sample
    work = Workload(NoiseModel.GAUSSIAN, 1000, sample, 1.0, 16, 10)
    found, reached = noise_for(
        work, epsilon=given["epsilon"], delta=given["delta"], rounds=given["T"], adjacency=ADD
    )
    assert found == pytest.approx(case["expected"], abs=1e-6)
    assert 0.999999 < reached.epsilon <= 1


def test_the_most_rounds(cases):
    case = cases["jaxp-iters"]
    given = case["inputs"]
    release = gaussian(given["sigma"], given["q"])
    budget = {"epsilon": given["epsilon"], "delta": given["delta"]}
    assert rounds_within(release, **budget, adjacency=ADD) == case["expected"]


def test_tiny_delta(cases):
    case = cases["BREAK-tiny-delta"]
    given = case["inputs"]
    found = bound(given["sigma"], given["q"], given["T"], given["delta"])
    assert found.method is Method.RDP
    assert found.epsilon == pytest.approx(case["expected"]["RDP"], abs=1e-3)
    assert 0 < found.lower < found.epsilon


def test_replace_one_by_every_route(cases):
    case = cases["BREAK-replace-one-factor2"]
    given = case["inputs"]
    counts, delta = charges([gaussian(given["sigma"])]), given["delta"]
    least = case["expected"]["correct_ge"]
    renyi = renyi_epsilon(composed_curve(counts, REPLACE), delta, ORDERS)
    losses = pld_epsilon(counts, REPLACE, delta, renyi)
    exact = epsilon_of([gaussian(given["sigma"])], delta, REPLACE).epsilon
    for found in (renyi, losses, exact):
        assert found >= least - 1e-4
    assert losses == pytest.approx(least, abs=1e-3)
    assert exact == pytest.approx(case["recomputed"]["exact_2C"], abs=1e-7)


@pytest.mark.parametrize("name", ["abadi-2016", "mcmahan-2018"])
def test_the_moments_accountant(cases, name):
    """Their conversion is not ours, which is tighter: it is written out here."""
    case = cases[name]
    given = case["inputs"]
    orders = tuple(map(float, range(2, 33)))
    rdp = composed_curve(charges([gaussian(given["sigma"], given["q"], given["T"])]), ADD, orders)
    moments = min(
        r + math.log(1 / given["delta"]) / (a - 1) for a, r in zip(orders, rdp, strict=True)
    )
    assert moments == pytest.approx(case["expected"], abs=case["tolerance"])
    assert bound(given["sigma"], given["q"], given["T"], given["delta"]).epsilon < moments


# ---------------------------------------------------------------- of the library's other events


def test_a_tree_of_one_epoch_by_the_librarys_curve_and_our_conversion(cases):
    case = cases["dpftrl-so-eps20"]
    given = case["inputs"]
    accountant = dp_accounting.rdp.RdpAccountant(
        ORDERS, dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    )
    accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(given["sigma"], given["T"]))
    found = renyi_epsilon(accountant.rdp, given["delta"], ORDERS)
    assert found < float(case["expected"].removeprefix("< "))
    assert found == pytest.approx(case["recomputed"]["dp_accounting_RDP"], rel=1e-9)


@pytest.mark.nightly
def test_the_installed_library_is_the_one_that_was_measured(cases):
    """Mixtures of Gaussians are no event of ours; the value tells whether the library moved."""
    case = cases["dpa-mog"]
    pattern = r"MoG\((\d), *\[([\d.,]+)\], *\[([\d.,]+)\]\)x(\d)"
    parts = re.findall(pattern, case["inputs"]["events"])
    assert len(parts) == 2
    accountant = dp_accounting.pld.PLDAccountant()
    for deviation, steps, chances, count in parts:
        event = dp_accounting.dp_event.MixtureOfGaussiansDpEvent(
            float(deviation), [*map(float, steps.split(","))], [*map(float, chances.split(","))]
        )
        accountant.compose(event, int(count))
    found = accountant.get_epsilon(case["inputs"]["delta"])
    assert found == pytest.approx(case["expected"], abs=1e-6)


def test_every_case_of_accounting_is_tested(cases):
    named = {
        *(f"msr-prv-{name}" for name in PRV),
        *("opacus-rdp-test", "tfp-rdp-0", "tfp-rdp-1", "tfp-rdp-2", "tfp-rdp-sub"),
        *("tfp-pld-nosub", "dpa-gauss-delta", "dpa-mog", "dpa-rdp-gauss", "dpa-sigma-1"),
        *("jaxp-iters", "dpftrl-so-eps20", "abadi-2016", "mcmahan-2018"),
        *("exact-gauss-mu1-1e-5", "exact-gauss-mu1-1e-8", "exact-gauss-mu1-1e-12"),
        *("BREAK-tiny-delta", "BREAK-replace-one-factor2"),
    }
    assert named == {name for name in cases if not name.startswith("audit-1run-")}


# ---------------------------------------------------------------- what the Renyi curve is


@pytest.mark.parametrize(
    ("sigma", "q"), list(itertools.product([0.5, 1.0, 4.0], [0.001, 0.1, 0.9]))
)
def test_the_curve_of_a_sampled_gaussian_is_the_binomial_sum(sigma, q):
    """Mironov, Talwar, Zhang (2019), section 3.3, at whole orders, summed otherwise."""
    orders = (2.0, 3.0, 8.0, 33.0)
    found = composed_curve({Charge(GaussianEvent(sigma), q): 1}, ADD, orders)
    for order, value in zip(orders, found, strict=True):
        k = np.arange(order + 1)
        ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = ways + k * math.log(q) + (order - k) * math.log1p(-q) + k * (k - 1) / 2 / sigma**2
        assert value == pytest.approx(logsumexp(terms) / (order - 1), rel=1e-9)
