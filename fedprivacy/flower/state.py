"""A party between two messages of a round: sealed, in the state that Flower keeps for its node."""

from __future__ import annotations

from flwr.app import ConfigRecord, Context

from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower.client_folder import ClientFolder
from fedprivacy.flower.records import RECORD
from fedprivacy.ledger import Role
from fedprivacy.randomness import Rng
from fedprivacy.rounds import RoundClient, RoundMember

__all__ = ["forget", "resume", "resume_member", "suspend"]

_SEALED = "sealed"
_RECORDS = {Role.CLIENT: RECORD, Role.MEMBER: f"{RECORD}.member"}
"""One node may sleep in both roles."""


def suspend(context: Context, party: RoundClient | RoundMember) -> None:
    """Keep the party for the next message; each message may find another process."""
    role = Role.CLIENT if isinstance(party, RoundClient) else Role.MEMBER
    context.state[_RECORDS[role]] = ConfigRecord({_SEALED: party.suspend()})


def resume(context: Context, own: ClientFolder, *, rng: Rng) -> RoundClient:
    """The client that was kept, which is kept no longer; raises `PeerError` without one."""
    sealed, key = _taken(context, Role.CLIENT, "this client was not invited"), own.group_key
    policy, identity, store = own.policy, own.identity, own.store
    return RoundClient.resume(sealed, policy, identity, store, rng=rng, group_key=key)


def resume_member(context: Context, own: ClientFolder, *, rng: Rng) -> RoundMember:
    """As `resume`, of the node as a member of the committee."""
    sealed = _taken(context, Role.MEMBER, "this member was not summoned")
    return RoundMember.resume(sealed, own.policy, own.identity, own.store, rng=rng)


def forget(context: Context, role: Role) -> None:
    """Erase what is kept of a party."""
    context.state.pop(_RECORDS[role], None)


def _taken(context: Context, role: Role, otherwise: str) -> bytes:
    kept = context.state.pop(_RECORDS[role], None)
    sealed = kept.get(_SEALED) if isinstance(kept, ConfigRecord) else None
    if not isinstance(sealed, bytes):
        raise PeerError(Reason.UNEXPECTED, f"in no round: {otherwise}")
    return sealed
