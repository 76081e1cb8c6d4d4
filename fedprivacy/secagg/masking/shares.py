"""Dealing shares to the members, and opening those that others dealt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedprivacy.arithmetic import limbs_of, share_from_bytes, share_to_bytes, split
from fedprivacy.crypto import agree, seal, unseal
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.masking.keys import (
    Secret,
    box_key,
    seed_commitment,
    share_commitment,
)
from fedprivacy.secagg.masking.messages import (
    SALT_BYTES,
    SECRET_BYTES,
    SHARE_BYTES,
    RosterEntry,
    SealedBox,
    SealedShares,
)
from fedprivacy.wire import digest

__all__ = ["HeldShares", "deal", "open_box"]

_PART = SHARE_BYTES + SALT_BYTES


@dataclass(frozen=True, slots=True)
class HeldShares:
    """One dealer's shares in a member's hands: of each secret, the share and its salt."""

    shares: tuple[bytes, bytes] = field(repr=False)
    salts: tuple[bytes, bytes] = field(repr=False)


def _associated(session: bytes, dealer: int, recipient: int, commitments: bytes) -> bytes:
    parties = dealer.to_bytes(4, "big") + recipient.to_bytes(4, "big")
    return digest("secagg/box", session, parties, commitments)


def deal(
    session: bytes,
    dealer: int,
    secrets: Mapping[Secret, bytes],
    seal_private: bytes,
    roster: Sequence[RosterEntry],
    *,
    threshold: int,
    coefficients: Keystream,
    salts: Keystream,
) -> SealedShares:
    """Share each secret among all members, t of whom recover it, and seal the shares.

    The member with index i stands at the point i + 1, in every attempt. Source: Bonawitz et al.,
    CCS 2017, figure 4, round 1 (ShareKeys); the commitments are ours.
    """
    points = np.array([entry.membership.index + 1 for entry in roster], dtype=np.uint64)
    # > [BIK+17, round 1] generate t-out-of-|U1| shares of s_u^SK and of b_u
    dealt = split([secrets[s] for s in Secret], threshold, points, stream=coefficients)
    boxes = []
    for row, entry in enumerate(roster):
        recipient = entry.membership.index
        plaintext, commitments = b"", b""
        for secret, shares in zip(Secret, dealt, strict=True):
            share, salt = share_to_bytes(shares[row]), salts.read(SALT_BYTES)
            plaintext += share + salt
            commitments += share_commitment(session, secret, dealer, recipient, share, salt)
        # > [BIK+17, round 1] e_{u,v} <- AE.enc(KA.agree(c_u^SK, c_v^PK), u || v || shares)
        key = box_key(session, agree(seal_private, entry.seal_key), dealer, recipient)
        associated = _associated(session, dealer, recipient, commitments)
        boxes.append(SealedBox(recipient, seal(key, plaintext, associated=associated), commitments))
    return SealedShares(seed_commitment(session, dealer, secrets[Secret.SEED]), tuple(boxes))


def open_box(
    session: bytes, dealer: RosterEntry, recipient: int, seal_private: bytes, box: SealedBox
) -> HeldShares:
    """The shares in a dealer's box; raises `PeerError` unless all is as committed.

    `SHARE_UNOPENED`, and `MALFORMED` for what is no share at all: the holder of such a one would
    stand there as the liar when it reveals it. The commitments are authenticated with the box, so
    the relay cannot exchange them.
    """
    index, name = dealer.membership.index, dealer.membership.client_id
    key = box_key(session, agree(seal_private, dealer.seal_key), index, recipient)
    associated = _associated(session, index, recipient, box.commitments)
    plaintext = unseal(key, box.box, associated=associated)
    shares, salts = [], []
    for secret in Secret:
        part = plaintext[secret * _PART : (secret + 1) * _PART]
        share, salt = part[:SHARE_BYTES], part[SHARE_BYTES:]
        committed = box.commitments[secret * 32 : (secret + 1) * 32]
        if share_commitment(session, secret, index, recipient, share, salt) != committed:
            raise PeerError(Reason.SHARE_UNOPENED, "a share is not as committed", (name,))
        share_from_bytes(share, limbs_of(SECRET_BYTES))
        shares.append(share)
        salts.append(salt)
    return HeldShares((shares[0], shares[1]), (salts[0], salts[1]))
