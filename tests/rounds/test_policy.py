"""What a policy asks of a plan: its defaults, its ceilings, and what is told first."""

import msgspec
import pytest

from fedprivacy.errors import PolicyRefused, Reason
from fedprivacy.rounds import ClientPolicy
from fedprivacy.rounds.policy import AggregationFloor, DatasetFloor, Requirements, UpdateCeiling
from fedprivacy.secagg import Adversary
from rounddrive import make_plan


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
        ClientPolicy(require=Requirements(update=UpdateCeiling(**{key: most}))).check(plan)
    error = refusal(plan, update=UpdateCeiling(**{key: less}))
    assert error.reason is Reason.POLICY_UPDATE
    assert str(error).startswith(f"plan.update.{key} = {allowed} is above your policy's {less}: ")


def test_a_weaker_adversary_is_all_that_a_server_without_a_directory_learns():
    plan = make_plan(Adversary.HONEST_BUT_CURIOUS, "plain", min_clients=2, corrupt=0)
    floors = {"dataset": DatasetFloor(id="another"), "update": UpdateCeiling(clip=1.0)}
    assert refusal(plan, **floors).reason is Reason.POLICY_ADVERSARY
    curious = AggregationFloor(adversary=Adversary.HONEST_BUT_CURIOUS)
    assert refusal(plan, **floors, aggregation=curious).reason is Reason.POLICY_DATASET
