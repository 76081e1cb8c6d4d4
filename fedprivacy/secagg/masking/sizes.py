"""What masked aggregation costs a client in bytes, from the very messages that pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedprivacy.crypto import CHECKSUM_BYTES
from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.messages import (
    ACKNOWLEDGEMENT_BYTES,
    BOX_BYTES,
    SALT_BYTES,
    SHARE_BYTES,
    AcknowledgedInput,
    AcknowledgedSurvivors,
    ConsistencySignature,
    Inclusion,
    InclusionSignatures,
    KeyAdvertisement,
    MaskedInput,
    Neighbourhood,
    OpenedShare,
    PlacedEntry,
    Roster,
    RosterEntry,
    SealedBox,
    SealedShares,
    ShareDelivery,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
)
from fedprivacy.secagg.uploads import chunk_sizes
from fedprivacy.wire import Message, Record, encode, path_lengths

__all__ = ["download_sizes", "upload_sizes"]

_32 = bytes(32)
_CHECKSUM = bytes(CHECKSUM_BYTES)
_64 = bytes(64)


def upload_sizes(plan: SumPlan) -> Iterator[tuple[str, int]]:
    """Phase and bytes of each message that one client sends when nobody is lost.

    Fewer members have fewer rows: losses only make it less. What other members do can add to it
    in one place: a client names those whose boxes it could not open, at most 5 bytes each. On a
    sparse graph the indices of neighbours, any in the cohort, are taken at their longest.
    """
    degree, met = plan.degree, _met(plan.cohort_size, plan.degree)
    signs = plan.adversary is not Adversary.HONEST_BUT_CURIOUS
    yield "keys", len(encode(KeyAdvertisement(_32, _32, _64 if signs else b"")))
    box = SealedBox(0, bytes(BOX_BYTES), bytes(96) if signs and degree else _64)
    yield "shares", _with_rows(SealedShares(_32, ()), met, box)
    for size in chunk_sizes(plan.length, plan.modulus_bits):
        yield "input", size
    if signs and degree:
        yield "input", len(encode(AcknowledgedInput(_CHECKSUM, (), _acknowledgements(met))))
        inclusion = Inclusion(0, _64)
        yield "consistency", _with_rows(InclusionSignatures(()), met[1:], inclusion)
    else:
        yield "input", len(encode(MaskedInput(_CHECKSUM, ())))
        if signs:
            yield "consistency", len(encode(ConsistencySignature(_64)))
    share = OpenedShare(0, bytes(SHARE_BYTES), bytes(SALT_BYTES))
    yield "unmasking", _with_rows(UnmaskShares(()), met, share)


def download_sizes(plan: SumPlan, *, id_bytes: int) -> Iterator[tuple[str, int]]:
    """Phase and bytes of each message that the server sends one client when nobody is lost.

    Client ids have `id_bytes` each. Of a sparse graph, indices, places and proofs are taken at
    their longest.
    """
    members, degree = plan.cohort_size, plan.degree
    met = _met(members, degree)
    signs = plan.adversary is not Adversary.HONEST_BUT_CURIOUS
    yield "shares", _shown(members, degree, id_bytes, _64 if signs else b"")
    box = SealedBox(0, bytes(BOX_BYTES), bytes(96) if signs and degree else _64)
    yield "input", _with_rows(ShareDelivery(()), met, box)
    told = (
        AcknowledgedSurvivors(tuple(met), _acknowledgements(met))
        if signs and degree
        else SurvivorSet(tuple(met))
    )
    yield "consistency" if signs else "unmasking", len(encode(told))
    if signs:
        # On a sparse graph a client's own word on itself is not among them.
        signers = met[1:] if degree else met
        yield "unmasking", _with_rows(UnmaskRequest(()), signers, SurvivorSignature(0, _64))


def _met(members: int, degree: int) -> Sequence[int]:
    """The indices of those whom a client has to do with: of neighbours, the longest."""
    return range(members - min(degree + 1, members), members) if degree else range(members)


def _acknowledgements(met: Sequence[int]) -> bytes:
    return bytes(ACKNOWLEDGEMENT_BYTES * (len(met) - 1))


def _shown(members: int, degree: int, id_bytes: int, signature: bytes) -> int:
    """The size of the message that shows a client all members, or its neighbours on the ring."""
    met = _met(members, degree)

    def row(siblings: int) -> Record:
        path = (_32,) * siblings
        entry = RosterEntry(Membership(0, "c" * id_bytes, _32, path), _32, _32, signature)
        return PlacedEntry(entry, members - 1, path) if degree else entry

    message = Neighbourhood(members, _32, ()) if degree else Roster(())
    bare = len(encode(row(0)))
    longer = (
        count * (len(encode(row(siblings))) - bare)
        for count, siblings in _longest_paths(members, len(met))
    )
    return _with_rows(message, met, row(0)) + sum(longer)


def _longest_paths(leaves: int, count: int) -> Iterator[tuple[int, int]]:
    """Of so many leaves those with the longest paths: how many have a path of which length."""
    for some, siblings in sorted(path_lengths(leaves), key=lambda pair: -pair[1]):
        taken = min(len(some), count)
        count -= taken
        yield taken, siblings


def _with_rows(message: Message, indices: Sequence[int], row: Record) -> int:
    """The size of a message, here without its rows, with one row for each of these indices.

    A row's index, zero in `row`, takes one byte to five.
    """
    listed = len(encode(MaskedInput(_CHECKSUM, tuple(indices)))) - len(
        encode(MaskedInput(_CHECKSUM, ()))
    )
    return len(encode(message)) + listed + len(indices) * (len(encode(row)) - 1)
