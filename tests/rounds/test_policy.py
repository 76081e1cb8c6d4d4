"""What a policy asks of a plan: its defaults, its ceilings, and what is told first."""

import msgspec
import pytest

from fedprivacy.errors import PolicyRefused, Reason
from fedprivacy.rounds import ClientPolicy
from fedprivacy.rounds.policy import (
    AggregationFloor,
    DatasetFloor,
    NoiseFloor,
    Requirements,
    UpdateBounds,
)
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Adversary
from rounddrive import make_noise, make_plan


def refusal(plan, **require):
    with pytest.raises(PolicyRefused) as caught:
        ClientPolicy(require=Requirements(**require)).check(plan)
    return caught.value


def test_a_default_policy_asks_for_one_corrupt_client():
    error = refusal(make_plan(min_clients=10, corrupt=0))
    assert (error.reason, error.path) == (Reason.POLICY_CORRUPT, "plan.aggregation.corrupt")
    ClientPolicy().check(make_plan(min_clients=10, corrupt=1))


@pytest.mark.parametrize(
    ("key", "allowed", "less"),
    [("clip", 3.0, 2.5), ("value_bits", 3, 2), ("max_units_per_client", 2, 1)],
)
def test_a_ceiling_holds_and_zero_is_none(key, allowed, less):
    plan = make_plan(min_clients=10)
    update = msgspec.structs.replace(plan.update, max_units_per_client=2)
    plan = msgspec.structs.replace(plan, update=update)
    for most in (0, allowed):
        ClientPolicy(require=Requirements(update=UpdateBounds(**{key: most}))).check(plan)
    error = refusal(plan, update=UpdateBounds(**{key: less}))
    assert error.reason is Reason.POLICY_UPDATE
    assert str(error).startswith(f"plan.update.{key} = {allowed} is above your policy's {less}: ")


def test_a_plan_that_allows_fewer_units_than_a_client_may_hold_is_refused():
    plan = make_plan(min_clients=10)
    update = msgspec.structs.replace(plan.update, max_units_per_client=64)
    plan = msgspec.structs.replace(plan, update=update)
    for least in (0, 64):
        bounds = UpdateBounds(least_units_per_client=least)
        ClientPolicy(require=Requirements(update=bounds)).check(plan)
    error = refusal(plan, update=UpdateBounds(least_units_per_client=65))
    assert error.reason is Reason.POLICY_UPDATE
    assert str(error).startswith(
        "plan.update.max_units_per_client = 64 is below your policy's 65: "
    )


def test_a_weaker_adversary_is_all_that_a_server_without_a_directory_learns():
    plan = make_plan(Adversary.HONEST_BUT_CURIOUS, "plain", min_clients=2, corrupt=0)
    floors = {"dataset": DatasetFloor(id="another"), "update": UpdateBounds(clip=1.0)}
    assert refusal(plan, **floors).reason is Reason.POLICY_ADVERSARY
    curious = AggregationFloor(adversary=Adversary.HONEST_BUT_CURIOUS)
    assert refusal(plan, **floors, aggregation=curious).reason is Reason.POLICY_DATASET


WITHOUT = make_plan(min_clients=10)
WITH = make_plan(min_clients=10, noise=make_noise(noise_multiplier=4.0, epsilon=8.0))
SERVERS = make_plan(min_clients=10, noise=make_noise("server"))


@pytest.mark.parametrize(
    ("plan", "floor", "told"),
    [
        (WITHOUT, {"trust": Trust.SERVER}, "trust = none is below your policy's server"),
        (
            SERVERS,
            {"trust": Trust.DISTRIBUTED},
            "trust = server is below your policy's distributed",
        ),
        (WITH, {"trust": Trust.CLIENT}, "trust = distributed is below your policy's client"),
        (WITHOUT, {"noise_multiplier": 0.1}, "noise_multiplier = 0.0 is below your policy's 0.1"),
        (WITH, {"noise_multiplier": 4.5}, "noise_multiplier = 4.0 is below your policy's 4.5"),
        (WITHOUT, {"epsilon": 9.0}, "epsilon = unbounded is above your policy's 9.0"),
        (WITH, {"epsilon": 7.5}, "epsilon = 8.0 is above your policy's 7.5"),
        (WITHOUT, {"delta": 1e-3}, "delta = unbounded is above your policy's 0.001"),
        (WITH, {"delta": 1e-6}, "delta = 1e-05 is above your policy's 1e-06"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_floor_under_noise_is_told(plan, floor, told):
    error = refusal(plan, noise=NoiseFloor(**floor))
    assert error.reason is Reason.POLICY_NOISE
    assert str(error) == f"plan.noise.{told}: ask the operator to add noise"


@pytest.mark.parametrize("trust", list(Trust))
def test_noise_at_its_floor_is_taken(trust):
    floor = NoiseFloor(trust=trust)
    if trust is not Trust.NONE:
        floor = NoiseFloor(trust=trust, noise_multiplier=4.0, epsilon=8.0, delta=1e-5)
    given = WITHOUT if trust is Trust.NONE else make_plan(noise=make_noise(trust.value))
    least = AggregationFloor(min_clients=3)
    ClientPolicy(require=Requirements(noise=floor, aggregation=least)).check(given)
