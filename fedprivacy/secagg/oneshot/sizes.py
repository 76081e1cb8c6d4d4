"""What one-shot aggregation costs in bytes and work, from the very messages that pass."""

from __future__ import annotations

from collections.abc import Iterator

from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.oneshot.messages import (
    CommitteeEntry,
    CommitteeRoster,
    SealedInput,
    box_bytes,
)
from fedprivacy.secagg.oneshot.parameters import committee_of, parameters_of
from fedprivacy.secagg.uploads import chunk_sizes
from fedprivacy.secagg.work import Work
from fedprivacy.wire import encode, path_lengths

__all__ = ["count_member_work", "count_work", "download_sizes", "upload_sizes"]

_32 = bytes(32)
_64 = bytes(64)


def upload_sizes(plan: SumPlan) -> Iterator[tuple[str, int]]:
    """Phase and bytes of each message that one client sends when no member is lost."""
    parameters = parameters_of(plan)
    for size in chunk_sizes(parameters.coefficients, parameters.bits):
        yield "input", size
    boxes = (bytes(box_bytes(parameters)),) * committee_of(plan).size
    yield "input", len(encode(SealedInput(_32, _32, _64, boxes)))


def download_sizes(plan: SumPlan, *, id_bytes: int) -> Iterator[tuple[str, int]]:
    """Phase and bytes of the one message that the server sends a client; ids have `id_bytes`."""
    size = committee_of(plan).size
    entries = [
        CommitteeEntry(Membership(leaf, "c" * id_bytes, _32, (_32,) * siblings), _32, _64)
        for leaves, siblings in path_lengths(size)
        for leaf in leaves
    ]
    yield "input", len(encode(CommitteeRoster(tuple(entries))))


def count_work(plan: SumPlan, *, lost: int) -> tuple[Work, Work]:
    """What one client does, and the server if `lost` clients vanish before their input."""
    parameters, size = parameters_of(plan), committee_of(plan).size
    n, present = plan.cohort_size, plan.cohort_size - lost
    client = Work(
        key_pairs=1,
        agreements=size,
        signatures=1,
        verifications=size,
        proof_steps=n.bit_length() + size * size.bit_length(),
        key_shares_dealt=size,
        coefficients_encrypted=parameters.coefficients,
    )
    server = Work(
        verifications=n + 2 * size,
        proof_steps=4 * (n + size),
        rows=2 * size * (n + size),
        coefficients_folded=present * parameters.coefficients,
        keys_recovered=1,
        coefficients_decrypted=parameters.coefficients,
        values_released=plan.length,
    )
    return client, server


def count_member_work(plan: SumPlan, *, lost: int) -> Work:
    """What one member does if `lost` clients vanish before their input."""
    size, present = committee_of(plan).size, plan.cohort_size - lost
    return Work(
        key_pairs=1,
        agreements=present,
        signatures=2,
        # Of the roster, of each input, and over the survivors.
        verifications=2 * size + present,
        proof_steps=size * size.bit_length() + present * plan.cohort_size.bit_length(),
        rows=size + present,
        key_shares_opened=present,
    )
