"""What differential privacy allows an attack at most, from the plan alone: never tuned to a run."""

from __future__ import annotations

import math

from scipy.stats import beta

from fedprivacy.attacks.auditing.gaussians import auc_bound, power_bound, success_bound
from fedprivacy.dp.events import Adjacency
from fedprivacy.rounds import Plan
from fedprivacy.rounds.rules import Trust

__all__ = ["accuracy_limit", "auc_limit", "mu_of", "power_limit"]

_DEVIATIONS = 4.0
"""Of slack: above, with a chance of 3e-5 for candidates that are independent of each other."""
_ERROR = 3e-5


def mu_of(plan: Plan, releases: int) -> float | None:
    """The mu of so many sums for one unit; None for a plan without noise.

    Noise is taken for a Gaussian's of the counted deviation, and sampling for none at all: Skellam
    and discrete Gaussian noise of the hundreds of steps that plans have differ from it by less than
    any attack shows. Two of one unit's sums add up to the square root of two. Under replace-one, a
    unit changes a sum by twice its norm at most.
    """
    if plan.noise.trust is Trust.NONE:
        return None
    replaced = 2.0 if plan.dataset.adjacency is Adjacency.REPLACE_ONE else 1.0
    return replaced * math.sqrt(releases) / plan.noise.noise_multiplier


def auc_limit(plan: Plan, releases: int, members: int, others: int) -> float | None:
    """The largest area under a ROC curve, with slack for so few candidates; None without noise."""
    mu = mu_of(plan, releases)
    if mu is None:
        return None
    area = auc_bound(mu)
    return min(1.0, area + _DEVIATIONS * math.sqrt(area * (1 - area) / min(members, others)))


def power_limit(plan: Plan, releases: int, level: float, members: int, others: int) -> float | None:
    """The most true positives at this observed rate of false ones; None without noise.

    The true rate is at most what Clopper and Pearson say of so many others.
    """
    mu = mu_of(plan, releases)
    if mu is None:
        return None
    alarms = math.floor(level * others + 1e-9)
    highest = float(beta.ppf(1 - _ERROR, alarms + 1, others - alarms)) if alarms < others else 1.0
    power = power_bound(mu, highest)
    return min(1.0, power + _DEVIATIONS * math.sqrt(power * (1 - power) / members))


def accuracy_limit(plan: Plan, releases: int, members: int, others: int) -> float | None:
    """The best balanced accuracy of any threshold, chosen on the scores; None without noise.

    Slack by Dvoretzky, Kiefer, Wolfowitz and Massart, for both distributions at once.
    """
    mu = mu_of(plan, releases)
    if mu is None:
        return None
    off = [math.sqrt(math.log(4 / _ERROR) / (2 * count)) for count in (members, others)]
    return min(1.0, success_bound(mu) + sum(off) / 2)
