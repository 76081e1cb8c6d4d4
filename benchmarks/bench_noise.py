"""Exact integer noise against numpy's normal floats, which are neither exact nor secret.

On one core, 10^7 values into an array that is there already. Ours are drawn from an AES-256-CTR
keystream; numpy's are what a program would take that asks neither for exact integers nor for a
cryptographic source. A table is built once before the clock runs; what that takes is a part.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fedprivacy.dp.sampling import NoiseTable, discrete_gaussian, skellam
from fedprivacy.dp.sampling.masses import discrete_gaussian_masses, skellam_masses
from fedprivacy.randomness import Keystream

COUNT = 10_000_000
KEY = bytes(32)
LAWS = {"gaussian": discrete_gaussian, "skellam": skellam}
MASSES = {"gaussian": discrete_gaussian_masses, "skellam": skellam_masses}


def measured(bench, law, deviation, parts):
    sampler, source = LAWS[law](deviation**2), Keystream(KEY)
    ints, floats = np.empty(COUNT, dtype=np.int64), np.empty(COUNT)
    generator = np.random.default_rng(0)

    def numpys():
        # In place, which is the fastest way that numpy offers.
        generator.standard_normal(out=floats)
        np.multiply(floats, float(deviation), out=floats)

    pairs = bench.in_turn(
        lambda: bench.seconds(lambda: sampler.fill(ints, source)),
        lambda: bench.seconds(numpys),
        rounds=15,
    )
    return bench.row(
        f"noise-{law}-{deviation}",
        f"draw 10^7 exact {law} integers of deviation {deviation:,}, one core",
        against="numpy's normal floats, in place",
        quantity="seconds",
        pairs=pairs,
        parts=parts,
        sizes={"count": COUNT, "deviation": deviation, "threads": 1},
    )


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("deviation", [100, 3000])
def test_tables_against_floats(bench, law, deviation):
    building = [
        bench.seconds(lambda: NoiseTable(MASSES[law](Fraction(deviation**2)))) for _ in range(5)
    ]
    bench.keep(measured(bench, law, deviation, {"building the table, not counted": building}))


def test_rejection_against_floats(bench):
    """Beyond a table; printed, not kept."""
    measured(bench, "gaussian", 32767, None)
