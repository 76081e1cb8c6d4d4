"""What one client will send, before anything runs."""

from __future__ import annotations

from fedprivacy.rounds.messages import Envelope
from fedprivacy.rounds.plan import Plan
from fedprivacy.secagg import PROTOCOLS
from fedprivacy.wire import DIGEST_BYTES, blob_size, encode

__all__ = ["upload_bytes"]


def upload_bytes(plan: Plan, *, clients: int, length: int) -> dict[str, int]:
    """The bytes of one client's messages in each phase of a round in which nobody is lost.

    `length` is the number of parameters in an update. What carries the messages, such as TLS and
    TCP, is not counted. Raises `ConfigurationError` where no modulus holds the sum.
    """
    rules, pipeline = plan.aggregation, plan.pipeline(length)
    around = len(encode(Envelope(bytes(DIGEST_BYTES), b""))) - blob_size(0)
    totals: dict[str, int] = {}
    for phase, size in PROTOCOLS[rules.protocol].upload_sizes(
        rules.adversary,
        members=clients,
        degree=plan.quorum(clients).degree,
        length=pipeline.total_length,
        modulus_bits=pipeline.modulus_bits(clients),
    ):
        totals[phase] = totals.get(phase, 0) + around + blob_size(size)
    return totals
