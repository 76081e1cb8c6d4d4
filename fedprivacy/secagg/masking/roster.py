"""What a client checks of a roster before it deals a share to anyone in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fedprivacy.crypto import Directory, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.keys import KEYS_LABEL, signed_keys
from fedprivacy.secagg.masking.messages import KeyAdvertisement, RosterEntry

__all__ = ["check_keys", "check_roster"]


def check_keys(
    plan: SumPlan, index: int, client_id: str, keys: KeyAdvertisement, directory: Directory | None
) -> None:
    """Raise unless a member's round keys are signed by its enrolled identity for this round.

    Honest but curious, nobody signs and a signature has no place. Raises `PeerError`:
    `NOT_ENROLLED`, `KEY_SIGNATURE`.
    """
    if plan.adversary is Adversary.HONEST_BUT_CURIOUS:
        if keys.signature:
            raise PeerError(Reason.KEY_SIGNATURE, "this setting has no signatures", (client_id,))
        return
    identity = directory.key_of(client_id) if directory is not None else None
    if identity is None:
        raise PeerError(Reason.NOT_ENROLLED, f"{client_id} is not enrolled", (client_id,))
    signed = signed_keys(plan, index, keys.seal_key, keys.mask_key)
    if not verify(identity, keys.signature, KEYS_LABEL, *signed):
        detail = f"{client_id}'s round keys are not signed for this round"
        raise PeerError(Reason.KEY_SIGNATURE, detail, (client_id,))


def check_roster(
    plan: SumPlan,
    entries: Sequence[RosterEntry],
    own: RosterEntry | None,
    *,
    least: int,
    directory: Directory | None,
) -> None:
    """Raise unless the roster is one that this client may deal shares to.

    Distinct members of the committed cohort, at least `least` of them, each with keys
    signed for this very round, this client among them with the keys that it sent. Raises
    `PeerError`: `ROSTER_SIZE`, `NON_CANONICAL`, `DUPLICATE_MEMBER`, `COHORT_PROOF`, `OWN_ENTRY`,
    and those of `check_keys`.
    """
    if not least <= len(entries) <= plan.cohort_size:
        detail = f"{len(entries)} members where {least} to {plan.cohort_size} are allowed"
        raise PeerError(Reason.ROSTER_SIZE, detail)
    indices = [entry.membership.index for entry in entries]
    if any(a >= b for a, b in pairwise(indices)):
        raise PeerError(Reason.NON_CANONICAL, "the roster is not in ascending order")
    names = {entry.membership.client_id for entry in entries}
    keys = {key for entry in entries for key in (entry.seal_key, entry.mask_key)}
    if len(names) != len(entries) or len(keys) != 2 * len(entries):
        raise PeerError(Reason.DUPLICATE_MEMBER, "two members share a name or a key")
    if own not in entries:
        raise PeerError(Reason.OWN_ENTRY, "this client is not in the roster with its own keys")
    for entry in entries:
        who = entry.membership
        if not who.proves(plan.cohort_root, plan.cohort_size):
            detail = f"{who.client_id} is not proven to be in the committed cohort"
            raise PeerError(Reason.COHORT_PROOF, detail)
        keys_of = KeyAdvertisement(entry.seal_key, entry.mask_key, entry.signature)
        check_keys(plan, who.index, who.client_id, keys_of, directory)
