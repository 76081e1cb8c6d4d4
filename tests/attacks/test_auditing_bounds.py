"""The formulas of the audits: published values, order, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm

from fedprivacy.attacks.auditing import Auditor, one_shot_estimate
from fedprivacy.attacks.auditing.auditor import guessed
from fedprivacy.attacks.auditing.gaussians import (
    auc_bound,
    gaussian_delta,
    gaussian_epsilon,
    power_bound,
    success_bound,
    two_gaussians_epsilon,
)
from fedprivacy.attacks.auditing.one_run import (
    fdp_epsilon,
    one_run_epsilon,
    one_run_p_value,
)
from fedprivacy.attacks.auditing.rates import (
    Confusion,
    bayesian_interval,
    clopper_pearson_epsilon,
    gdp_epsilon,
)
from fedprivacy.attacks.auditing.verdict import Registered
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.view import CanaryScores
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng

# Steinke et al. (2023): m, r, v, delta and the bound at an error of 0.05, as quoted by others.
PINNED = [
    (100, 100, 75, 0.0, 0.702),
    (100, 100, 75, 1e-4, 0.699),
    (1000, 100, 75, 1e-4, 0.673),
    (100_000, 1510, 1439, 1e-5, 2.676),
    (100, 100, 100, 1e-5, 3.49),
    (1000, 1000, 1000, 1e-5, 5.78),
    (5000, 5000, 5000, 1e-5, 7.28),
    (100, 100, 100, 0.0, 3.493),
    (1000, 100, 95, 1e-5, 2.165),
    (10_000, 1000, 900, 1e-6, 2.021),
]


@pytest.mark.parametrize(("m", "r", "v", "delta", "expected"), PINNED)
def test_one_run_gives_the_published_bounds(m, r, v, delta, expected):
    digits = 2 if delta and expected > 3 else 3
    assert one_run_epsilon(m, r, v, delta) == pytest.approx(expected, abs=0.51 * 10**-digits)


def test_one_run_gives_the_bounds_of_the_shared_vectors(shared):
    cases = json.loads((shared / "vectors" / "dp_cases.json").read_text("utf-8"))
    cases = cases if isinstance(cases, list) else cases["cases"]
    found = [case for case in cases if case["id"].startswith("audit-1run-")]
    if not found:
        pytest.skip("these vectors hold no audit-1run case")
    for case in found:
        given_ = case["inputs"]
        bound = one_run_epsilon(given_["m"], given_["r"], given_["v"], given_["delta"], given_["p"])
        assert bound == pytest.approx(case["expected"], abs=case["tolerance"])


def test_the_delta_term_is_of_all_canaries_and_not_only_of_those_guessed():
    few, many = (one_run_p_value(m, 100, 75, 0.5, 1e-4) for m in (100, 1000))
    without = one_run_p_value(1000, 100, 75, 0.5, 0.0)
    assert without == pytest.approx(binom.sf(74, 100, 1 / (1 + math.exp(-0.5))))
    assert (many - without) == pytest.approx(10 * (few - without))


@given(
    st.integers(1, 200).flatmap(lambda r: st.tuples(st.just(r), st.integers(0, r))),
    st.floats(0, 8),
    st.floats(0, 1e-3),
)
def test_p_values_are_probabilities_that_grow_with_the_claim(counts, epsilon, delta):
    guesses, correct = counts
    here = one_run_p_value(300, guesses, correct, epsilon, delta)
    assert 0 <= here <= 1
    assert here <= one_run_p_value(300, guesses, correct, epsilon + 0.1, 0.0) + (delta > 0)
    if correct:
        assert here <= one_run_p_value(300, guesses, correct - 1, epsilon, delta) + 1e-9


def test_a_bound_is_where_the_p_value_is_the_error():
    bound = one_run_epsilon(1000, 100, 90, 1e-6, 0.01)
    assert one_run_p_value(1000, 100, 90, bound, 1e-6) == pytest.approx(0.01)
    assert one_run_epsilon(1000, 100, 50, 1e-6) == 0.0
    assert one_run_epsilon(1000, 100, 0, 1e-6) == 0.0


def test_for_a_gaussian_mechanism_the_bounds_stand_in_the_known_order():
    """One-run, then f-DP: what each shows on average at four epsilons (m = 1,000, r = 100)."""
    expected = {1: (0.18, 0.24), 2: (0.65, 0.84), 4: (1.53, 2.33), 8: (2.80, 4.40)}
    for epsilon, (simple, fdp) in expected.items():
        mu = _mu(epsilon)
        shown = []
        for seed in range(6):
            draw = Draw(InsecureTestRng(f"{epsilon}/{seed}".encode()))
            included = draw.coins(1000)
            scores = CanaryScores(mu * included + draw.normals(1000), included)
            audit = Auditor(scores, 1e-5)
            shown.append((audit.one_run(100), audit.fdp(100)))
        simple_found, fdp_found = np.mean(shown, axis=0)
        assert np.max(shown) <= epsilon
        assert simple_found <= fdp_found
        assert simple_found == pytest.approx(simple, abs=0.25 + 0.05 * epsilon)
        assert fdp_found == pytest.approx(fdp, abs=0.35 + 0.1 * epsilon)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("epsilon", "one_run", "fdp", "rates", "gdp"),
    [
        (1, (0.18, 0.43), (0.24, 0.60), 0.11, 0.42),
        (2, (0.65, 0.92), (0.84, 1.27), 0.36, 1.33),
        (4, (1.53, 1.87), (2.33, 2.61), 1.22, 3.19),
        (8, (2.80, 3.69), (4.40, 5.27), 2.62, 7.07),
    ],
)
def test_every_bound_shows_of_a_gaussian_mechanism_what_it_is_known_to(
    epsilon, one_run, fdp, rates, gdp
):
    """Means of 8 audits at four epsilons; the limits are four deviations of such means and more."""
    mu, shown = _mu(epsilon), []
    for seed in range(8):
        draw = Draw(InsecureTestRng(f"table/{epsilon}/{seed}".encode()))
        found = []
        for m in (1000, 10_000):
            included = draw.coins(m)
            audit = Auditor(CanaryScores(mu * included + draw.normals(m), included), 1e-5)
            found += [audit.one_run(m // 10), audit.fdp(m // 10)]
        included = np.arange(4000) < 2000
        audit = Auditor(CanaryScores(mu * included + draw.normals(4000), included), 1e-5)
        rng = InsecureTestRng(seed)
        shown.append([*found, audit.clopper_pearson(rng), audit.gdp(rng)])
    assert np.max(shown) <= 1.05 * epsilon
    expected = [one_run[0], fdp[0], one_run[1], fdp[1], rates, gdp]
    assert np.mean(shown, axis=0) == pytest.approx(expected, abs=0.2 + 0.06 * epsilon)


def _mu(epsilon, delta=1e-5):
    low, high = 1e-3, 16.0
    for _ in range(30):
        mid = (low + high) / 2
        low, high = (low, mid) if gaussian_epsilon(mid, delta) > epsilon else (mid, high)
    return low


def test_the_bayesian_interval_is_the_published_one():
    interval = bayesian_interval(
        Confusion(487, 512, 1, 0), 1e-5, draw=Draw(InsecureTestRng(1)), samples=200_000
    )
    # As published: [0.145, 6.399]; the deviation of such quantiles is below 0.02.
    assert interval == pytest.approx((0.145, 6.399), abs=0.06)


def test_clopper_pearson_is_wider_than_jeffreys_and_keeps_its_coverage():
    confusion = Confusion(1000, 0, 1000, 0)
    alarms, misses = confusion.most_errors(0.05)
    assert alarms == misses == pytest.approx(0.0037, abs=5e-5)
    assert beta.ppf(0.975, 0.5, 1000.5) == pytest.approx(0.0025, abs=5e-5)
    assert clopper_pearson_epsilon(confusion, 0.0) == pytest.approx(math.log((1 - misses) / alarms))


def test_bounds_from_rates_rarely_exceed_the_truth():
    """Each bound fails with 5 % at most: of 30 audits, more than 8 have a chance below 1e-4."""
    epsilon, mu = 2.0, _mu(2.0)
    failed = {"cp": 0, "gdp": 0}
    shown = []
    for seed in range(30):
        draw = Draw(InsecureTestRng(seed))
        included = np.arange(2000) < 1000
        scores = CanaryScores(mu * included + draw.normals(2000), included)
        audit = Auditor(scores, 1e-5)
        cp, gdp = (f(InsecureTestRng(seed)) for f in (audit.clopper_pearson, audit.gdp))
        failed["cp"] += cp > epsilon
        failed["gdp"] += gdp > epsilon
        shown.append((cp, gdp))
    assert binom.sf(8, 30, 0.05) < 1e-4
    assert max(failed.values()) <= 8
    cp, gdp = np.mean(shown, axis=0)
    assert 0 < cp < gdp < epsilon
    low, high = audit.bayesian(InsecureTestRng(5))
    assert 0 < low < high < 6


def test_a_useless_test_shows_nothing():
    confusion = Confusion(50, 50, 50, 50)
    assert clopper_pearson_epsilon(confusion, 1e-5) == gdp_epsilon(confusion, 1e-5) == 0.0


@pytest.mark.parametrize(("sigma", "epsilon"), [(4.225, 1.0), (1.544, 3.0), (0.541, 10.0)])
def test_gaussian_epsilons_are_andrews(sigma, epsilon):
    assert gaussian_epsilon(1 / sigma, 1e-6) == pytest.approx(epsilon, abs=2e-3)
    same = two_gaussians_epsilon(0.0, 1.0, 1 / sigma, 1.0, 1e-6)
    assert same == pytest.approx(gaussian_epsilon(1 / sigma, 1e-6), abs=1e-6)


def test_two_gaussians_of_other_deviations_agree_with_a_sum_over_a_grid():
    first, second, delta = (0.0, 1.0), (1.5, 1.4), 1e-4
    epsilon = two_gaussians_epsilon(*first, *second, delta)
    x = np.linspace(-15, 15, 400_001)
    p, q = norm.pdf(x, *first), norm.pdf(x, *second)
    step = x[1] - x[0]
    larger = max(
        np.sum(np.maximum(0, a - math.exp(epsilon) * b)) * step for a, b in ((p, q), (q, p))
    )
    assert larger == pytest.approx(delta, rel=1e-3)


@pytest.mark.parametrize(
    ("sigma", "equal", "fitted"), [(4.225, 0.98, 1.16), (1.544, 2.97, 3.19), (0.541, 9.77, 10.04)]
)
def test_the_one_shot_estimate_is_near_the_truth_and_says_that_it_is_no_bound(sigma, equal, fitted):
    """By the law of the cosines of k canaries in dimension d, which is normal for k << d.

    With the deviation known the estimate is the first figure; fitted, it is larger, since either
    error of the deviation tells the two Gaussians apart. The mean of 8 estimates has a deviation of
    0.1 at most.
    """
    k, d = 1000, 100_000
    assert gaussian_epsilon(1 / math.sqrt(sigma**2 + k / d), 1e-6) == pytest.approx(equal, abs=0.04)
    found = []
    for seed in range(8):
        noise = Draw(InsecureTestRng(f"{sigma}/{seed}".encode())).normals(k)
        # The sum's norm is sqrt(d) sigma, but for the canaries' own part.
        norm_ = math.sqrt(d * sigma**2 + k)
        cosines = (1 + math.sqrt(sigma**2 + k / d) * noise) / norm_
        found.append(one_shot_estimate(cosines, d, 1e-6))
    mean = np.mean([estimate.epsilon for estimate in found])
    assert equal < mean == pytest.approx(fitted, abs=0.5)
    assert "an estimate, not a bound" in str(found[0])
    with pytest.raises(ConfigurationError, match="dimension = 100 is below 1000"):
        one_shot_estimate(cosines, 100, 1e-6)


def test_too_many_canaries_lower_the_one_shot_estimate():
    """Of 10^4 in 10^5 dimensions an epsilon of 10 looks like 8.39: they are noise to each other."""
    seen = gaussian_epsilon(1 / math.sqrt(0.541**2 + 10**4 / 10**5), 1e-6)
    assert seen == pytest.approx(8.39, abs=0.1)


def test_gdp_bounds_are_those_of_the_trade_off_curve():
    assert power_bound(1.0, 0.01) == pytest.approx(0.0924, abs=5e-4)
    assert auc_bound(1.0) == pytest.approx(0.7602, abs=5e-4)
    assert success_bound(2.0) == pytest.approx(0.841, abs=1e-3)
    levels = np.linspace(1e-6, 1 - 1e-6, 200_001)
    area = np.trapezoid([power_bound(1.0, a) for a in levels[::100]], levels[::100])
    assert area == pytest.approx(auc_bound(1.0), abs=1e-3)
    for epsilon in (0.0, 1.0, 30.0):
        assert 0 <= gaussian_delta(0.5, epsilon) < 0.2
    assert gaussian_delta(40.0, 900.0) <= 1


def test_guesses_are_the_highest_and_the_lowest_scores():
    included = np.array([True, False, True, False, True, False])
    scores = CanaryScores(np.array([5.0, -5.0, 0.1, 0.0, -9.0, 9.0]), included)
    assert guessed(scores, 2) == 0
    assert guessed(scores, 4) == 2
    assert guessed(scores, 6) == 4
    for wrong in (0, 3, 8):
        with pytest.raises(ConfigurationError, match=f"guesses = {wrong} about 6"):
            guessed(scores, wrong)


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be"):
        one_run_p_value(10, 11, 5, 1.0, 0.0)
    with pytest.raises(ConfigurationError, match="cannot be"):
        fdp_epsilon(10, 5, 6, 1e-5)
    with pytest.raises(ConfigurationError, match="a NaN"):
        CanaryScores(np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(ConfigurationError, match="pass one score a canary"):
        CanaryScores(np.zeros(3), np.array([True, False]))
    few = CanaryScores(np.zeros(4), np.array([True, True, False, False]))
    with pytest.raises(ConfigurationError, match="too few to choose"):
        Auditor(few, 1e-5).gdp(InsecureTestRng(1))
    with pytest.raises(ConfigurationError, match="delta = 2 "):
        Auditor(few, 2)
    with pytest.raises(ConfigurationError, match="both are needed"):
        Confusion(3, 0, 0, 1)


def test_a_test_that_no_outcome_could_fail_is_not_registered():
    with pytest.raises(ConfigurationError, match="claim a smaller delta"):
        Registered(1.0, 1e-3, canaries=1000, guesses=100, runs=10)
    with pytest.raises(ConfigurationError, match="3 runs where 2 were registered"):
        Registered(1.0, 1e-9, canaries=100, guesses=50, runs=2).verdict([1, 2, 3])


def test_the_pooled_verdict_keeps_its_error():
    """Guesses as good as the claim allows: of 4,000 verdicts, 1e-3 are accused on average.

    More than 16 have a chance below 1e-5.
    """
    test = Registered(1.0, 0.0, canaries=1000, guesses=100, runs=10)
    rate, draw = 1 / (1 + math.exp(-1.0)), Draw(InsecureTestRng(7))
    accused = 0
    drawn = binom.ppf(draw.fractions(4000), 1000, rate).astype(int)
    for total, times in zip(*np.unique(drawn, return_counts=True), strict=True):
        each, rest = divmod(int(total), 10)
        accused += times * test.verdict([each] * 9 + [each + rest]).accused
    assert binom.sf(16, 4000, 1e-3) < 1e-5
    assert accused <= 16
