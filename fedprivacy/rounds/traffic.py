"""What a round costs before anything runs: bytes of one client, work of a client and the server."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from fedprivacy.crypto import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds.messages import Envelope, Invitation, Settled
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.quorum import expected_losses
from fedprivacy.rounds.round_plan import VERSION, RoundPlan
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, Membership, SumPlan, Work
from fedprivacy.wire import DIGEST_BYTES, blob_size, encode, path_lengths

__all__ = [
    "LONGEST_ID",
    "download_bytes",
    "member_work",
    "nominal_sum_plan",
    "round_work",
    "upload_bytes",
]

LONGEST_ID = 64
"""Bytes in a client id, at most."""

_HASH = bytes(DIGEST_BYTES)


def upload_bytes(plan: Plan, *, clients: int, length: int) -> dict[str, int]:
    """The bytes of one client's messages in each phase of a round in which nobody is lost.

    `length` is the number of parameters in an update. What carries the messages, such as TLS and
    TCP, is not counted. Raises `ConfigurationError` where no modulus holds the sum.
    """
    protocol = PROTOCOLS[plan.aggregation.protocol]
    return _in_envelopes(protocol.upload_sizes(nominal_sum_plan(plan, clients, length)))


def download_bytes(
    plan: Plan, *, clients: int, length: int, id_bytes: int = LONGEST_ID
) -> dict[str, int]:
    """The bytes of the server's messages to one client, by the phase that each begins.

    Of a first round in which nobody is lost, to the client that is sent most; client ids have
    `id_bytes` each. The model and the directory, which the invitation brings, are not counted.
    """
    protocol, agreed = PROTOCOLS[plan.aggregation.protocol], nominal_sum_plan(plan, clients, length)
    first = next(phase for phase, _ in protocol.upload_sizes(agreed))
    totals = Counter({first: _invitation_bytes(plan, clients, length, id_bytes)})
    totals.update(_in_envelopes(protocol.download_sizes(agreed, id_bytes=id_bytes)))
    if head := _head(plan):
        # A receipt comes after the last phase, and counts to it.
        totals[list(totals)[-1]] += len(encode(Settled(_HASH, head)))
    return dict(totals)


def round_work(plan: Plan, *, clients: int, length: int) -> tuple[Work, Work]:
    """What one client and the server compute in a round that loses what the plan is ready for.

    They are lost before their input. A client that holds units has as many as it may have.
    """
    protocol, lost = (
        PROTOCOLS[plan.aggregation.protocol],
        expected_losses(plan.aggregation, clients),
    )
    client, server = protocol.work(nominal_sum_plan(plan, clients, length), lost=lost)
    units = plan.update.max_units_per_client if plan.protects_units else 1
    return dataclasses.replace(client, values_encoded=units * length), server


def member_work(plan: Plan, *, clients: int, length: int) -> Work | None:
    """What one member of the committee computes in such a round; None without a committee."""
    protocol = COMMITTEES.get(plan.aggregation.protocol)
    if protocol is None:
        return None
    lost = expected_losses(plan.aggregation, clients)
    return protocol.member_work(nominal_sum_plan(plan, clients, length), lost=lost)


def nominal_sum_plan(plan: Plan, clients: int, length: int) -> SumPlan:
    """What a round's protocol would be given; every hash in it is zero."""
    return _round_plan(plan, clients, length).sum_plan()


def _head(plan: Plan) -> bytes:
    """The signed head of a ledger, at its longest, where a budget is charged."""
    if plan.noise.trust is Trust.NONE:
        return b""
    last = (1 << 63) - 1
    return encode(
        SignedHead(bytes(16), last, _HASH, bytes(PUBLIC_KEY_BYTES), bytes(SIGNATURE_BYTES))
    )


def _in_envelopes(sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    around = len(encode(Envelope(_HASH, b""))) - blob_size(0)
    totals: Counter[str] = Counter()
    for phase, size in sizes:
        totals[phase] += around + blob_size(size)
    return dict(totals)


def _invitation_bytes(plan: Plan, clients: int, length: int, id_bytes: int) -> int:
    """The largest invitation of a first attempt: places lie at different depths in the cohort."""
    round_plan = _round_plan(plan, clients, length)
    places = (
        Membership(leaves[-1], "c" * id_bytes, _HASH, (_HASH,) * siblings)
        for leaves, siblings in path_lengths(clients)
    )
    return max(
        len(encode(Invitation(round_plan, place, b"", b"", _head(plan)))) for place in places
    )


def _round_plan(plan: Plan, clients: int, length: int) -> RoundPlan:
    """One of the same size, whatever is hashed in it."""
    quorum = plan.quorum(clients)
    return RoundPlan(
        version=VERSION,
        plan=plan,
        run_id=bytes(16),
        round=1,
        attempt=1,
        nonce=bytes(16),
        cohort_size=clients,
        cohort_root=_HASH,
        committee_root=_HASH,
        directory=_HASH,
        directory_epoch=0,
        broadcast=_HASH,
        ledger_head=_HASH,
        length=length,
        clip=plan.update.clip,
        threshold=quorum.threshold,
        degree=quorum.degree,
        modulus_bits=plan.pipeline(length, clients).modulus_bits(clients),
    )
