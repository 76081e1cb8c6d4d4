"""What a plan's noise is worth: the event of one round, derived from the stages that make it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from fedprivacy.accounting import Bound, epsilon_of
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
from fedprivacy.errors import PolicyRefused, Reason
from fedprivacy.ledger import BudgetTerms, Charge, ClientBudget, LedgerAccountant, spend_of
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.rounds.rules import SamplingRules, Trust

__all__ = ["PrivacyClaim", "charge_of", "check_claim", "release_of", "round_event", "rounded_up"]


def round_event(plan: Plan, cohort: int, length: int, clip: float | None = None) -> Event | None:
    """What one round's sum tells of one unit; None where no noise is added.

    Of a cohort of n clients and updates of `length` parameters. One unit may be at several clients:
    its sensitivity is then as many times as large.
    """
    pipeline = plan.pipeline(length, cohort, clip)
    if plan.noise.trust is Trust.SERVER:
        event: Event | None = plan.noise_stage(cohort).event(pipeline.specs[-1])
    else:
        event = event_of(pipeline)
    return None if event is None else _at_several(event, plan.update.max_clients_per_unit)


def _at_several(event: Event, clients: int) -> Event:
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
    return Release(event, _sample(plan.sampling, _secrecy(plan)), rounds)


def charge_of(round_plan: RoundPlan, policy: ClientPolicy) -> Charge | None:
    """What a client charges its own data for one round: in full, as if it were always drawn.

    None where its policy sets no budget at all. Raises `PolicyRefused` where there is none for this
    data set, since the plan names it and whoever could rename it could begin its budget anew, and
    where the plan adds no noise: what an exact sum tells no budget holds.
    """
    plan = round_plan.plan
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
    event = round_event(plan, round_plan.cohort_size, round_plan.length, round_plan.clip)
    if event is None:
        raise PolicyRefused(
            Reason.POLICY_NOISE,
            "plan.noise.epsilon",
            "unbounded",
            limit.epsilon,
            "ask the operator to add noise",
            relation="above",
        )
    terms = BudgetTerms(plan.dataset.adjacency.value, limit.epsilon, limit.delta)
    budget = ClientBudget(plan.dataset.id, plan.dataset.id, plan.dataset.unit, terms)
    return Charge.of(budget, [spend_of(Release(event))], LedgerAccountant())


def check_claim(round_plan: RoundPlan, policy: ClientPolicy) -> None:
    """Raise `PolicyRefused` where all rounds of the plan cost more than the policy allows.

    A plan only says what they are to cost; what they do cost follows from its noise.
    """
    plan, most = round_plan.plan, policy.require.noise.epsilon
    if not most:
        return
    claim = PrivacyClaim.of(plan, round_plan.cohort_size, round_plan.length)
    if claim is not None and claim.bound.epsilon > most:
        raise PolicyRefused(
            Reason.POLICY_NOISE,
            f"epsilon of all {claim.rounds} rounds by plan.noise",
            rounded_up(claim.bound.epsilon),
            most,
            "ask the operator for more noise, or fewer rounds",
            relation="above",
        )


def _secrecy(plan: Plan) -> SampleSecrecy:
    hidden = plan.noise.trust is Trust.SERVER
    return SampleSecrecy.HIDDEN if hidden else SampleSecrecy.SEEN


def _sample(rules: SamplingRules, secrecy: SampleSecrecy) -> Sample:
    return Sample(Sampling(rules.scheme), rules.rate, secrecy)


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
        )

    def holds(self) -> tuple[str, ...]:
        """What is promised, a sentence each."""
        epsilon, times = self.bound.epsilon, f"All {self.rounds:,} rounds together"
        against = {
            Trust.SERVER: "whoever sees what the server releases",
            Trust.DISTRIBUTED: "the server and the corrupt clients as well",
            Trust.CLIENT: "whoever sees what a client sends, the server as well",
        }[self.trust]
        told = (
            f"{times} are ({rounded_up(epsilon)}, {self.bound.delta:g})-differentially private for "
            f"one {self.unit} ({self.adjacency.value}), against {against}: by "
            f"{self.bound.method.value}."
        )
        counted = {
            Trust.SERVER: "The noise is the server's, which is trusted to add it.",
            Trust.DISTRIBUTED: f"The noise of {self.shares:,} honest clients is counted; what "
            "others add comes on top.",
            Trust.CLIENT: "Each client's own noise suffices.",
        }[self.trust]
        return told, counted

    def does_not_hold(self) -> tuple[str, ...]:
        """What a reader might think is promised, and is not."""
        lines = []
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


def rounded_up(epsilon: float) -> str:
    """An epsilon in three figures, upwards: what is printed must hold."""
    if not math.isfinite(epsilon):
        return "infinity"
    digits = 2 - math.floor(math.log10(epsilon)) if epsilon > 0 else 0
    return f"{math.ceil(epsilon * 10**digits) / 10**digits:.{max(digits, 0)}f}"
