"""A client's key, shared among the committee: dealing, opening, adding up, recovering the sum.

Sums of shares are shares of the sum: the committee opens the sum of the keys and no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import (
    PRIME,
    correct_shares,
    share_from_bytes,
    share_to_bytes,
    split_elements,
)
from fedprivacy.crypto import KeyPair, seal, unseal
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.oneshot.cipher import key_of_elements
from fedprivacy.secagg.oneshot.keys import box_context, box_key
from fedprivacy.secagg.oneshot.messages import FLOOR_BYTES, CommitteeEntry, KeyShare, box_bytes
from fedprivacy.secagg.oneshot.parameters import OneShotParameters

__all__ = ["HeldShare", "add_shares", "deal_key", "open_box", "recover_key"]


class HeldShare(NamedTuple):
    """A client's share in a member's hands."""

    floor: int
    """The client's least number of clients in a sum that holds its vector."""
    share: NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"HeldShare(floor={self.floor})"


def deal_key(
    elements: NDArray[np.uint64],
    committee: Sequence[CommitteeEntry],
    *,
    session: bytes,
    client: int,
    pair: KeyPair,
    ciphertext: bytes,
    floor: int,
    threshold: int,
    coefficients: Keystream,
) -> tuple[bytes, ...]:
    """A box for each member with its share of the key, in their order.

    The member with index i stands at the point i + 1. Source: Stevens et al., "Efficient
    Differentially Private Secure Aggregation for Federated Learning via Hardness of Learning with
    Errors", USENIX Security 2022 (Shamir's sharing of the sum of keys); the bindings are ours.
    """
    points = np.array([entry.membership.index + 1 for entry in committee], dtype=np.uint64)
    shares = split_elements(elements, threshold, points, stream=coefficients)
    boxes = []
    for entry, share in zip(committee, shares, strict=True):
        member = entry.membership.index
        key = box_key(session, pair.agree(entry.seal_key), client, member)
        associated = box_context(session, client, member, ciphertext)
        plaintext = floor.to_bytes(FLOOR_BYTES, "big") + share_to_bytes(share)
        boxes.append(seal(key, plaintext, associated=associated))
    return tuple(boxes)


def open_box(
    message: KeyShare,
    parameters: OneShotParameters,
    *,
    session: bytes,
    member: int,
    pair: KeyPair,
) -> HeldShare:
    """The share in a client's box for this member.

    Raises `PeerError`: `SHARE_UNOPENED`, and `MALFORMED` for what is no share.
    """
    client = message.membership.index
    if len(message.box) != box_bytes(parameters):
        raise PeerError(Reason.SHARE_UNOPENED, f"a box of {len(message.box)} bytes")
    key = box_key(session, pair.agree(message.agreement_key), client, member)
    associated = box_context(session, client, member, message.ciphertext)
    plaintext = unseal(key, message.box, associated=associated)
    floor = int.from_bytes(plaintext[:FLOOR_BYTES], "big")
    share = share_from_bytes(plaintext[FLOOR_BYTES:], parameters.key_elements)
    return HeldShare(floor, share.astype(np.uint32))


def add_shares(shares: Sequence[NDArray[np.uint32]], elements: int) -> bytes:
    """The sum of the shares mod p, in bytes."""
    total: NDArray[Any] = np.zeros(elements, dtype=np.uint64)
    for share in shares:
        total += share
    # At most 2**20 terms of less than 2**32 each: no word has overflowed.
    return share_to_bytes(total % np.uint64(PRIME))


def recover_key(
    answers: Mapping[int, NDArray[np.uint64]],
    parameters: OneShotParameters,
    *,
    threshold: int,
    clients: int,
) -> NDArray[np.int64]:
    """The sum of so many clients' keys from the members' answers, by index.

    With r answers, up to (r - t) / 2 wrong ones are left out. Nobody is blamed: the answer of an
    honest member looks wrong where a client has dealt it a wrong share. Raises `RoundAborted`:
    `SHARES_DISAGREE`, or `SUM_RANGE` where the sum is none of keys.
    """
    members = sorted(answers)
    points = np.array(members, dtype=np.uint64) + np.uint64(1)
    try:
        elements = correct_shares(points, np.stack([answers[m] for m in members]), threshold)
    except ValueError as error:
        raise RoundAborted(Reason.SHARES_DISAGREE, f"of {len(members)} answers: {error}") from None
    try:
        return key_of_elements(elements.secrets, parameters, clients)
    except ValueError:
        detail = f"the recovered key is no sum of {clients} honest ones"
        raise RoundAborted(Reason.SUM_RANGE, detail) from None
