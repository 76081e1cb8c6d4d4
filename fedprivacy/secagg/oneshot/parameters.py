"""The numbers of one-shot aggregation, from how many clients there are and what they may send.

A ciphertext polynomial is c = a s + e + D m mod 2**K, of degree N; each coefficient of m holds
several values (`Slots`, in which nothing wraps). The sum of up to n of them carries an error of at
most E = `most_error`, but with probability 2**-40 over all coefficients. D >= 3 E: so the sum is
exact, and a wrong key is noticed, which leaves errors that are uniform mod D; each of 128 or more
coefficients then has one of at most E with a probability of little more than 2/3. Of the last
polynomial only as many coefficients are sent as hold values: fewer samples of the same problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedprivacy.arithmetic import (
    BINOMIAL_BOUND,
    BINOMIAL_VARIANCE,
    MAX_BITS,
    PRIME,
    Slots,
    modulus_bits,
    sum_tail,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg.cohort import MAX_COHORT
from fedprivacy.secagg.contract import CommitteePlan, SumPlan
from fedprivacy.secagg.oneshot.security import (
    SECURITY_BITS,
    STANDARD_LIMITS,
    Estimate,
    estimate_primal,
)

__all__ = [
    "DEGREE",
    "FAILURE_BITS",
    "LEAST_BITS",
    "MAX_COMMITTEE",
    "OneShotParameters",
    "choose_parameters",
    "committee_of",
    "parameters_of",
]

DEGREE = 4096
LEAST_BITS = 40
FAILURE_BITS = 40
MAX_COMMITTEE = 256
_MARGIN = 3
_LEAST_COEFFICIENTS = 128


@dataclass(frozen=True, slots=True)
class OneShotParameters:
    """What client, committee and server compute with."""

    clients: int
    """n: at most so many ciphertexts are added."""
    length: int
    degree: int
    """N, of the ring Z[X] / (X**N + 1)."""
    bits: int
    """K: of the modulus."""
    values: Slots
    """How values are joined in a coefficient."""
    scale: int
    """D."""
    most_error: int
    """E, of a coefficient of the sum."""
    keys: Slots
    """How coefficients of a key are joined in a field element that is shared."""

    @property
    def per_polynomial(self) -> int:
        """Values in a ciphertext polynomial."""
        return self.values.count * self.degree

    @property
    def polynomials(self) -> int:
        return -(-self.length // self.per_polynomial)

    @property
    def coefficients(self) -> int:
        """That are sent: of the last polynomial those that hold values."""
        whole = self.polynomials - 1
        return whole * self.degree + self.width_of(self.length - whole * self.per_polynomial)

    def width_of(self, values: int) -> int:
        """Coefficients that hold so many values, at most a polynomial's, in whole runs of 128."""
        return -(-values // (self.values.count * _LEAST_COEFFICIENTS)) * _LEAST_COEFFICIENTS

    @property
    def key_elements(self) -> int:
        """Field elements in one share of a key."""
        return -(-self.degree // self.keys.count)

    @property
    def most_key(self) -> int:
        """The largest coefficient that a sum of n keys can have: 42 n."""
        return BINOMIAL_BOUND * self.clients

    def estimate(self) -> Estimate:
        """The cheapest known attack on a key once the sums of keys and errors are known.

        With one other honest client in the sum, what is left of a secret and an error of
        deviation sigma has sigma / sqrt(2): for Gaussians (Hint-LWE, Kim et al., CRYPTO 2023), and
        by assumption for these binomials.
        """
        left = math.sqrt(BINOMIAL_VARIANCE / 2)
        return estimate_primal(self.degree, self.bits, secret_deviation=left, error_deviation=left)


def choose_parameters(
    clients: int, bound: int, length: int, *, degree: int = DEGREE
) -> OneShotParameters:
    """The parameters with the fewest bits a value, for `length` values in [-bound, bound] each.

    Raises `ConfigurationError` where nothing fits, or the standard gives less than 128 bits.
    """
    if not 2 <= clients <= MAX_COHORT:
        raise ConfigurationError(f"{clients} clients are outside [2, {MAX_COHORT}]")
    if bound < 1 or length < 1:
        raise ConfigurationError(
            f"{length} values of absolute value up to {bound}: both are at least 1"
        )
    most = _most_bits(degree)
    fitting = []
    for count in range(1, MAX_BITS + 1):
        values = Slots(bound, clients, count)
        coefficients = -(-length // (count * degree)) * degree
        error = sum_tail(clients, coefficients, FAILURE_BITS)
        bits = max((_MARGIN * error * values.range - 1).bit_length(), LEAST_BITS)
        if bits <= most:
            fitting.append((bits / count, bits, values, error))
    if not fitting:
        raise ConfigurationError(
            f"sums of {clients} values of up to {bound} do not fit a modulus of {most} bits in "
            f"degree {degree}: lower update.value_bits"
        )
    _, bits, values, error = min(fitting, key=lambda fit: fit[:2])
    keys = Slots.fill(BINOMIAL_BOUND, clients, PRIME)
    scale = (1 << bits) // values.range
    return OneShotParameters(clients, length, degree, bits, values, scale, error, keys)


def _most_bits(degree: int) -> int:
    if degree not in STANDARD_LIMITS:
        known = ", ".join(map(str, STANDARD_LIMITS))
        raise ConfigurationError(f"degree {degree} is not in the standard's table: {known}")
    if STANDARD_LIMITS[degree] < LEAST_BITS:
        raise ConfigurationError(
            f"degree {degree} has {SECURITY_BITS} bits of security below a modulus of "
            f"{STANDARD_LIMITS[degree] + 1} bits only, and sums take {LEAST_BITS}: take {DEGREE}"
        )
    return min(STANDARD_LIMITS[degree], MAX_BITS)


def committee_of(plan: SumPlan) -> CommitteePlan:
    """The plan's committee; raises `ConfigurationError` unless it is one that protects.

    Fewer than t members learn nothing: t > c. Each honest member answers for one set of clients, so
    that two sets would take 2 (t - c) of the k - c honest ones: 2 t > k + c rules that out.
    """
    committee = plan.committee
    if committee is None:
        raise ConfigurationError("plan.aggregation.committee is missing: name a committee")
    k, t, c = committee.size, committee.threshold, committee.corrupt
    if not 1 <= t <= k <= MAX_COMMITTEE or c < 0:
        raise ConfigurationError(
            f"a committee of k = {k}, t = {t}, c = {c}: 1 <= t <= k <= {MAX_COMMITTEE}, c >= 0"
        )
    if t <= c or 2 * t <= k + c:
        least = max(c + 1, (k + c) // 2 + 1)
        raise ConfigurationError(
            f"committee.threshold = {t} is below {least}, which {k} members of whom {c} are "
            "corrupt need: raise it"
        )
    return committee


def parameters_of(plan: SumPlan) -> OneShotParameters:
    """The parameters that a plan leads to; raises `ConfigurationError` for a plan that has none."""
    committee_of(plan)
    if plan.min_clients - plan.corrupt < 2:
        raise ConfigurationError(
            f"min_clients = {plan.min_clients} with {plan.corrupt} corrupt leaves a sum with one "
            "honest client, whose key it would show: raise it"
        )
    least = modulus_bits(plan.cohort_size * plan.client_bound)
    if plan.modulus_bits < least:
        raise ConfigurationError(
            f"modulus_bits = {plan.modulus_bits} is below {least}, which sums of "
            f"{plan.cohort_size} values of up to {plan.client_bound} need: raise it"
        )
    return choose_parameters(plan.cohort_size, plan.client_bound, plan.length)
