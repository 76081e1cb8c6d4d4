"""Dealing shares to the members, and opening those that others dealt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from msgspec import Meta

from fedprivacy.arithmetic import limbs_of, share_from_bytes, share_to_bytes, split
from fedprivacy.crypto import seal, unseal
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.masking.keys import (
    Secret,
    acknowledgement_commitment,
    box_key,
    seed_commitment,
    share_commitment,
)
from fedprivacy.secagg.masking.messages import (
    SALT_BYTES,
    SECRET_BYTES,
    SHARE_BYTES,
    Salt,
    SealedBox,
    SealedShares,
    Share,
)
from fedprivacy.wire import DIGEST_BYTES, Record, digest

__all__ = ["HeldShares", "deal", "open_box"]

_PART = SHARE_BYTES + SALT_BYTES


class HeldShares(Record, frozen=True):
    """One dealer's shares in a member's hands: of each secret, the share and its salt.

    `acknowledgement` is the dealer's commitment to one, empty where inputs are not acknowledged.
    """

    shares: tuple[Share, Share]
    salts: tuple[Salt, Salt]
    acknowledgement: Annotated[bytes, Meta(max_length=DIGEST_BYTES)]

    def __repr__(self) -> str:
        return "<shares>"


def _associated(session: bytes, dealer: int, recipient: int, commitments: bytes) -> bytes:
    parties = dealer.to_bytes(4, "big") + recipient.to_bytes(4, "big")
    return digest("secagg/box", session, parties, commitments)


def deal(
    session: bytes,
    dealer: int,
    secrets: Mapping[Secret, bytes],
    channels: Mapping[int, bytes],
    acknowledgements: Mapping[int, bytes],
    *,
    threshold: int,
    coefficients: Keystream,
    salts: Keystream,
) -> SealedShares:
    """Share each secret among the members of `channels`, t of whom recover it, and seal the shares.

    `channels` are by index, ascending: what the dealer's seal key and the member's agree on. The
    member with index i stands at the point i + 1, in every attempt. `acknowledgements`, where there
    are any, are committed to as well. Source: Bonawitz et al., CCS 2017, figure 4, round 1
    (ShareKeys); the commitments are ours.
    """
    points = np.array([recipient + 1 for recipient in channels], dtype=np.uint64)
    # > [BIK+17, round 1] generate t-out-of-|U1| shares of s_u^SK and of b_u
    dealt = split([secrets[s] for s in Secret], threshold, points, stream=coefficients)
    boxes = []
    for row, (recipient, shared) in enumerate(channels.items()):
        plaintext, commitments = b"", b""
        for secret, shares in zip(Secret, dealt, strict=True):
            share, salt = share_to_bytes(shares[row]), salts.read(SALT_BYTES)
            plaintext += share + salt
            commitments += share_commitment(session, secret, dealer, recipient, share, salt)
        if given := acknowledgements.get(recipient):
            commitments += acknowledgement_commitment(session, dealer, recipient, given)
        # > [BIK+17, round 1] e_{u,v} <- AE.enc(KA.agree(c_u^SK, c_v^PK), u || v || shares)
        key = box_key(session, shared, dealer, recipient)
        associated = _associated(session, dealer, recipient, commitments)
        boxes.append(SealedBox(recipient, seal(key, plaintext, associated=associated), commitments))
    return SealedShares(seed_commitment(session, dealer, secrets[Secret.SEED]), tuple(boxes))


def open_box(session: bytes, recipient: int, shared: bytes, box: SealedBox) -> HeldShares:
    """The shares in a dealer's box; `shared` is what its seal key and the recipient's agree on.

    Raises `PeerError` unless all is as committed: `SHARE_UNOPENED`, and `MALFORMED` for what is no
    share at all: the holder of such a one would stand there as the liar when it reveals it. The
    commitments are authenticated with the box, so the relay cannot exchange them.
    """
    dealer = box.peer
    key = box_key(session, shared, dealer, recipient)
    associated = _associated(session, dealer, recipient, box.commitments)
    plaintext = unseal(key, box.box, associated=associated)
    shares, salts = [], []
    for secret in Secret:
        part = plaintext[secret * _PART : (secret + 1) * _PART]
        share, salt = part[:SHARE_BYTES], part[SHARE_BYTES:]
        committed = box.commitments[secret * 32 : (secret + 1) * 32]
        if share_commitment(session, secret, dealer, recipient, share, salt) != committed:
            raise PeerError(Reason.SHARE_UNOPENED, f"a share of {dealer} is not as committed")
        share_from_bytes(share, limbs_of(SECRET_BYTES))
        shares.append(share)
        salts.append(salt)
    return HeldShares((shares[0], shares[1]), (salts[0], salts[1]), box.commitments[64:])
