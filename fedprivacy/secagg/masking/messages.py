"""The messages of masked aggregation, in the order in which they are sent."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.arithmetic import limbs_of
from fedprivacy.secagg.cohort import DEPTH, MAX_COHORT, ClientId, Digest, Membership
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.uploads import MAX_CHUNK_BYTES, Check
from fedprivacy.wire import Message, Record, encode

__all__ = [
    "ACKNOWLEDGEMENT_BYTES",
    "BOX_BYTES",
    "SALT_BYTES",
    "SECRET_BYTES",
    "SHARE_BYTES",
    "AcknowledgedInput",
    "AcknowledgedSurvivors",
    "ConsistencySignature",
    "Inclusion",
    "InclusionSignatures",
    "KeyAdvertisement",
    "MaskedInput",
    "Neighbourhood",
    "OpenedShare",
    "PlacedEntry",
    "Roster",
    "RosterEntry",
    "SealedBox",
    "SealedShares",
    "ShareDelivery",
    "SurvivorSet",
    "SurvivorSignature",
    "UnmaskRequest",
    "UnmaskShares",
    "client_limit",
    "server_limit",
]

SECRET_BYTES = 32
SALT_BYTES = 16
ACKNOWLEDGEMENT_BYTES = 16
SHARE_BYTES = 4 * limbs_of(SECRET_BYTES)
BOX_BYTES = 2 * (SHARE_BYTES + SALT_BYTES) + 16  # two shares, each with its salt; the AEAD's tag

Index = Annotated[int, Meta(ge=0, lt=MAX_COHORT)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
MaybeSignature = Annotated[bytes, Meta(max_length=64)]
"""64 bytes in the malicious setting, none in the honest-but-curious one."""
Share = Annotated[bytes, Meta(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
Salt = Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
Acknowledgements = Annotated[bytes, Meta(max_length=ACKNOWLEDGEMENT_BYTES * MAX_COHORT)]
"""One after the other, in the order of the members that they are from or for."""


class KeyAdvertisement(Message, frozen=True, tag="key-advertisement"):
    """Client, phase keys: the public halves of its two key pairs for this attempt, signed."""

    seal_key: Key
    mask_key: Key
    signature: MaybeSignature


class RosterEntry(Record, frozen=True):
    """One member as the others see it."""

    membership: Membership
    seal_key: Key
    mask_key: Key
    signature: MaybeSignature

    def leaf(self) -> bytes:
        """What the session's hash covers of this entry."""
        who = self.membership
        return encode(
            RosterLeaf(who.index, who.client_id, self.seal_key, self.mask_key, self.signature)
        )


class RosterLeaf(Record, frozen=True):
    """An entry without the proof of its place."""

    index: Index
    client_id: ClientId
    seal_key: Key
    mask_key: Key
    signature: MaybeSignature


class Roster(Message, frozen=True, tag="roster"):
    """Server, phase shares: everyone who advertised keys, by ascending index."""

    entries: Annotated[tuple[RosterEntry, ...], Meta(max_length=MAX_COHORT)]


class PlacedEntry(Record, frozen=True):
    """One neighbour, its place on the ring, and the proof that it stands there."""

    entry: RosterEntry
    position: Index
    path: Annotated[tuple[Digest, ...], Meta(max_length=DEPTH)]


class Neighbourhood(Message, frozen=True, tag="neighbourhood"):
    """Server, phase shares, sparse graph: the client and its neighbours, by ascending index.

    `root` commits to who stands where on the ring, with which signed keys, and so to the graph.
    """

    size: Annotated[int, Meta(ge=1, le=MAX_COHORT)]
    root: Digest
    entries: Annotated[tuple[PlacedEntry, ...], Meta(max_length=MAX_COHORT)]


class SealedBox(Record, frozen=True):
    """A dealer's shares for one recipient, sealed, and its commitments to them.

    `peer` is the recipient on the way up and the dealer on the way down; `commitments` are that of
    the mask key's share, that of the seed's share and, where inputs are acknowledged, that of the
    dealer's acknowledgement.
    """

    peer: Index
    box: Annotated[bytes, Meta(min_length=BOX_BYTES, max_length=BOX_BYTES)]
    commitments: Annotated[bytes, Meta(min_length=64, max_length=96)]


