"""Canaries in real rounds, and the bugs that they must find."""

import contextlib
import dataclasses
from unittest import mock

from fedprivacy.attacks.auditing.auditor import guessed
from fedprivacy.attacks.auditing.canaries import CanaryRun
from fedprivacy.attacks.auditing.verdict import Registered
from fedprivacy.dp import Clip, Skellam
from fedprivacy.dp.sampling import skellam
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan
from fedprivacy.vector import FixedPoint, Rounding

PLAN = """
schema = "fedprivacy/plan/1"

[dataset]
id = "canaries"
unit = "patient"

[aggregation]
protocol = "secagg"
adversary = "malicious"
min_clients = 12
corrupt = 2

[update]
clip = 1.0
value_bits = 16
weights = "uniform"
public_weight = 1000
max_units_per_client = 128

[noise]
trust = "distributed"
noise_multiplier = 4.0
epsilon = 1.1
delta = 1e-5
rounds = 1
"""
CLIENTS, CORRUPT, CANARIES, GUESSES = 12, 2, 1024, 100
DELTA = 1e-7
"""So small that 20 runs of so many canaries can refuse a claim at an error of 1e-3."""


def canary_run(strength=1.0, silent=CORRUPT):
    """All clients are in the sum and the corrupt add no noise: not a share more than is counted."""
    return CanaryRun(Plan.parse(PLAN), CLIENTS, CANARIES, silent=silent, strength=strength)


def registered(runs):
    return Registered(canary_run().epsilon(DELTA), DELTA, CANARIES, GUESSES, runs)


def correct_guesses(run, seeds):
    return [guessed(run.scores(rng=InsecureTestRng(seed)), GUESSES) for seed in seeds]


def less_noise(variance_ratio):
    """Shares of a smaller variance than the event states."""
    return mock.patch.object(
        Skellam,
        "sampler",
        lambda self, spec: skellam(self.local_variance(spec) / variance_ratio),
    )


def clip_off():
    return mock.patch.object(Clip, "encode", lambda self, update, spec, *, rng: update)


@contextlib.contextmanager
def no_bound():
    """Neither the clip nor the norm that rounding looks at again."""
    encode = FixedPoint.encode

    def unconditional(self, update, spec, *, rng):
        return encode(dataclasses.replace(self, rounding=Rounding.UNBIASED), update, spec, rng=rng)

    with clip_off(), mock.patch.object(FixedPoint, "encode", unconditional):
        yield
