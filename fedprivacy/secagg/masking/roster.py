"""What a client checks of the members it is shown before it deals a share to any of them."""

from __future__ import annotations

from collections.abc import Sequence

from fedprivacy.crypto import Directory, is_weak, verify
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.masking.keys import KEYS_LABEL, signed_keys
from fedprivacy.secagg.masking.messages import KeyAdvertisement, RosterEntry
from fedprivacy.secagg.masking.neighbours import check_ascending

__all__ = ["check_entries", "check_keys"]


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


def check_entries(
    plan: SumPlan,
    entries: Sequence[RosterEntry],
    own: RosterEntry,
    *,
    directory: Directory | None,
) -> None:
    """Raise unless these are members that this client may deal shares to.

    Distinct members of the committed cohort, each with keys signed for this very round, this
    client among them with the keys that it sent. Raises `PeerError`: `NON_CANONICAL`,
    `DUPLICATE_MEMBER`, `OWN_ENTRY`, `COHORT_PROOF`, `WEAK_KEY`, and those of `check_keys`.
    """
    check_ascending([entry.membership.index for entry in entries])
    names = {entry.membership.client_id for entry in entries}
    keys = {key for entry in entries for key in (entry.seal_key, entry.mask_key)}
    if len(names) != len(entries) or len(keys) != 2 * len(entries):
        raise PeerError(Reason.DUPLICATE_MEMBER, "two members share a name or a key")
    if own not in entries:
        raise PeerError(Reason.OWN_ENTRY, "this client is not shown with its own keys")
    for entry in entries:
        who = entry.membership
        if not who.proves(plan.cohort_root, plan.cohort_size):
            detail = f"{who.client_id} is not proven to be in the committed cohort"
            raise PeerError(Reason.COHORT_PROOF, detail)
        keys_of = KeyAdvertisement(entry.seal_key, entry.mask_key, entry.signature)
        check_keys(plan, who.index, who.client_id, keys_of, directory)
    for entry in entries:
        if is_weak(entry.seal_key) or is_weak(entry.mask_key):
            name = entry.membership.client_id
            raise PeerError(Reason.WEAK_KEY, f"{name} has a key of small order")
