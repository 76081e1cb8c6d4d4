"""How much noise a decoded sum has: what the plan says, whoever is lost or leaves theirs out."""

import math

import msgspec
import numpy as np
import pytest

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import RoundClient
from fedprivacy.secagg import Adversary, Cohort
from fedprivacy.transport import InProcess
from fedprivacy.vector import Pipeline, Update
from rounddrive import Consortium, make_noise, make_plan, noisy_house

CURIOUS = Adversary.HONEST_BUT_CURIOUS


class Quiet(RoundClient):
    """A corrupt client: it leaves its share of the noise out."""

    def _contribute(self, party, plan, update):
        pipeline = plan.pipeline
        silent = Pipeline.of(pipeline.length, *pipeline.stages[:-1], weights=pipeline.weights)
        vector = silent.encode(update, rng=self._rng.child("encoding"))
        yield from self._carry_out(party.contribute(vector))


LENGTH = 10_000
BITS = 7  # fewer would be refused for so many coordinates
CLIENTS = 10
SIGMAS = 5.5
"""Of a normal variable; a bound of so many is broken by chance once in 26 million."""


def sparse_update(name):
    """Nine whole numbers and zeros: nothing is clipped, nothing rounded."""
    values = np.zeros(LENGTH)
    values[int(name[1:]) : int(name[1:]) + 9] = 1.0
    return values


def noise_in(consortium, number, lost=(), quiet=()):
    """The squares of the noise in one round's decoded sum, in integer units, added up."""
    consortium.broadcast = b"weights %d" % number
    clients = {
        name: (Quiet if name in quiet else RoundClient)(
            consortium.policy,
            consortium.identities[name],
            consortium.stores[name],
            rng=consortium.rng.child(f"client/{name}/{number}"),
        )
        for name in consortium.cohort(number).members
    }

    def lose(delivery):
        gone = delivery.sender in lost and delivery.phase == "input"
        return () if gone else (delivery,)

    def train(name, _):
        return Update(sparse_update(name))

    outcome = InProcess(consortium.server(number), clients, train, channel=lose).run()
    assert set(outcome.survivors) == set(clients) - set(lost)
    exact = sum(sparse_update(name) for name in outcome.survivors)
    return float(np.sum((outcome.aggregate.sum - exact) ** 2))


def noise_of(consortium, rounds, lost=(), quiet=()):
    """As `noise_in`, of so many rounds."""
    return sum(noise_in(consortium, n, lost, quiet) for n in range(1, rounds + 1))


def assert_variance(squares, count, variance):
    """That a sum of `count` squares is one of variables with this variance, near normal.

    A Skellam's fourth cumulant is its variance, so that a square varies by 2 v**2 + v.
    """
    spread = math.sqrt(count * (2 * variance**2 + variance))
    assert abs(squares - count * variance) < SIGMAS * spread


def big_house(mechanism, trust="distributed", rounds=20, **plan):
    noise = make_noise(trust, mechanism, noise_multiplier=1.0, epsilon=1e9, rounds=rounds)
    rules = {"min_clients": 7, "corrupt": 1, "value_bits": BITS} | plan
    return noisy_house(CLIENTS, noise=noise, length=LENGTH, **rules)


def shared_variance(consortium, cohort=CLIENTS):
    """What the plan's noise is to be, and how many shares it takes."""
    plan = consortium.plan
    pipeline = plan.pipeline(LENGTH, cohort)
    stage = plan.noise_stage(cohort)
    spec = pipeline.specs[-2 if plan.noise.trust.value != "server" else -1]
    # By hand: sqrt(c**2 + d/4 + c + sqrt(d)/2) is the norm of c steps, rounded conditionally.
    norm = math.sqrt(63**2 + LENGTH / 4 + 63 + math.sqrt(LENGTH) / 2)
    assert stage.local_variance(spec) * stage.shares == pytest.approx(norm**2)
    return norm**2, stage.shares


MECHANISMS = pytest.mark.parametrize("mechanism", ["skellam", "discrete-gaussian"])


def rounds_of(at_night):
    return pytest.mark.parametrize(
        "rounds", [20, pytest.param(at_night, marks=pytest.mark.nightly)]
    )


@rounds_of(200)
@MECHANISMS
def test_with_everyone_there_each_share_counts(mechanism, rounds):
    with big_house(mechanism, rounds=rounds) as consortium:
        variance, shares = shared_variance(consortium)
        # t = 6 and min_clients = 7: seven are in any sum, of whom one may be corrupt.
        assert shares == 6
        squares = noise_of(consortium, rounds)
        assert_variance(squares, rounds * LENGTH, variance * CLIENTS / shares)


@rounds_of(2000)
@MECHANISMS
def test_with_as_few_as_may_be_there_the_noise_is_what_was_promised(mechanism, rounds):
    """Three of ten are lost, and the corrupt one leaves its share out: six are left."""
    with big_house(mechanism, rounds=rounds) as consortium:
        variance, _ = shared_variance(consortium)
        squares = noise_of(consortium, rounds, lost={"c001", "c004", "c007"}, quiet={"c009"})
        assert_variance(squares, rounds * LENGTH, variance)


