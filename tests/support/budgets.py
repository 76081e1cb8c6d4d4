"""An accountant simple enough to be checked by hand, and what tests of the budget share."""

import math

from fedprivacy.ledger import BudgetKey, BudgetLedger, PrivacyEvent, Spend
from fedprivacy.randomness import InsecureTestRng

KEY = BudgetKey("cohort-7", "patient")
RUN = b"r" * 16


class ZcdpAccountant:
    """Gaussians by zero-concentrated DP (Bun, Steinke 2016, Propositions 1.3 and 1.6).

    rho adds up under adaptive composition; epsilon = rho + 2 sqrt(rho ln(1/delta)).
    """

    method = "zCDP"

    def epsilon(self, spends, terms):
        rho = math.fsum(spend.count / (2 * multiplier(spend) ** 2) for spend in spends)
        return rho + 2 * math.sqrt(rho * math.log(1 / terms.delta))


class PlainSum:
    """Pure DP: each event has an epsilon, and they add up; exact for small whole numbers."""

    method = "sum"

    def epsilon(self, spends, terms):
        return math.fsum(spend.count * dict(spend.event.numbers)["epsilon"] for spend in spends)


def multiplier(spend):
    return dict(spend.event.numbers)["noise_multiplier"]


def pure(epsilon, count=1):
    return Spend(PrivacyEvent.of("pure", epsilon=epsilon), count)


def gaussian(noise_multiplier, count=1):
    return Spend(PrivacyEvent.of("gaussian", noise_multiplier=noise_multiplier), count)


def found(place, accountant=None, *, name=0):
    return BudgetLedger.found(
        place,
        clock=lambda: 1_700_000_000,
        accountant=accountant or PlainSum(),
        rng=InsecureTestRng(name),
    )


def opened(ledger, epsilon=10.0, delta=1e-5, key=KEY):
    ledger.open_budget(
        key,
        adjacency="replace-one",
        epsilon=epsilon,
        delta=delta,
        approver="ethics board",
        reason="study 12",
    )
    return ledger
