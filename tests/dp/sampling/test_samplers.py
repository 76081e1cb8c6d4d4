"""Tables and rejection against probabilities that are computed in another way, in another library.

Statistical tests: seeds are fixed, so each passes always or never; the chance that a right sampler
fails one, over the choice of the seed, is stated with it.
"""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedprivacy.dp.sampling import (
    NoiseTable,
    Summed,
    WideGaussian,
    discrete_gaussian,
    draw,
    skellam,
)
from fedprivacy.dp.sampling.masses import (
    POINT,
    discrete_gaussian_masses,
    exp_minus,
    skellam_masses,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng, Keystream

FALSE_ALARM = 1e-6  # of each chi-square and moment test
PRECISION = 500  # bits


def gaussian_ratio(x, variance):
    """The mass of x relative to that of 0."""
    return mpmath.exp(-(mpmath.mpf(x) ** 2) / (2 * mpmath.mpf(variance)))


def gaussian_pmf(x, variance):
    # The theta function: the sum over all integers, not only over those of a table.
    nome = mpmath.exp(-1 / (2 * mpmath.mpf(variance)))
    if variance > 4:
        # Poisson's summation: one term is enough.
        whole = mpmath.sqrt(2 * mpmath.pi * variance) * (
            1 + 2 * mpmath.nsum(lambda k: mpmath.exp(-2 * mpmath.pi**2 * variance * k**2), [1, 9])
        )
    else:
        whole = mpmath.jtheta(3, 0, nome)
    return gaussian_ratio(x, variance) / whole


def skellam_pmf(x, variance):
    """By Bessel's integral, where the trapezoidal rule is off by the mass beyond `points` - x."""
    variance = mpmath.mpf(variance)
    if variance < 4000:
        return mpmath.exp(-variance) * mpmath.besseli(x, variance)
    points = int(40 * mpmath.sqrt(variance))
    total = mpmath.mpf(1)
    for j in range(1, 190):  # of a Gaussian in j that has fallen to exp(-440) there
        angle = 2 * mpmath.pi * j / points
        fallen = mpmath.exp(-2 * variance * mpmath.sin(angle / 2) ** 2)
        total += 2 * fallen * mpmath.cos(x * angle)
    return total / points


LAWS = {
    "gaussian": (discrete_gaussian, discrete_gaussian_masses, gaussian_pmf),
    "skellam": (skellam, skellam_masses, skellam_pmf),
}


def stream(seed):
    return Keystream(InsecureTestRng(seed).bytes(32))


# ------------------------------------------------------------------------- the exact table


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [0.05, 0.3, 1.0, 2.5, 17.0, 60.0])
def test_the_tables_distance_from_an_independent_pmf_is_within_what_it_states(law, deviation):
    sampler, _, pmf = LAWS[law]
    table = sampler(deviation**2)
    weights = table.table.weights
    with mpmath.workprec(PRECISION):
        true = [pmf(x, deviation**2) for x in range(table.most + 1)]
        outside = 1 - true[0] - 2 * sum(true[1:])
        ones = [w * mpmath.mpf(2) ** -127 for w in weights]
        distance = abs(ones[0] - true[0])
        distance += sum(abs(w - 2 * p) for w, p in zip(ones[1:], true[1:], strict=True))
        distance = (distance + outside) / 2
        assert 0 <= outside < mpmath.mpf(2) ** -127
        assert distance <= table.total_variation
        assert table.total_variation < distance + mpmath.mpf(2) ** -125
    assert 0 < table.total_variation < 2.0**-115


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [3000, 4096])
def test_wide_tables_are_as_close(law, deviation):
    sampler, _, pmf = LAWS[law]
    table = sampler(deviation**2)
    assert 0 < table.total_variation < 2.0**-110
    assert table.most < 14 * deviation
    weights = table.table.weights
    with mpmath.workprec(PRECISION):
        for x in (0, 1, 100, deviation, 4 * deviation + 1, 13 * deviation, table.most):
            true = pmf(x, deviation**2) * (2 if x else 1)
            unit = mpmath.mpf(2) ** -127
            # The mass at 0 takes what rounding leaves of the others.
            assert abs(weights[x] * unit - true) < (1 if x else table.most) * unit


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [0.05, 0.7, 5.0, 200.0])
def test_masses_lie_in_their_intervals(law, deviation):
    _, masses_of, pmf = LAWS[law]
    masses = masses_of(Fraction(deviation) ** 2)
    variance = deviation**2
    assert masses_of(Fraction(variance)).slack < 2 ** (POINT - 260)
    with mpmath.workprec(PRECISION + POINT):
        exact = mpmath.mpf(deviation) ** 2
        at_zero = pmf(0, exact)
        for i in {0, len(masses.least) // 3, len(masses.least) - 1}:
            true = pmf(i, exact) / at_zero * 2**POINT
            assert masses.least[i] <= true + mpmath.mpf(2) ** -50
            assert true - mpmath.mpf(2) ** -50 <= masses.least[i] + masses.slack
        beyond = range(len(masses.least), len(masses.least) + 40)
        assert sum(pmf(i, exact) / at_zero for i in beyond) * 2**POINT < masses.tail
    assert masses.tail < 2 ** (POINT - 120)


@given(st.fractions(0, 400, max_denominator=10**30), st.integers(1, 400))
def test_an_exponential_is_enclosed(x, bits):
    low = exp_minus(x, bits)
    with mpmath.workprec(bits + 1000):
        true = mpmath.exp(-mpmath.mpf(x.numerator) / x.denominator) * mpmath.mpf(2) ** bits
        assert 0 <= low <= true < low + 3


@pytest.mark.parametrize("law", LAWS)
def test_a_table_is_built_once(law):
    sampler = LAWS[law][0]
    assert sampler(25) is sampler(25.0) is sampler(Fraction(25))
    assert sampler(25) is not sampler(25 + 2**-40)


# ------------------------------------------------------------------------- draws


def bins_of(pmf, variance, count, most):
    """Edges of bins that each expect at least 50 of `count` draws, and what they expect."""
    edges, expected, mass = [], [], 0.0
    for x in range(most + 1):
        mass += float(pmf(x, variance)) * (2 if x else 1)
        if mass * count >= 50:
            edges.append(x)
            expected.append(mass * count)
            mass = 0.0
    rest = count - sum(expected)
    expected[-1] += rest
    return np.array(edges[:-1]), np.array(expected)


def check_chi_square(drawn, pmf, variance, most):
    """Magnitudes against the pmf in bins, and signs against fair coins."""
    edges, expected = bins_of(pmf, variance, len(drawn), most)
    seen = np.bincount(np.searchsorted(edges, np.abs(drawn)), minlength=len(expected))
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, len(expected) - 1) > FALSE_ALARM
    signs = np.sign(drawn).sum()
    assert stats.norm.sf(abs(signs) / math.sqrt(np.count_nonzero(drawn))) > FALSE_ALARM / 2


