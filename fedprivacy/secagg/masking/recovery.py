"""The server's last step: secrets from shares, and the masks that they take off the sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import (
    combine,
    lagrange_at_zero,
    limbs_of,
    secret_from_limbs,
    share_from_bytes,
)
from fedprivacy.crypto import KeyPair
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.secagg.masking.keys import (
    Secret,
    pairwise_seed,
    seed_commitment,
    self_seed,
    share_commitment,
)
from fedprivacy.secagg.masking.masks import Term
from fedprivacy.secagg.masking.messages import (
    SECRET_BYTES,
    OpenedShare,
    RosterEntry,
    SealedBox,
    SealedShares,
    UnmaskShares,
)
from fedprivacy.secagg.masking.neighbours import check_ascending
from fedprivacy.secagg.pool import map_ahead

__all__ = ["Dealt", "check_shares", "mask_terms", "recover_secrets"]


@dataclass(frozen=True, slots=True)
class Dealt:
    """What one dealer committed to, its boxes by recipient."""

    seed_commitment: bytes
    boxes: Mapping[int, SealedBox]

    @classmethod
    def of(cls, message: SealedShares) -> Dealt:
        return cls(message.seed_commitment, {box.peer: box for box in message.boxes})


def check_shares(
    session: bytes,
    responder: int,
    answer: UnmaskShares,
    *,
    dealt: Mapping[int, Dealt],
    survivors: frozenset[int],
    unopened: frozenset[int],
) -> dict[int, NDArray[np.uint64]]:
    """A responder's shares by dealer, each held against what the dealer committed to.

    `dealt` are those who dealt to this responder. Raises `PeerError`: `NON_CANONICAL` for dealers
    that do not ascend, `UNEXPECTED` for a share of nobody who dealt, `SHARE_MISSING` for one that
    the responder had accepted and now withholds, `SHARE_COMMITMENT` for another than it was dealt.
    """
    check_ascending([opened.dealer for opened in answer.shares])
    shares = {}
    for opened in answer.shares:
        secret = Secret.SEED if opened.dealer in survivors else Secret.MASK_KEY
        if opened.dealer not in dealt or opened.dealer in unopened:
            raise PeerError(Reason.UNEXPECTED, f"a share of member {opened.dealer} is not due")
        if not _is_committed(session, secret, responder, opened, dealt[opened.dealer]):
            detail = f"the share of member {opened.dealer} is not the one that was dealt"
            raise PeerError(Reason.SHARE_COMMITMENT, detail)
        shares[opened.dealer] = share_from_bytes(opened.share, limbs_of(SECRET_BYTES))
    if missing := sorted(set(dealt) - unopened - set(shares)):
        raise PeerError(Reason.SHARE_MISSING, f"the share of member {missing[0]} is withheld")
    return shares


def _is_committed(
    session: bytes, secret: Secret, responder: int, opened: OpenedShare, dealt: Dealt
) -> bool:
    commitment = share_commitment(
        session, secret, opened.dealer, responder, opened.share, opened.salt
    )
    at = 32 * secret
    box = dealt.boxes.get(responder)
    return box is not None and box.commitments[at : at + 32] == commitment


def recover_secrets(
    session: bytes,
    threshold: int,
    shares: Mapping[int, Mapping[int, NDArray[np.uint64]]],
    *,
    roster: Mapping[int, RosterEntry],
    dealt: Mapping[int, Dealt],
    survivors: frozenset[int],
) -> dict[int, bytes]:
    """Each dealer's one recovered secret: a survivor's seed, another's mask key.

    `shares` are by responder, then by dealer. Raises `RoundAborted`: `SHARE_UNOPENED` where fewer
    than t of those who answered hold a dealer's share, which tells nothing of the dealer, and
    `SHARE_POLYNOMIAL`, with the dealer as culprit, where t shares, all as committed, do not lead to
    its secret.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for dealer in sorted(dealt):
        holders = tuple(sorted(r for r, held in shares.items() if dealer in held)[:threshold])
        if len(holders) < threshold:
            name = roster[dealer].membership.client_id
            detail = f"{len(holders)} members hold a share of {name}, {threshold} are needed"
            raise RoundAborted(Reason.SHARE_UNOPENED, detail)
        groups[holders].append(dealer)
    secrets = {}
    # One Lagrange basis serves every dealer whose shares the same members hold.
    points = np.array(list(groups), dtype=np.uint64).reshape(len(groups), threshold) + np.uint64(1)
    for basis, (holders, dealers) in zip(lagrange_at_zero(points), groups.items(), strict=True):
        table = np.stack([np.stack([shares[h][d] for h in holders]) for d in dealers])
        for dealer, limbs in zip(dealers, combine(basis, table), strict=True):
            kind = Secret.SEED if dealer in survivors else Secret.MASK_KEY
            secrets[dealer] = _checked(session, kind, limbs, roster[dealer], dealt[dealer])
    return secrets


def _checked(
    session: bytes, kind: Secret, limbs: NDArray[Any], entry: RosterEntry, dealt: Dealt
) -> bytes:
    who = entry.membership
    try:
        secret = secret_from_limbs(limbs, SECRET_BYTES)
    except ValueError:
        secret = b""
    if kind is Secret.SEED:
        good = secret and seed_commitment(session, who.index, secret) == dealt.seed_commitment
    else:
        good = secret and KeyPair(secret).public == entry.mask_key
    if not good:
        detail = f"{who.client_id} dealt shares that do not lead to its secret"
        raise RoundAborted(Reason.SHARE_POLYNOMIAL, detail, (who.client_id,))
    return secret


def mask_terms(
    session: bytes,
    secrets: Mapping[int, bytes],
    *,
    roster: Mapping[int, RosterEntry],
    survivors: frozenset[int],
    around: Callable[[int], Iterable[int]],
    pool: Executor | None = None,
) -> Iterator[Term]:
    """The terms that, added to the sum of the masked inputs, leave the sum of the inputs.

    `around` gives a member's neighbours; a `pool` of processes shares the work. Source: Bonawitz et
    al., CCS 2017, figure 4, round 4, last formula.
    """
    for u in sorted(survivors):
        yield Term(-1, self_seed(session, secrets[u], u))
    lost = (
        _Lost(
            session,
            v,
            secrets[v],
            tuple((u, roster[u].mask_key) for u in around(v) if u in survivors),
        )
        for v in sorted(set(secrets) - survivors)
    )
    for terms in map_ahead(_pairwise_terms, lost, pool):
        yield from terms


@dataclass(frozen=True, slots=True)
class _Lost:
    """A member that was lost, its mask key, and the survivors around it with theirs."""

    session: bytes
    member: int
    mask_private: bytes = field(repr=False)
    survivors: tuple[tuple[int, bytes], ...]


def _pairwise_terms(lost: _Lost) -> list[Term]:
    v, pair, terms = lost.member, KeyPair(lost.mask_private), []
    for u, mask_key in lost.survivors:
        seed = pairwise_seed(lost.session, pair.agree(mask_key), u, v)
        # u added +PRG where u < v and -PRG where u > v: the opposite takes it off.
        terms.append(Term(-1 if u < v else +1, seed))
    return terms