def test_a_bound_on_the_variance_can_be_broken():
    """With one more share left out than is counted, the same test sees it."""
    with big_house("skellam") as consortium:
        variance, _ = shared_variance(consortium)
        squares = noise_of(consortium, 4, lost={"c001", "c004", "c007"}, quiet={"c008", "c009"})
        with pytest.raises(AssertionError):
            assert_variance(squares, 4 * LENGTH, variance)


@MECHANISMS
@pytest.mark.parametrize("protocol", ["plain", "secagg"])
def test_each_clients_own_noise_suffices(mechanism, protocol):
    with big_house(
        mechanism, "client", adversary=CURIOUS, protocol=protocol, min_clients=4
    ) as consortium:
        variance, shares = shared_variance(consortium)
        assert shares == 1
        lost = {"c001", "c004", "c007"}
        squares = noise_of(consortium, 20, lost)
        assert_variance(squares, 20 * LENGTH, variance * (CLIENTS - len(lost)))


@MECHANISMS
def test_a_server_that_is_trusted_adds_its_noise_once(mechanism):
    with big_house(mechanism, "server") as consortium:
        variance, shares = shared_variance(consortium)
        assert shares == 1
        squares = noise_of(consortium, 20, lost={"c001", "c004"})
        assert_variance(squares, 20 * LENGTH, variance)


def test_a_unit_at_two_clients_takes_twice_the_deviation():
    with big_house("skellam", max_clients_per_unit=2) as consortium:
        plan = consortium.plan
        spec = plan.pipeline(LENGTH, CLIENTS).specs[-2]
        with big_house("skellam") as one:
            variance, shares = shared_variance(one)
        stage = plan.noise_stage(CLIENTS)
        assert stage.local_variance(spec) * shares == pytest.approx(4 * variance)


def test_noise_of_no_honest_client_is_no_plan():
    """Where nobody honest is assured to be in a sum, nobody's noise is."""
    plan = make_plan(min_clients=3, corrupt=1, noise=make_noise())
    rules = msgspec.structs.replace(plan.aggregation, corrupt=3, threshold=2, min_clients=3)
    plan = msgspec.structs.replace(plan, aggregation=rules)
    with pytest.raises(ConfigurationError, match=r"^plan\.noise\.trust = distributed: no honest"):
        plan.pipeline(8, 5)


# ------------------------------------------------------------------ cohorts drawn by coins


class Drawn(Consortium):
    """Of all who are enrolled, each is in a round's cohort by a coin of its own."""

    def cohort(self, number=1):
        draw = np.random.default_rng((self.seed, number)).random(len(self.names))
        rate = self.plan.sampling.rate
        names = [n for n, coin in zip(self.names, draw, strict=True) if coin < rate]
        return Cohort.of(names, rng=self.rng.child(f"cohort/{number}"))


@pytest.mark.parametrize("trust", ["server", "distributed", "client"])
def test_cohorts_of_every_size_have_the_noise_of_their_own(trust):
    noise = make_noise(trust, noise_multiplier=1.0, epsilon=1e9, rounds=30, rate=0.6)
    plan = make_plan(min_clients=4, corrupt=1, value_bits=BITS, noise=noise)
    sizes, squares, expected, spread = set(), 0.0, 0.0, 0.0
    with Drawn(12, plan=plan, length=LENGTH) as consortium:
        for number in range(1, 11):
            size = len(consortium.cohort(number).members)
            sizes.add(size)
            variance, shares = shared_variance(consortium, size)
            # t = floor((n + 1) / 2) + 1 is more than min_clients from six on.
            counted = {"distributed": max((size + 1) // 2 + 1, 4) - 1}.get(trust, 1)
            assert shares == counted
            added = {"server": 1}.get(trust, size)
            clients = {
                name: consortium.client(name, number) for name in consortium.cohort(number).members
            }
            consortium.broadcast = b"weights %d" % number
            clients = {name: consortium.client(name, number) for name in clients}
            outcome = InProcess(
                consortium.server(number),
                clients,
                lambda name, _: Update(sparse_update(name)),
            ).run()
            exact = sum(sparse_update(name) for name in outcome.survivors)
            squares += float(np.sum((outcome.aggregate.sum - exact) ** 2))
            expected += LENGTH * variance * added / shares
            spread += LENGTH * 2 * (variance * added / shares) ** 2 * 1.01
    assert len(sizes) > 3
    assert abs(squares - expected) < SIGMAS * math.sqrt(spread)


def test_a_cohort_too_small_for_the_plan_is_not_asked():
    plan = make_plan(min_clients=4, noise=make_noise(rate=0.1))
    with Drawn(12, plan=plan) as consortium, pytest.raises(ConfigurationError, match="enrol more"):
        consortium.drive()
