"""`protocol = "auto"`: which protocol a plan takes for a cohort, and why."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.quorum import choose_quorum, quorum_fault
from fedprivacy.rounds.rules import AUTO, AggregationRules
from fedprivacy.secagg import Adversary, SecAgg, SecAggPlus

__all__ = ["Settled", "settle"]


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan that names its protocol; `why` is empty where it did so from the start."""

    plan: Plan
    why: str


def settle(plan: Plan, cohort_size: int) -> Settled:
    """The plan with the protocol that `auto` stands for in a cohort of n clients.

    SecAgg where only the complete graph withstands the adversary, or where no ring with fewer
    neighbours than n - 1 is safe; SecAgg+ otherwise. Never a weaker adversary than the plan's.
    """
    rules = plan.aggregation
    if rules.protocol != AUTO:
        return Settled(plan, "")
    settled, why = _choice(rules, cohort_size)
    why = f"protocol = {AUTO} takes {settled.protocol} for {cohort_size:,} clients: {why}"
    return Settled(msgspec.structs.replace(plan, aggregation=settled), why)


def _choice(rules: AggregationRules, n: int) -> tuple[AggregationRules, str]:
    replace = msgspec.structs.replace
    complete = replace(rules, protocol=SecAgg.name)
    if rules.adversary is Adversary.MALICIOUS:
        return complete, "only the complete graph withstands a server that lies from the start"
    ring = replace(rules, protocol=SecAggPlus.name)
    if (degree := _safe_degree(ring, n)) is not None:
        return ring, f"a ring on which each has {degree} neighbours, not {n - 1:,}, is safe"
    why = f"no ring with fewer than {n - 1:,} neighbours is safe"
    if rules.adversary is Adversary.HONEST_BUT_CURIOUS:
        return complete, why
    # The complete graph knows no adversary between the two; the stronger one is withstood as well.
    stronger = replace(complete, adversary=Adversary.MALICIOUS)
    return stronger, f"{why}; on the complete graph a malicious server is withstood, which is more"


def _safe_degree(rules: AggregationRules, n: int) -> int | None:
    try:
        quorum = choose_quorum(rules, n)
    except ConfigurationError:
        return None
    fault = quorum_fault(rules, n, quorum.threshold, quorum.degree)
    return None if fault else quorum.degree