class SealedShares(Message, frozen=True, tag="sealed-shares"):
    """Client, phase shares: one box for each member that it was shown, itself included."""

    seed_commitment: Digest
    boxes: Annotated[tuple[SealedBox, ...], Meta(max_length=MAX_COHORT)]


class ShareDelivery(Message, frozen=True, tag="share-delivery"):
    """Server, phase input: one box from each dealer to the recipient, itself included, ascending.

    The dealers are the members whose pairwise masks the recipient's input will carry.
    """

    boxes: Annotated[tuple[SealedBox, ...], Meta(max_length=MAX_COHORT)]


class MaskedInput(Message, frozen=True, tag="masked-input"):
    """Client, phase input: closes the upload.

    `unopened` names the dealers whose box did not open, or not to what they committed to.
    """

    checksum: Check
    unopened: Annotated[tuple[Index, ...], Meta(max_length=MAX_COHORT)]


class AcknowledgedInput(MaskedInput, frozen=True, tag="acknowledged-input"):
    """Client, phase input, sparse graph: with its acknowledgement for each dealer but itself."""

    acknowledgements: Acknowledgements


class SurvivorSet(Message, frozen=True, tag="survivor-set"):
    """Server, phase consistency (or unmasking, if honest but curious): whose inputs are summed.

    On a sparse graph, only the recipient and its neighbours among them.
    """

    survivors: Annotated[tuple[Index, ...], Meta(max_length=MAX_COHORT)]


class AcknowledgedSurvivors(SurvivorSet, frozen=True, tag="acknowledged-survivors"):
    """Server, phase consistency, sparse graph: with each one's acknowledgement for the recipient.

    The recipient's own is not among them.
    """

    acknowledgements: Acknowledgements


class ConsistencySignature(Message, frozen=True, tag="consistency-signature"):
    """Client, phase consistency: its signature over the survivors that it was shown."""

    signature: Signature


class Inclusion(Record, frozen=True):
    """A signature that one neighbour of the signer is among the survivors."""

    member: Index
    signature: Signature


class InclusionSignatures(Message, frozen=True, tag="inclusion-signatures"):
    """Client, phase consistency, sparse graph: one for each neighbour that it was shown to survive.

    By ascending index.
    """

    signatures: Annotated[tuple[Inclusion, ...], Meta(max_length=MAX_COHORT)]


class SurvivorSignature(Record, frozen=True):
    """One survivor's signature as relayed."""

    signer: Index
    signature: Signature


class UnmaskRequest(Message, frozen=True, tag="unmask-request"):
    """Server, phase unmasking: the signatures of everyone who signed, by ascending index.

    On a sparse graph, those of the recipient's neighbours that include it.
    """

    signatures: Annotated[tuple[SurvivorSignature, ...], Meta(max_length=MAX_COHORT)]


class OpenedShare(Record, frozen=True):
    """The one share of a dealer that this member reveals, with the salt of its commitment."""

    dealer: Index
    share: Share
    salt: Salt

    def __repr__(self) -> str:
        # t of these, in t logs, would give a secret away.
        return f"OpenedShare(dealer={self.dealer})"


class UnmaskShares(Message, frozen=True, tag="unmask-shares"):
    """Client, phase unmasking: the seed's share of each survivor, the mask key's of each other.

    By ascending index of the dealers.
    """

    shares: Annotated[tuple[OpenedShare, ...], Meta(max_length=MAX_COHORT)]


# The longest honest message: per member, a roster entry with its path, or a box.
_ENTRY_BYTES = 64 + 64 + 3 * 34 + 66 + 34 * DEPTH + 64
_PLACE_BYTES = 64 + 34 * DEPTH


def _met(plan: SumPlan) -> int:
    """How many members, itself included, a client has to do with."""
    return min(plan.cohort_size, plan.degree + 1) if plan.degree else plan.cohort_size


def server_limit(plan: SumPlan) -> int:
    """The most bytes that an honest server sends to a client in one message."""
    return 256 + _met(plan) * (_ENTRY_BYTES + (_PLACE_BYTES if plan.degree else 0))


def client_limit(plan: SumPlan) -> int:
    """The most bytes that an honest client sends to the server in one message."""
    commitments = 96 if plan.degree else 64
    return 256 + max(MAX_CHUNK_BYTES, _met(plan) * (BOX_BYTES + commitments + 32))
