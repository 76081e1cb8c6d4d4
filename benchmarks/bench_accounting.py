"""Epsilon of long runs, against the library beneath it called directly.

Our side gives an upper and a lower bound by the best of several methods, with every cache empty;
the other side gives one number by one method.
"""

from __future__ import annotations

import dp_accounting

from fedprivacy.accounting import Accountant, epsilon_of, losses, renyi
from fedprivacy.dp.events import GaussianEvent, Release, Sample, SampleSecrecy, Sampling

DELTA = 1e-6
RATE = 0.01
SAMPLE = Sample(Sampling.POISSON, RATE, SampleSecrecy.HIDDEN)
EQUAL = 100_000
DISTINCT = 1_000


def forget():
    for cached in (renyi.curve, losses._single, losses._composed):  # noqa: SLF001 - to be cold
        cached.cache_clear()


def sampled(multiplier):
    return dp_accounting.PoissonSampledDpEvent(RATE, dp_accounting.GaussianDpEvent(multiplier))


def test_many_equal_rounds(bench):
    def ours():
        forget()
        return bench.seconds(
            lambda: epsilon_of([Release(GaussianEvent(1.0), SAMPLE, EQUAL)], DELTA)
        )

    def direct():
        event = dp_accounting.SelfComposedDpEvent(sampled(1.0), EQUAL)
        return bench.seconds(
            lambda: dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(DELTA)
        )

    pairs = bench.in_turn(ours, direct, rounds=7)
    row = bench.row(
        "accounting-equal",
        "epsilon after 10^5 equal rounds, caches empty",
        against="dp_accounting's PLD accountant, called once",
        quantity="seconds",
        pairs=pairs,
        sizes={"rounds": EQUAL, "rate": RATE, "noise_multiplier": 1.0, "delta": DELTA},
        peer=f"dp-accounting {_version()}",
    )
    bench.keep(row)


def test_all_different_rounds(bench):
    multipliers = [1 + k / DISTINCT for k in range(DISTINCT)]
    later = []

    def ours():
        forget()
        accountant = Accountant()

        def all_rounds():
            for multiplier in multipliers:
                accountant.add(Release(GaussianEvent(multiplier), SAMPLE))
            accountant.bound(DELTA)

        def one_more():
            accountant.add(Release(GaussianEvent(3.0), SAMPLE))
            accountant.bound(DELTA)

        taken = bench.seconds(all_rounds)
        later.append(bench.seconds(one_more))
        return taken

    def direct():
        def evaluations():
            for multiplier in multipliers:
                dp_accounting.rdp.RdpAccountant().compose(sampled(multiplier))

        return bench.seconds(evaluations)

    pairs = bench.in_turn(ours, direct, rounds=3)
    sizes = {"rounds": DISTINCT, "rate": RATE, "delta": DELTA}
    row = bench.row(
        "accounting-distinct",
        "epsilon after 1,000 rounds of different noise, caches empty",
        against="1,000 evaluations of dp_accounting's RDP",
        quantity="seconds",
        pairs=pairs,
        sizes=sizes,
        peer=f"dp-accounting {_version()}",
    )
    bench.keep(row)
    more = bench.row(
        "accounting-one-more",
        "epsilon after one round more than 1,000 of different noise",
        quantity="seconds",
        alone=later[-3:],
        sizes=sizes,
    )
    bench.keep(more)


def _version():
    from importlib.metadata import version

    return version("dp-accounting")
