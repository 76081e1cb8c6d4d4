"""Who takes part in a round, and what that means for the rounds of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Keystream, Rng, uniform_below
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.quorum import fewest_clients, quorum_fault
from fedprivacy.rounds.rules import SamplingRules
from fedprivacy.secagg import COMMITTEES, Cohort

__all__ = [
    "cohort_fault",
    "committee_for",
    "draw_committee",
    "drawn",
    "smallest_cohort",
    "weakest_cohort",
]

_COIN = 1 << 53


def drawn(names: Sequence[str], rules: SamplingRules, *, rng: Rng) -> tuple[str, ...]:
    """Who is asked: everyone, or each by a coin of its own that only the server sees."""
    if rules.scheme == "all":
        return tuple(names)
    bar = rules.rate * _COIN
    coins = uniform_below(_COIN, len(names), Keystream(rng.bytes(SEED_BYTES)))
    return tuple(name for name, coin in zip(names, coins, strict=True) if coin < bar)


def draw_committee(names: Sequence[str], count: int, *, rng: Rng) -> tuple[str, ...]:
    """So many of a round's clients, each set as likely as another, in the order drawn."""
    stream, left = Keystream(rng.bytes(SEED_BYTES)), list(names)
    return tuple(left.pop(int(uniform_below(len(left), 1, stream)[0])) for _ in range(count))


def committee_for(plan: Plan, clients: Sequence[str], *, rng: Rng) -> Cohort | None:
    """Those whom the plan names, or a sample of these clients; None where nobody opens sums."""
    rules = plan.aggregation
    if rules.protocol not in COMMITTEES:
        return None
    members = rules.committee.members
    if not members:
        members = draw_committee(clients, rules.committee.count, rng=rng)
    return Cohort.of(members, rng=rng.child("salts"))


def cohort_fault(plan: Plan, size: int) -> str | None:
    """Why no round of this plan can be run over so many clients; None if one can."""
    try:
        quorum = plan.quorum(size)
    except ConfigurationError as error:
        return str(error)
    return quorum_fault(plan.aggregation, size, quorum.threshold, quorum.degree)


def smallest_cohort(plan: Plan, enrolled: int) -> int:
    """The fewest clients with whom a round is tried, whichever protocol the plan is settled on."""
    if plan.sampling.scheme == "all":
        return enrolled
    return min(fewest_clients(plan.aggregation), enrolled)


def weakest_cohort(plan: Plan, enrolled: int) -> int:
    """The cohort of which a run's guarantee speaks: what it promises, every round keeps.

    Everyone, where everyone is asked. A Poisson sample has any size: the guarantee is then for the
    cohort whose sums may hold the fewest honest clients, of all cohorts with which a round can run.
    Raises `ConfigurationError` where no round can be run with a sample as large as most are.
    """
    rules = plan.sampling
    if rules.scheme == "all":
        return enrolled
    sizes = range(smallest_cohort(plan, enrolled), enrolled + 1)
    possible = [size for size in sizes if cohort_fault(plan, size) is None]
    if not possible:
        fault = cohort_fault(plan, enrolled)
        raise ConfigurationError(f"plan.aggregation: with all {enrolled} clients, {fault}")
    expected = rules.rate * enrolled
    if expected < possible[0]:
        raise ConfigurationError(
            f"plan.sampling.rate = {rules.rate} draws {expected:.0f} of {enrolled} clients on "
            f"average where a round needs {possible[0]}: enrol more clients, or draw more"
        )
    return min(possible, key=lambda size: plan.quorum(size).honest_in_sum)