COUNTS = [10**6, pytest.param(10**7, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [0.5, 2.0, 30.0])
def test_draws_follow_the_pmf(law, deviation, count):
    """A false alarm in 1e6 for each of chi-square and signs."""
    sampler, _, pmf = LAWS[law]
    table = sampler(deviation**2)
    drawn = draw(table, count, stream(deviation))
    assert drawn.dtype == np.int64
    assert np.abs(drawn).max() <= table.most
    check_chi_square(drawn, pmf, deviation**2, table.most)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [0.5, 3, 100, 3000])
def test_the_moments_are_those_of_the_law(law, deviation):
    """Mean and variance, each with a false alarm in 1e6 by the central limit theorem."""
    count = 10**6
    drawn = draw(LAWS[law][0](deviation**2), count, stream(7)).astype(float)
    pmf = LAWS[law][2]
    true, fourth = deviation**2, 3 * deviation**4
    if deviation < 1:
        masses = {x: float(pmf(x, deviation**2)) for x in range(30)}
        true = 2 * sum(x**2 * p for x, p in masses.items())
        fourth = 2 * sum(x**4 * p for x, p in masses.items())
    far = stats.norm.isf(FALSE_ALARM / 2)
    assert abs(drawn.mean()) < far * math.sqrt(true / count)
    assert abs((drawn**2).mean() - true) < far * math.sqrt((fourth - true**2 + true) / count)


def test_draws_in_parts_are_the_draws_at_once():
    table = discrete_gaussian(9)
    whole = draw(table, 100_000, stream(1))
    parts, source = np.empty(100_000, dtype=np.int64), stream(1)
    for start, stop in ((0, 1), (1, 8191), (8191, 65_537), (65_537, 65_537), (65_537, 100_000)):
        table.fill(parts[start:stop], source)
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, draw(table, 100_000, stream(2)))


