"""A client's budget and the server's ledger in the loop: what is charged, refused and kept."""

import contextlib

import msgspec
import pytest
from hypothesis import given, settings

from fedprivacy.crypto import SigningKey
from fedprivacy.dp.events import Release
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import BudgetTerms, ClientBudget, LedgerAccountant, SignedHead, spend_of
from fedprivacy.rounds import ClientPolicy
from fedprivacy.rounds.policy import BudgetLimit, NoiseFloor, Requirements
from fedprivacy.rounds.privacy import PrivacyClaim, check_claim, client_charge, round_event
from fedprivacy.secagg import SERVER, Adversary
from round_lies import CHANGES, NOISE, RULES, few_of, told_plan
from rounddrive import Consortium, make_budget, make_noise, make_plan, make_policy, noisy_house

OPERATOR = SigningKey.from_seed(b"o" * 32)


def charged(consortium, name, epsilon):
    terms = BudgetTerms("add-or-remove-one", epsilon, 1e-5)
    budget = ClientBudget("ones", "ones", "client", terms)
    return consortium.stores[name].charged(budget, LedgerAccountant())


def cost_of(consortium, rounds=1):
    """What so many rounds are charged to one that is in all of them."""
    event = round_event(consortium.plan, len(consortium.names), consortium.length)
    terms = BudgetTerms("add-or-remove-one", 100.0, 1e-5)
    return LedgerAccountant().epsilon([spend_of(Release(event, count=rounds))], terms)


# ------------------------------------------------------------------ a client's budget


def with_budgets(consortium, poor, epsilon, plenty=100.0):
    """Everyone has a budget; this one's is small."""
    make = consortium.client
    rules = consortium.plan.aggregation
    policies = {
        name: make_policy(
            rules.adversary, rules.protocol, more=make_budget(epsilon if name == poor else plenty)
        )
        for name in consortium.names
    }

    def client(name, number=1, attempt=1):
        consortium.policy = policies[name]
        return make(name, number, attempt)

    consortium.client = client
    return consortium


@pytest.mark.parametrize("trust", ["server", "distributed", "client"])
def test_a_client_whose_budget_is_spent_says_so_and_the_round_goes_on(trust):
    with noisy_house(noise=make_noise(trust)) as bare:
        one = cost_of(bare)
    with with_budgets(noisy_house(noise=make_noise(trust)), "c002", 1.2 * one) as consortium:
        first = consortium.drive(1).run()
        assert first.survivors == consortium.names
        assert charged(consortium, "c002", 1.2 * one) == pytest.approx(one)
        consortium.broadcast = b"other weights"
        second = consortium.drive(2).run()
        assert second.refused == {"c002": Reason.BUDGET}
        assert isinstance(second.failed["c002"], BudgetExhausted)
        assert 'policy.budget."ones".epsilon' in str(second.failed["c002"])
        assert second.survivors == tuple(n for n in consortium.names if n != "c002")
        assert second.aggregate is not None
        # What was refused is not charged; what took part is.
        assert charged(consortium, "c002", 1.2 * one) == pytest.approx(one)
        assert charged(consortium, "c003", 100.0) == pytest.approx(cost_of(consortium, 2))


def test_a_budget_is_charged_as_the_input_leaves_and_not_before():
    with with_budgets(noisy_house(), "", 0.0) as consortium:
        told = {}

        def watch(delivery):
            if delivery.sender != SERVER:
                told[delivery.phase] = charged(consortium, delivery.sender, 100.0)
            return (delivery,)

        assert consortium.drive(channel=watch).run().error is None
        one = cost_of(consortium)
        assert {phase: round(cost / one) for phase, cost in told.items()} == {
            "keys": 0,
            "shares": 0,
            "input": 1,
            "consistency": 1,
            "unmasking": 1,
        }


def test_two_attempts_at_the_last_round_that_a_budget_holds_are_charged_once():
    with noisy_house() as bare:
        one = cost_of(bare)
    with with_budgets(noisy_house(), "c000", 1.1 * one) as consortium:

        def lose(delivery):
            lost = delivery.phase == "input" and delivery.client != "c000"
            return () if lost and delivery.sender != SERVER else (delivery,)

        first = consortium.drive(1, 1, channel=lose).run()
        assert first.error.reason is Reason.TOO_FEW
        assert charged(consortium, "c000", 1.1 * one) == pytest.approx(one)
        second = consortium.drive(1, 2).run()
        assert second.survivors == consortium.names
        assert charged(consortium, "c000", 1.1 * one) == pytest.approx(one)


