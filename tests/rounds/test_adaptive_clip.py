"""A clip that follows a noisy count: the plan, the round, the price of one."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.rounds import Guarantee, Plan
from fedprivacy.rounds.privacy import round_event
from fedprivacy.rounds.rules import AdaptiveRules
from fedprivacy.transport import InProcess
from fedprivacy.vector import Update
from rounddrive import Consortium, make_noise, make_plan

CLIENTS, LENGTH = 10, 30
COUNTED = AdaptiveRules(quantile=0.5, rate=0.2, count_deviation=3.0)


def adaptive(trust="distributed", mechanism="skellam", rules=COUNTED, weight=CLIENTS, **plan):
    noise = make_noise(trust, mechanism, noise_multiplier=1.0, epsilon=1e9, rounds=50)
    made = make_plan(min_clients=7, corrupt=1, value_bits=8, noise=noise, **plan)
    update = msgspec.structs.replace(made.update, public_weight=weight)
    return msgspec.structs.replace(made, update=update, adaptive=rules)


def norms_of(number, share, clip):
    """So many of the clients are beyond the clip, the others far within it."""
    beyond = round(share * CLIENTS)
    return [2 * clip if (i + number) % CLIENTS < beyond else clip / 4 for i in range(CLIENTS)]


def train(norms):
    direction = np.full(LENGTH, 1 / math.sqrt(LENGTH))
    return lambda name, _: Update(norms[name] * direction)


def clips(plan, beyond, rounds):
    """The clip of each round, while a share of the clients stays beyond whatever it is."""
    found = [plan.first_clip]
    with Consortium(CLIENTS, plan=plan, length=LENGTH) as consortium:
        for number in range(1, rounds + 1):
            consortium.broadcast = b"weights %d" % number
            clients = {
                name: consortium.client(name, number) for name in consortium.cohort(number).members
            }
            norms = dict(zip(sorted(clients), norms_of(number, beyond, found[-1]), strict=True))
            consortium.clip = found[-1]
            server = consortium.server(number)
            outcome = InProcess(server, clients, train(norms)).run()
            assert outcome.aggregate is not None
            assert outcome.aggregate.sum.shape == (LENGTH,)
            found.append(server.next_clip)
    return found


@pytest.mark.parametrize(
    ("trust", "mechanism"), [("distributed", "skellam"), ("server", "discrete-gaussian")]
)
def test_it_rises_while_many_are_beyond_it_and_falls_while_few_are(trust, mechanism):
    """The count of ten has a noise of deviation 3, ten times that variance by seven at most.

    Six steps are of 0.25 on average, up or down, and of a deviation of 0.6 at most together: with
    a fixed seed, one that ends on the wrong side is a fault and no chance.
    """
    rules = msgspec.structs.replace(COUNTED, initial=1.0, rate=0.5)
    rising = clips(adaptive(trust, mechanism, rules), beyond=1.0, rounds=6)
    falling = clips(adaptive(trust, mechanism, rules), beyond=0.0, rounds=6)
    assert rising[-1] > 1.5 > 1 / 1.5 > falling[-1]


def test_it_is_never_above_the_plans():
    found = clips(adaptive(rules=COUNTED), beyond=1.0, rounds=2)
    assert max(found) == 127.0


@given(st.floats(1e-6, 127.0), st.sampled_from(["skellam", "discrete-gaussian"]))
def test_a_rounds_price_does_not_depend_on_it(clip, mechanism):
    plan = adaptive(mechanism=mechanism)
    event, frozen = round_event(plan, CLIENTS, LENGTH, clip), round_event(plan, CLIENTS, LENGTH)
    assert event == frozen
    fixed = msgspec.structs.replace(plan, adaptive=AdaptiveRules())
    own = plan.pipeline(LENGTH, CLIENTS, clip).specs[-2]
    assert own.unit_l2 <= event.l2
    # And the count has its price: the vector alone would be less.
    assert round_event(fixed, CLIENTS, LENGTH).l2 < event.l2 / 1.005


@given(st.floats(1e-3, 0.7450832964379267))
def test_the_mark_is_one_under_every_clip(clip):
    """Here ratio times norm lies at a half: by its last bits alone, k would be 1 or 2."""
    rules = AdaptiveRules(quantile=0.5, count_deviation=2.621035145907609)
    noise = make_noise("client", "skellam", noise_multiplier=2.0, epsilon=1e9, rounds=4)
    plan = make_plan(min_clients=7, corrupt=1, noise=noise)
    update = msgspec.structs.replace(plan.update, clip=0.7450832964379267, public_weight=9)
    plan = msgspec.structs.replace(plan, update=update, adaptive=rules)
    marks = {
        pipeline.stages[0].magnitude(pipeline.specs[0])
        for pipeline in (plan.pipeline(2, CLIENTS, c) for c in (None, clip, 0.42245))
    }
    assert len(marks) == 1


def test_the_count_has_the_deviation_that_was_asked_for():
    plan = adaptive()
    pipeline = plan.pipeline(LENGTH, CLIENTS)
    stage, spec = plan.noise_stage(CLIENTS), pipeline.specs[-2]
    deviation = math.sqrt(stage.local_variance(spec) * stage.shares)
    assert pipeline.total_length == LENGTH + 1
    k = pipeline.stages[0].magnitude(pipeline.specs[0])
    assert deviation / (2 * k) == pytest.approx(3.0, rel=0.02)  # k is whole


class _Silent:
    def bytes(self, count):
        return bytes(count)

    def child(self, purpose):
        return self


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rules": AdaptiveRules(initial=1.0)}, r"adaptive\.initial = 1\.0 without a quantile"),
        ({"rules": AdaptiveRules(count_deviation=1.0)}, r"count_deviation = 1\.0 without"),
        ({"weight": 0}, r"quantile = 0\.5 is a share of a public number"),
        (
            {"rules": msgspec.structs.replace(COUNTED, initial=128.0)},
            r"initial = 128\.0 is above update\.clip = 127\.0",
        ),
        (
            {"rules": msgspec.structs.replace(COUNTED, count_deviation=0.5)},
            r"count_deviation = 0\.5 is not above 0\.5",
        ),
        ({"rules": AdaptiveRules(quantile=0.5)}, r"count_deviation = 0\.0 is not above 0\.5"),
    ],
)
def test_what_cannot_adapt_is_refused(changes, match):
    with pytest.raises(ConfigurationError, match=match):
        adaptive(**changes).check()


def test_an_exact_count_is_refused():
    plan = msgspec.structs.replace(adaptive(), noise=make_plan().noise)
    with pytest.raises(ConfigurationError, match="counts units exactly"):
        plan.check()


def test_the_guarantee_speaks_of_it():
    told = Guarantee.of(adaptive(), CLIENTS, LENGTH).holds()
    assert any("The clip follows how many clients are within it" in line for line in told)
    fixed = msgspec.structs.replace(adaptive(), adaptive=AdaptiveRules())
    assert not any("follows" in line for line in Guarantee.of(fixed, CLIENTS, LENGTH).holds())


def test_a_server_may_not_raise_it_above_the_plan():
    with Consortium(CLIENTS, plan=adaptive(), length=LENGTH, clip=200.0) as consortium:
        with pytest.raises(PeerError, match=r"clip 200\.0 is outside") as refused:
            consortium.round_plan(1, 1).check()
        assert refused.value.reason is Reason.PLAN


def test_a_plan_with_units_counts_each():
    text = """
    schema = "fedprivacy/plan/1"
    [dataset]
    id = "wards"
    unit = "patient"
    [aggregation]
    protocol = "secagg"
    adversary = "malicious"
    min_clients = 5
    corrupt = 1
    [update]
    clip = 1.0
    value_bits = 16
    weights = "uniform"
    public_weight = 40
    max_units_per_client = 10
    [noise]
    trust = "distributed"
    noise_multiplier = 1.0
    epsilon = 100.0
    delta = 1e-5
    rounds = 5
    [adaptive]
    quantile = 0.9
    count_deviation = 4.0
    """
    plan = Plan.parse(text)
    pipeline = plan.pipeline(6, 8)
    rows = np.zeros((4, 6))
    rows[:, 0] = [0.2, 0.5, 2.0, np.nan]
    added = np.asarray(
        plan.pipeline(6, 8).stages[0].encode(Update(rows), pipeline.specs[0], rng=_Silent()).values
    )
    k = pipeline.stages[0].stages[0].magnitude(pipeline.stages[0].specs(pipeline.specs[0])[0])
    assert added[-1] == 0  # two within, two not: the one that is no number is not
    rows[3] = 0.0
    added = np.asarray(
        pipeline.stages[0].encode(Update(rows), pipeline.specs[0], rng=_Silent()).values
    )
    assert added[-1] == 2 * k