def test_a_draw_takes_one_word():
    class Counting:
        taken = 0
        source = stream(3)

        def fill(self, out):
            self.taken += out.nbytes
            self.source.fill(out)

    counting = Counting()
    draw(skellam(50), 30_000, counting)
    assert counting.taken == 8 * 30_000


def test_neighbouring_draws_are_independent():
    """Correlation of 500,000 pairs, and of a magnitude with the next sign: 1e-6 each."""
    drawn = draw(discrete_gaussian(100), 10**6, stream(5)).astype(float)
    far = stats.norm.isf(FALSE_ALARM / 2) * math.sqrt(500_000)
    assert abs((drawn[::2] * drawn[1::2]).sum()) < far * 100
    centred = np.abs(drawn[::2]) - np.abs(drawn[::2]).mean()
    assert abs((centred * np.sign(drawn[1::2])).sum()) < far * centred.std()


# ------------------------------------------------------------------------- beyond a table


def gaussian_float(x, variance):
    # Beyond a deviation of 1, the sum over the integers is the integral up to 2**-28 and less.
    return math.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def check_normal_bins(drawn, variance):
    """400 bins about as likely as each other; the mass of the integers up to x is that of the
    normal law up to x + 1/2, to within 1e-8 at these deviations."""
    deviation = math.sqrt(variance)
    edges = np.floor(stats.norm.ppf(np.arange(1, 400) / 400) * deviation)
    expected = np.diff(stats.norm.cdf((edges + 0.5) / deviation), prepend=0, append=1) * len(drawn)
    seen = np.bincount(np.searchsorted(edges, drawn), minlength=400)
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), 399) > FALSE_ALARM


def test_a_wide_gaussian_follows_the_pmf_value_by_value():
    """Below its range in use, so that single values can be counted; false alarm 1e-6 each."""
    for deviation, step_bits in ((600, 0), (2048, 2), (3000, 2)):
        wide = WideGaussian(Fraction(deviation) ** 2)
        assert wide._step_bits == step_bits
        drawn = draw(wide, 10**6, stream(deviation))
        check_chi_square(drawn, gaussian_float, deviation**2, wide.most)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("variance", [2**24 + 1, 32767**2, 2.0**41 + 0.5, 2**60])
def test_a_wide_gaussian_follows_the_normal_law_in_bins(variance, count):
    """False alarm 1e-6."""
    check_normal_bins(draw(discrete_gaussian(variance), count, stream(variance)), variance)


def test_the_low_bits_of_a_wide_gaussian_are_uniform():
    """Residues modulo 64 at steps of 32: false alarm 1e-6. The step's rest shows no seam."""
    drawn = draw(discrete_gaussian(32767**2), 10**6, stream(8))
    seen = np.bincount(drawn & 63, minlength=64)
    assert stats.chisquare(seen).pvalue > FALSE_ALARM


def test_a_wide_gaussians_distance_covers_what_rejection_makes_of_its_tables():
    """Twice the distance of the coarse table over the share that stays, and the table's tail."""
    wide = WideGaussian(Fraction(2048) ** 2)
    weights, coarse = wide._table.weights, 512**2
    with mpmath.workprec(PRECISION):
        true = [gaussian_ratio(h, coarse) for h in range(len(weights) + 200)]
        whole = sum(true)
        distance = sum(
            abs(w * mpmath.mpf(2) ** -127 - p / whole) for w, p in zip(weights, true, strict=False)
        )
        distance = (distance + sum(true[len(weights) :]) / whole) / 2
        stays = 1 / gaussian_pmf(0, 2048**2) / (2 * 4 * whole)
        assert 0.99 < stays < 1
        assert 2 * distance / stays <= wide.total_variation < 2.0**-112


@pytest.mark.parametrize("variance", [2**24 + 1, 32767**2, 2**60])
def test_a_candidate_stays_by_the_ratio_of_the_true_masses(variance):
    """The coin one below 1 - p(x) / p(h B) sends it away, and one above keeps it."""
    wide, count = discrete_gaussian(variance), 400
    step = 1 << wide._step_bits
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**64, count, dtype=np.uint64) & ~np.uint64(1)  # all positive
    steps = np.empty(count, dtype=np.int64)
    wide._table.look_up(words, steps, None)
    rests = rng.integers(1, step, count).tolist()
    wanted, coins = [], []
    with mpmath.workprec(300):
        for i, (h, rest) in enumerate(zip(steps.tolist(), rests, strict=True)):
            x = h * step + rest
            ratio = gaussian_ratio(x, variance) / gaussian_ratio(h * step, variance)
            coins.append(int(mpmath.floor((1 - ratio) * 2**40)) + (1 if i % 2 else -1))
            if i % 2:
                wanted.append(x)

    more = np.array([c << 24 | r for c, r in zip(coins, rests, strict=True)], dtype=np.uint64)
    blocks = [words, more]

    class Given:
        def fill(self, out):
            out[:] = blocks.pop(0) if blocks else 2**63

    assert wide._candidates(count, Given()).tolist() == wanted