def test_a_client_first_asked_at_a_second_attempt_says_what_its_budget_does_not_hold():
    with noisy_house() as bare:
        one = cost_of(bare)
    with with_budgets(noisy_house(), "c000", 1.1 * one) as consortium:
        assert consortium.drive(1).run().error is None
        consortium.broadcast = b"other weights"
        outcome = consortium.drive(2, 2).run()
        assert outcome.refused == {"c000": Reason.BUDGET}
        assert outcome.survivors == consortium.names[1:]
        assert charged(consortium, "c000", 1.1 * one) == pytest.approx(one)


def test_a_charge_does_not_count_on_chance():
    """Whoever was drawn knows it, and so may others: a sampled round costs what any round does."""
    for trust in ("server", "distributed"):
        costs = []
        for rate in (1.0, 0.25):
            noise = make_noise(trust, rate=rate)
            with with_budgets(noisy_house(noise=noise), "", 0.0) as consortium:
                assert consortium.drive().run().error is None
                costs.append(charged(consortium, "c000", 100.0))
        assert costs[0] == costs[1] > 0


@pytest.mark.parametrize(
    ("plan", "budget", "reason", "told"),
    [
        (
            make_plan(noise=make_noise()),
            {"twos": BudgetLimit(epsilon=9.0, delta=1e-5)},
            Reason.POLICY_DATASET,
            "plan.dataset.id = ones is not your policy's twos: give it a budget",
        ),
        (
            make_plan(),
            {"ones": BudgetLimit(epsilon=9.0, delta=1e-5)},
            Reason.POLICY_NOISE,
            "plan.noise.epsilon = unbounded is above your policy's 9.0",
        ),
    ],
    ids=["another-name", "no-noise"],
)
def test_with_a_budget_nothing_is_taken_part_in_that_is_not_charged(plan, budget, reason, told):
    policy = msgspec.structs.replace(make_policy(), budget=budget)
    with Consortium(plan=plan, policy=policy) as consortium:
        outcome = consortium.drive().run()
        assert set(outcome.refused.values()) == {reason}
        assert all(str(error).startswith(told) for error in outcome.failed.values())


def test_an_epsilon_is_derived_and_not_believed():
    """A plan may say less than its noise costs; one that says more is taken at what it says."""
    floor = Requirements(
        aggregation=make_policy().require.aggregation, noise=NoiseFloor(epsilon=1.0)
    )
    told = make_noise(noise_multiplier=0.5, epsilon=1.0)
    with noisy_house(noise=told, policy=ClientPolicy(require=floor)) as consortium:
        outcome = consortium.drive().run()
        assert set(outcome.refused.values()) == {Reason.POLICY_NOISE}
        (message,) = {str(error) for error in outcome.failed.values()}
        assert message.startswith("epsilon of all 3 rounds of a run by plan.noise = ")
        assert message.endswith(
            " is above your policy's 1.0: ask the operator for more noise, or fewer rounds"
        )
        claim = PrivacyClaim.of(consortium.plan, len(consortium.names), consortium.length)
        assert float(message.split(" = ")[1].split()[0]) >= claim.bound.epsilon > 1.0
    good = make_noise(noise_multiplier=12.0, epsilon=1.0)
    with noisy_house(noise=good, policy=ClientPolicy(require=floor)) as consortium:
        assert consortium.drive().run().error is None


def test_a_server_is_trusted_with_the_noise_by_name_only():
    """Nothing shows a client that the server added any: its budget counts on that, or does not."""
    budget = {"ones": BudgetLimit(epsilon=9.0, delta=1e-5)}
    policy = msgspec.structs.replace(make_policy(), budget=budget)
    with noisy_house(noise=make_noise("server"), policy=policy) as consortium:
        outcome = consortium.drive().run()
        assert set(outcome.refused.values()) == {Reason.POLICY_NOISE}
        (told,) = {str(error) for error in outcome.failed.values()}
        assert told == (
            "plan.noise.trust = server is below your policy's distributed, since nothing shows a "
            "client that the server added any: set require.noise.trust = server in this client's "
            "policy if the server is trusted"
        )


def test_what_leaves_in_the_open_with_noise_leaves_once_a_round():
    """Two inputs of a round have two draws of noise, and one is charged."""
    rules = {"protocol": "plain", "adversary": Adversary.HONEST_BUT_CURIOUS}
    with noisy_house(noise=make_noise("client"), **rules) as consortium:

        def lose(delivery):
            return () if delivery.sender != SERVER and delivery.client != "c000" else (delivery,)

        first = consortium.drive(1, 1, channel=lose).run()
        assert first.error.reason is Reason.TOO_FEW
        assert first.unmasking_requested
        second = consortium.drive(1, 2).run()
        assert second.refused == dict.fromkeys(consortium.names, Reason.SPENT)
        assert consortium.drive(2, 1).run().survivors == consortium.names


