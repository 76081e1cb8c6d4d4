"""What a plan's noise is worth: the event of one round, derived from the stages that make it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from fedprivacy.accounting import Bound, downwards, epsilon_of, upwards
from fedprivacy.dp.events import (
    Adjacency,
    DiscreteGaussianEvent,
    Event,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
)
from fedprivacy.dp.noise import event_of
from fedprivacy.errors import BudgetExhausted, PolicyRefused, Reason
from fedprivacy.ledger import BudgetTerms, Charge, ClientBudget, LedgerAccountant, spend_of
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.rules import Trust

__all__ = [
    "PrivacyClaim",
    "check_accepts",
    "check_claim",
    "client_charge",
    "release_of",
    "round_event",
]


def round_event(plan: Plan, cohort: int, length: int, clip: float | None = None) -> Event | None:
    """What one round's sum tells of one unit; None where no noise is added.

    Of a cohort of n clients and updates of `length` parameters. One unit may be at several clients:
    its sensitivity is then as many times as large. Where the clip adapts, the event is one that
    holds for each, whatever `clip` says: steps, noise and sensitivity grow with it alike, but for
    their rounding, and a round's price is known before its clip.
    """
    adapts = bool(plan.adaptive.quantile)
    pipeline = plan.pipeline(length, cohort, None if adapts else clip)
    if plan.noise.trust is Trust.SERVER:
        event: Event | None = plan.noise_stage(cohort).event(pipeline.specs[-1])
    else:
        event = event_of(pipeline)
    if event is None:
        return None
    if adapts:
        # In integer steps the norm is that of `value_bits`: only its last bits are the clip's.
        event = _at_several(event, 1 + _ROUNDING)
    return _at_several(event, plan.update.max_clients_per_unit)


_ROUNDING = 2.0**-44
"""More than norms and deviations of two clips can differ, relatively, by float64 rounding."""


def _at_several(event: Event, clients: float) -> Event:
    """The event of so many times the sensitivity."""
    match event:
        case GaussianEvent():
            return dataclasses.replace(event, noise_multiplier=event.noise_multiplier / clients)
        case DiscreteGaussianEvent():
            return dataclasses.replace(event, l2=event.l2 * clients)
        case _:
            return dataclasses.replace(event, l2=event.l2 * clients, l1=event.l1 * clients)


def release_of(plan: Plan, event: Event, rounds: int = 1) -> Release:
    """So many rounds with this event, as the plan's budget is charged for them.

    Sampling amplifies only where the server is trusted, with the noise and with whom it draws: it
    is hidden from those who see what is released, and nobody else.
    """
    return Release(event, _sample(plan, _secrecy(plan)), rounds)


def client_charge(
    plan: Plan, policy: ClientPolicy, *, cohort: int, length: int, clip: float | None = None
) -> Charge | None:
    """What a client charges its own data for one round: in full, as if it were always drawn.

    None where its policy sets no budget at all. Raises `PolicyRefused` where there is none for this
    data set, since the plan names it and whoever could rename it could begin its budget anew; where
    the plan adds no noise: what an exact sum tells no budget holds; and where the server is to add
    it, unless the policy says that it is trusted to.
    """
    if not policy.budget:
        return None
    limit = policy.budget.get(plan.dataset.id)
    if limit is None:
        named, remedy = " or ".join(policy.budget), "give it a budget in this client's own policy"
        raise PolicyRefused(
            Reason.POLICY_DATASET,
            "plan.dataset.id",
            plan.dataset.id,
            named,
            remedy,
            relation="not",
        )
    event = round_event(plan, cohort, length, clip)
    if event is None:
        raise PolicyRefused(
            Reason.POLICY_NOISE,
            "plan.noise.epsilon",
            "unbounded",
            limit.epsilon,
            "ask the operator to add noise",
            relation="above",
        )
    if plan.noise.trust is Trust.SERVER and policy.require.noise.trust is Trust.NONE:
        raise PolicyRefused(
            Reason.POLICY_NOISE,
            "plan.noise.trust",
            plan.noise.trust.value,
            "distributed, since nothing shows a client that the server added any",
            "set require.noise.trust = server in this client's policy if the server is trusted",
        )
    terms = BudgetTerms(plan.dataset.adjacency.value, limit.epsilon, limit.delta)
    source = policy.data or plan.dataset.id
    budget = ClientBudget(source, plan.dataset.id, plan.dataset.unit, terms)
    return Charge.of(budget, [spend_of(Release(event))], LedgerAccountant())


def check_claim(plan: Plan, policy: ClientPolicy, *, cohort: int, length: int) -> None:
    """Raise `PolicyRefused` where all rounds of the plan cost more than the policy allows.

    A plan only says what they are to cost; what they do cost follows from its noise.
    """
    most = policy.require.noise.epsilon
    if not most:
        return
    claim = PrivacyClaim.of(plan, cohort, length)
    if claim is not None and claim.bound.epsilon > most:
        raise PolicyRefused(
            Reason.POLICY_NOISE,
            f"epsilon of all {claim.rounds} rounds of a run by plan.noise",
            upwards(claim.bound.epsilon, 3),
            most,
            "ask the operator for more noise, or fewer rounds",
            relation="above",
        )


def check_accepts(plan: Plan, policy: ClientPolicy, *, cohort: int, length: int) -> None:
    """Raise what a client with this policy would, asked to a first round, nothing spent before.

    `PolicyRefused`, or `BudgetExhausted` where its budget does not hold a single round.
    """
    policy.check(plan, threshold=plan.quorum(cohort).threshold, cohort=cohort)
    check_claim(plan, policy, cohort=cohort, length=length)
    charge = client_charge(plan, policy, cohort=cohort, length=length)
    if charge is None:
        return
    terms = charge.budget.terms
    one = charge.accountant.epsilon(charge.spends, terms)
    if one > terms.epsilon:
        raise BudgetExhausted(
            f'policy.budget."{plan.dataset.id}".epsilon = {downwards(terms.epsilon)} does not hold '
            f"one round, which costs {upwards(one)}: ask the operator for more noise, or raise it"
        )


def _secrecy(plan: Plan) -> SampleSecrecy:
    hidden = plan.noise.trust is Trust.SERVER
    return SampleSecrecy.HIDDEN if hidden else SampleSecrecy.SEEN


def _sample(plan: Plan, secrecy: SampleSecrecy) -> Sample:
    """A unit is in the sample when one of its clients is; all that it adds is then counted."""
    scheme, clients = Sampling(plan.sampling.scheme), plan.update.max_clients_per_unit
    rate = plan.sampling.rate
    if clients > 1 and rate < 1:
        rate = math.nextafter(-math.expm1(clients * math.log1p(-rate)), 1.0)
    return Sample(scheme, rate, secrecy)


@dataclass(frozen=True, slots=True)
class PrivacyClaim:
    """The (epsilon, delta) of all rounds that a plan allows, for one cohort and length."""

    bound: Bound
    rounds: int
    unit: str
    adjacency: Adjacency
    trust: Trust
    shares: int
    """Honest shares of noise that are counted; 1 where one party's noise is to suffice."""
    sampled: bool
    """Whether who was drawn is hidden, and counts: from those only who see what is released."""
    adapts: bool = False
    """Whether the clip follows a noisy count."""

    @classmethod
    def of(cls, plan: Plan, cohort: int, length: int) -> PrivacyClaim | None:
        """The claim; None for a plan without noise."""
        event = round_event(plan, cohort, length)
        if event is None:
            return None
        release = release_of(plan, event, plan.noise.rounds)
        return cls(
            bound=epsilon_of([release], plan.noise.delta, plan.dataset.adjacency),
            rounds=plan.noise.rounds,
            unit=plan.dataset.unit,
            adjacency=plan.dataset.adjacency,
            trust=plan.noise.trust,
            shares=plan.noise_shares(cohort),
            sampled=plan.sampling.scheme != Sampling.ALL.value
            and release.sample.secrecy is SampleSecrecy.HIDDEN,
            adapts=bool(plan.adaptive.quantile),
        )

    def holds(self) -> tuple[str, ...]:
        """What is promised, a sentence each."""
        epsilon, times = self.bound.epsilon, f"All {self.rounds:,} rounds together"
        if not math.isfinite(epsilon):
            return ()
        against = {
            Trust.SERVER: "whoever sees what the server releases",
            Trust.DISTRIBUTED: "the server and the corrupt clients as well",
            Trust.CLIENT: "whoever sees what a client sends, the server as well",
        }[self.trust]
        told = (
            f"{times} are ({upwards(epsilon, 3)}, {self.bound.delta:g})-differentially private for "
            f"one {self.unit} ({self.adjacency.value}), against {against}: by "
            f"{self.bound.method.value}."
        )
        counted = {
            Trust.SERVER: "The noise is the server's, which is trusted to add it.",
            Trust.DISTRIBUTED: f"The noise of {self.shares:,} honest clients is counted; what "
            "others add comes on top.",
            Trust.CLIENT: "Each client's own noise suffices.",
        }[self.trust]
        if not self.adapts:
            return told, counted
        learnt = (
            f"The clip follows how many {self.unit}s are within it: a count with noise, which that "
            "epsilon includes."
        )
        return told, counted, learnt

    def does_not_hold(self) -> tuple[str, ...]:
        """What a reader might think is promised, and is not."""
        lines = []
        if not math.isfinite(self.bound.epsilon):
            lines.append(
                f"At delta = {self.bound.delta:g} no epsilon holds for all {self.rounds:,} rounds: "
                f"nothing is promised of one {self.unit}."
            )
        if self.sampled:
            lines.append(
                "The amplification by sampling holds for those only who do not see who takes part: "
                "neither for the server nor for clients. How many take part is not noised: those "
                "who are asked are told."
            )
        lines.append(
            "Noise is drawn from AES-CTR, so that all this is computational; what else a client "
            "publishes, and how the plan was tuned, is not counted."
        )
        return tuple(lines)