def test_a_wide_gaussians_bounds_hold_and_its_distance_is_stated():
    for variance in (2**24 + 1, 32767**2, 2**60):
        wide = discrete_gaussian(variance)
        assert 13 * math.sqrt(variance) < wide.most < 14.3 * math.sqrt(variance)
        assert wide.most < 2**36
        assert 0 < wide.total_variation < 2.0**-112


@given(st.integers(0, 2**63), st.sampled_from([2**24 + 1, 32767**2, 2**60]))
def test_the_quick_decision_never_contradicts_the_exact_one(at, variance):
    """At and around each bound of the quick decision, the exact one says the same."""
    wide = discrete_gaussian(variance)
    rest = at % (1 << wide._step_bits)
    magnitude = (at >> 20) % (wide.most >> wide._step_bits) << wide._step_bits
    product = rest * (2 * magnitude + rest)
    products = np.array([product])
    least, most = (int(bound[0]) for bound in wide._fractions.of(products))
    assert least <= Fraction(product << 40) / (2 * Fraction(variance)) <= most
    square = (((most >> 8) + 1) ** 2 >> 25) + 1
    for coin, last, expected in (
        (most, 0, True),
        (least - square - 1, 2**64 - 1, False),
    ):
        if 0 <= coin < 2**40 and (product or expected):
            fixed = np.array([coin])
            assert wide._stays(products, fixed, None).tolist() == [expected]

            class Last:
                def fill(self, out, word=last):
                    out[:] = word

            assert wide.decide(product, coin, Last()) is expected


def test_an_open_decision_takes_as_many_words_as_it_needs():
    wide = discrete_gaussian(32767**2)
    product = 31 * (2 * 32000 + 31)
    with mpmath.workprec(400):
        leaves = 1 - mpmath.exp(-mpmath.mpf(product) / (2 * 32767**2))
        point = int(mpmath.floor(leaves * 2 ** (40 + 128)))
    for offset, expected in ((-(2**70), False), (2**70, True), (-9, False), (9, True)):
        uniform = point + offset
        words = [(uniform >> 64) & (2**64 - 1), uniform & (2**64 - 1)]

        class Given:
            def __init__(self, words):
                self.words = words

            def fill(self, out):
                out[0] = self.words.pop(0)

        source = Given(words)
        assert wide.decide(product, uniform >> 128, source) is expected
        assert len(source.words) == (1 if abs(offset) > 2**64 else 0)


def test_skellam_beyond_a_table_is_a_sum():
    variance = 5 * 2**24 - 3
    summed = skellam(variance)
    assert summed == Summed(skellam(Fraction(variance, 5)), 5)
    assert isinstance(summed.term, NoiseTable)
    assert summed.most == 5 * summed.term.most
    assert 5 * summed.term.total_variation <= summed.total_variation < 2.0**-110
    drawn = draw(summed, 10**6, stream(4))
    far = stats.norm.isf(FALSE_ALARM / 2)
    assert abs((drawn / math.sqrt(variance)).mean()) < far / 1000
    assert abs((drawn.astype(float) ** 2).mean() / variance - 1) < far * math.sqrt(2) / 1000
    check_normal_bins(drawn, variance)


# ------------------------------------------------------------------------- refused


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("variance", [0, -1, 2**-21, 2**61, math.nan, math.inf, -math.inf])
def test_a_variance_out_of_range_is_refused(law, variance):
    with pytest.raises(ConfigurationError, match=r"variance .* is outside \[2\*\*-20, 2\*\*"):
        LAWS[law][0](variance)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("variance", [None, "3", True, 1j])
def test_a_variance_that_is_no_number_is_refused(law, variance):
    with pytest.raises(ConfigurationError, match=r"variance .* is not a number: pass one"):
        LAWS[law][0](variance)


def test_the_ends_of_the_range_are_taken():
    assert discrete_gaussian(2**-20).most == 0
    assert draw(skellam(2**-20), 100, stream(1)).tolist() == [0] * 100
    with pytest.raises(ConfigurationError):
        skellam(2**34 + 1)
