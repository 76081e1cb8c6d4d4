"""What masked aggregation computes: the operations of one client and of the server, counted."""

from __future__ import annotations

from fedprivacy.arithmetic import PRIME, limbs_of
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.messages import SECRET_BYTES
from fedprivacy.secagg.work import Work

__all__ = ["count_work"]

_SECRETS = 2


def count_work(plan: SumPlan, *, lost: int) -> tuple[Work, Work]:
    """What one client does if nobody is lost, and the server if `lost` vanish before their input.

    Their masks are the most that the server can have to make again. The encoding of the update is
    left to the caller.
    """
    members, degree = plan.cohort_size, plan.degree
    threshold, length = plan.threshold, plan.length
    signs = plan.adversary is not Adversary.HONEST_BUT_CURIOUS
    met = min(degree + 1, members) if degree else members
    return (
        _client(members, met, threshold, length, signs=signs, sparse=degree > 0),
        _server(members, lost, met, threshold, length, signs=signs, sparse=degree > 0),
    )


def _client(n: int, met: int, t: int, length: int, *, signs: bool, sparse: bool) -> Work:
    others, depth = met - 1, (n - 1).bit_length()
    # On a ring a client stops at t signatures, and signs one for each neighbour.
    own_words, words = (others, t) if sparse else (1, met)
    return Work(
        key_pairs=2,
        agreements=met + others,
        signatures=1 + own_words if signs else 0,
        verifications=met + words if signs else 0,
        # The place in the cohort, and that in the roster or on the ring.
        proof_steps=met * depth + (met * depth if sparse else 2 * met),
        boxes_sealed=met,
        boxes_opened=met,
        rows=4 * met + (own_words + words if signs else 0),
        dealing_products=met * t * _SECRETS * limbs_of(SECRET_BYTES),
        mask_seeds=met,
        mask_values=met * length,
        values_packed=length,
    )


def _server(n: int, lost: int, met: int, t: int, length: int, *, signs: bool, sparse: bool) -> Work:
    present = n - lost
    # Of a lost member's neighbours, as many survive as of all.
    torn = lost * (met - 1) * present // max(n - 1, 1)
    masks = present + torn
    groups = n if sparse else 1
    return Work(
        key_pairs=2 * lost,
        agreements=torn,
        verifications=n + (0 if sparse else present) if signs else 0,
        proof_steps=4 * n,
        rows=2 * n * met + present * met + (2 * present * met if signs else 0),
        entries_placed=n * met if sparse else 0,
        shares_checked=present * met,
        # The inverse is a power: a squaring for each bit of the prime.
        basis_products=groups * t * (t + PRIME.bit_length()),
        shares_combined=n * t,
        secrets_recovered=n,
        mask_seeds=masks,
        mask_values=masks * length,
        values_folded=present * length,
        values_released=length,
    )
