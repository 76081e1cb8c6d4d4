"""Vectors that are turned before they are rounded: finer steps of the same bits, one sum."""

import math

import msgspec
import numpy as np
import pytest

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.privacy import round_event
from fedprivacy.rounds.rules import Rotation
from fedprivacy.transport import InProcess
from fedprivacy.vector import Update
from rounddrive import Consortium, make_noise, make_plan

CLIENTS = 5


def turned(plan, **update):
    return msgspec.structs.replace(
        plan, update=msgspec.structs.replace(plan.update, rotation=Rotation.HADAMARD, **update)
    )


def sum_of(plan, updates, length):
    with Consortium(CLIENTS, plan=plan, length=length) as consortium:
        clients = {n: consortium.client(n) for n in consortium.cohort(1).members}
        rows = dict(zip(sorted(clients), updates, strict=True))
        frozen = consortium.round_plan(1)
        drive = InProcess(consortium.server(1), clients, lambda name, _: Update(rows[name]))
        return drive.run().aggregate.sum, frozen.pipeline


@pytest.mark.parametrize("length", [13, 1000, 4096])
def test_the_sum_is_that_of_the_vectors(length):
    rng = np.random.default_rng(length)
    updates = rng.standard_normal((CLIENTS, length))
    updates *= 3.0 / np.linalg.norm(updates, axis=1, keepdims=True) * rng.random((CLIENTS, 1))
    plan = turned(make_plan(weights="uniform"), value_bits=8)
    total, pipeline = sum_of(plan, updates, length)
    assert np.abs(total - updates.sum(axis=0)).max() <= pipeline.quantisation_bound(CLIENTS)


def test_eight_bits_are_many_times_as_fine():
    """Of 2**14 coordinates the largest is then 0.068 of the norm.

    sqrt(2 ln(2**15 * 2**40) / 2**14) = 0.0682, so the steps are 14.7 times as fine.
    """
    length, rng = 1 << 14, np.random.default_rng(1)
    updates = rng.standard_normal((CLIENTS, length)) / math.sqrt(length)
    plain = make_plan(weights="uniform", value_bits=8)
    plan = msgspec.structs.replace(plain, update=msgspec.structs.replace(plain.update, clip=3.0))
    errors = {}
    for name, made in (("plain", plan), ("turned", turned(plan))):
        total, pipeline = sum_of(made, updates, length)
        errors[name] = np.linalg.norm(total - updates.sum(axis=0))
        scale = pipeline.specs[-1].scale
        assert scale == pytest.approx(127 / 3 * (1 if made is plan else 14.66), rel=0.01)
    assert 0 < errors["turned"] < errors["plain"] / 10


def test_a_vector_of_one_coordinate_is_not_cut():
    length, updates = 1 << 14, np.zeros((CLIENTS, 1 << 14))
    updates[np.arange(CLIENTS), np.arange(CLIENTS)] = 2.9
    total, pipeline = sum_of(turned(make_plan(weights="uniform"), value_bits=8), updates, length)
    # Five roundings of less than a step each, as norms of 2**7 steps, turned into any coordinate.
    assert np.abs(total - updates.sum(axis=0)).max() < 6 * 5 / pipeline.specs[-1].scale


def noisy_plan(**update):
    noise = make_noise("distributed", "skellam", noise_multiplier=1.0, epsilon=1e9, rounds=10)
    plan = make_plan(min_clients=3, noise=noise)
    return msgspec.structs.replace(
        plan, update=msgspec.structs.replace(plan.update, clip=1.0, **update)
    )


def test_too_few_bits_for_the_noise_are_refused_with_the_remedy():
    """At 2**20 coordinates, rounding to ten bits makes a vector 1.42 times as long."""
    words = (
        r"^plan\.update\.value_bits = 10 for 1,048,576 parameters: rounding makes one unit's "
        r"vector, and the noise for it, 1\.42 times as large, where 1\.33 is the most: raise it to "
        r"11, or set rotation = hadamard$"
    )
    with pytest.raises(ConfigurationError, match=words):
        noisy_plan(value_bits=10).pipeline(1 << 20, 5)
    for enough in ({"value_bits": 11}, {"value_bits": 10, "rotation": Rotation.HADAMARD}):
        assert noisy_plan(**enough).pipeline(1 << 20, 5).total_length == 1 << 20
    with pytest.raises(ConfigurationError, match=r"raise it to \d+$"):
        noisy_plan(value_bits=2, rotation=Rotation.HADAMARD).pipeline(1 << 20, 5)


def test_a_turned_vector_has_its_price():
    """The norm is kept: the noise is for the same multiplier of it, in finer steps."""
    plan = noisy_plan(value_bits=11)
    plain, finer = (round_event(p, 5, 1 << 14) for p in (plan, turned(plan)))
    assert plain.variance / plain.l2**2 == pytest.approx(finer.variance / finer.l2**2)
    assert finer.l2 / plain.l2 == pytest.approx(14.66, rel=0.01)


def test_two_rounds_are_turned_apart():
    with Consortium(CLIENTS, plan=turned(make_plan()), length=13) as consortium:
        first, second = (consortium.round_plan(n).pipeline for n in (1, 2))
        assert first.stages[1] != second.stages[1]