def test_one_data_set_has_one_budget_whatever_the_plan_calls_it():
    """Where a policy has a word of its own for its data, the store knows it by that."""
    policy = msgspec.structs.replace(
        make_policy(), data="/data/ones", budget={"ones": BudgetLimit(epsilon=9.0, delta=1e-5)}
    )
    with noisy_house(noise=make_noise("distributed"), policy=policy) as consortium:
        assert consortium.drive(1).run().survivors == consortium.names
        other = msgspec.structs.replace(consortium.plan.dataset, id="twos")
        consortium.plan = msgspec.structs.replace(consortium.plan, dataset=other)
        consortium.policy = msgspec.structs.replace(
            policy, budget={"twos": BudgetLimit(epsilon=9.0, delta=1e-5)}
        )
        consortium.run_id, consortium.broadcast = b"s" * 16, b"other weights"
        outcome = consortium.drive(2).run()
        assert set(outcome.refused.values()) == {Reason.POLICY_DATASET}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[require.noise]\nepsilon = 1.0\n",
            (
                "policy.require.noise.epsilon = 1.0 without a delta lets the plan choose one: set "
                "policy.require.noise.delta, well below 1 / number of units"
            ),
        ),
        (
            "[budget.a]\nepsilon = 1.0\ndelta = 1e-5\n[budget.b]\nepsilon = 1.0\ndelta = 1e-5\n",
            (
                "policy.budget has 2 data sets, of which the plan could choose: set "
                "policy.require.dataset.id to the one that this policy is for"
            ),
        ),
        (
            "[budget.a]\nepsilon = inf\ndelta = 1e-5\n",
            'policy.budget."a".epsilon = inf is outside (0, inf): give a number in it',
        ),
    ],
)
def test_a_policy_that_bounds_less_than_it_seems_to_is_refused(text, said):
    with pytest.raises(ConfigurationError) as caught:
        ClientPolicy.parse(f'schema = "fedprivacy/policy/1"\n{text}')
    assert str(caught.value) == said


def test_rounds_end_with_the_noise():
    with noisy_house() as consortium:
        for number in (1, 2, 3):
            consortium.broadcast = b"weights %d" % number
            assert consortium.drive(number).run().error is None
        over = consortium.drive(4).run()
        assert set(over.refused.values()) == {Reason.PLAN}
        assert "round 4 where the noise is for 3" in str(over.failed["c000"])


@settings(settings.get_profile("fuzz"))
@given(
    few_of(CHANGES),
    few_of({section: few_of(fields) for section, fields in RULES.items()}),
    NOISE,
)
def test_whatever_noise_a_plan_has_only_refusals_come_of_it(changes, rules, noise):
    """A plan that is sound can be charged; no other error is raised on a server's words."""
    plan = told_plan(
        {k: v for k, v in changes.items() if k != "clip"}, rules | {"noise": noise}, follows=True
    )
    try:
        plan.check()
    except PeerError:
        return
    limit = BudgetLimit(epsilon=1.0, delta=1e-5)
    policy = ClientPolicy(
        require=Requirements(noise=NoiseFloor(epsilon=2.0)), budget={"ones": limit}
    )
    with contextlib.suppress(PolicyRefused):
        size, length = plan.cohort_size, plan.length
        check_claim(plan.plan, policy, cohort=size, length=length)
        charge = client_charge(plan.plan, policy, cohort=size, length=length, clip=plan.clip)
        assert charge.accountant.epsilon(charge.spends, charge.budget.terms) >= 0


# ------------------------------------------------------------------ the ledger's head


def head(number, body=b"h", operator=OPERATOR):
    return SignedHead.sign(operator, b"ledger-16-bytes!", number, body * 32)


def test_every_client_keeps_the_heads_that_it_was_shown():
    with noisy_house(head=head) as consortium:
        for number in (1, 2):
            consortium.broadcast = b"weights %d" % number
            assert consortium.drive(number).run().error is None
        kept = {store.heads() for store in consortium.stores.values()}
        assert kept == {(head(1), head(2))}


@pytest.mark.parametrize(
    "second",
    [lambda _: head(1, b"i"), lambda n: head(n, operator=SigningKey.from_seed(b"p" * 32))],
    ids=["rewritten", "another-operator"],
)
def test_a_ledger_that_contradicts_itself_ends_the_round(second):
    with noisy_house(head=head) as consortium:
        assert consortium.drive(1).run().error is None
        consortium.head = second
        outcome = consortium.drive(2).run()
        assert set(outcome.refused.values()) == {Reason.RECEIPT_CHANGED}
        assert outcome.error.reason is Reason.TOO_FEW
