"""What a client and a member of a committee check alike before they take part in an attempt."""

from __future__ import annotations

from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger import ClientStore, SignedHead
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.secagg import COMMITTEES, Adversary, Membership
from fedprivacy.wire import DIGEST_BYTES

__all__ = [
    "check_directory",
    "check_ledger",
    "check_place",
    "check_server_apart",
    "check_willing",
]

_NONE = bytes(DIGEST_BYTES)


def check_place(place: Membership, root: bytes, size: int, identity: Identity, where: str) -> None:
    """Raise `PeerError` (`COHORT_PROOF`) unless this is the identity's place under the root."""
    if place.client_id != identity.client_id:
        raise PeerError(Reason.COHORT_PROOF, f"the invitation is for {place.client_id}")
    if not place.proves(root, size):
        raise PeerError(Reason.COHORT_PROOF, f"this client is not in the committed {where}")


def check_directory(
    plan: RoundPlan, data: bytes, identity: Identity, store: ClientStore
) -> Directory | None:
    """The directory that the plan names, signed by the pinned authority and not outdated."""
    if plan.plan.aggregation.adversary is Adversary.HONEST_BUT_CURIOUS:
        if data or (plan.directory, plan.directory_epoch) != (_NONE, 0):
            raise PeerError(Reason.PLAN, "a directory where identities play no part")
        return None
    directory = _signed(data, store)
    if (directory.digest(), directory.epoch) != (plan.directory, plan.directory_epoch):
        detail = "the directory is not the one that the plan names"
        raise PeerError(Reason.DIRECTORY_MISMATCH, detail)
    store.observe_directory(directory.epoch, directory.digest())
    _check_enrolled(directory, identity)
    return directory


def check_willing(
    plan: Plan, data: bytes, policy: ClientPolicy, identity: Identity, store: ClientStore
) -> None:
    """Raise what a round by this plan would be refused for, before there is a round.

    `data` is the directory, empty where identities play no part. Nothing is recorded. As in a
    round, no floor is told to whoever has no directory of the pinned authority.
    """
    if fault := plan.fault():
        raise PeerError(Reason.PLAN, fault)
    if plan.aggregation.adversary is not Adversary.HONEST_BUT_CURIOUS:
        _check_enrolled(_signed(data, store), identity)
    policy.check(plan)


def _signed(data: bytes, store: ClientStore) -> Directory:
    authority = store.authority()
    if authority is None:
        raise ConfigurationError("no authority is pinned: run `fedprivacy pin`")
    directory = Directory.decode(data)
    directory.verify(authority)
    return directory


def _check_enrolled(directory: Directory, identity: Identity) -> None:
    if directory.key_of(identity.client_id) != identity.key.public:
        detail = "this client is not enrolled with its own key"
        raise PeerError(Reason.NOT_ENROLLED, detail)


def check_ledger(plan: RoundPlan, data: bytes) -> SignedHead | None:
    """The head that the plan names, signed: kept, it is held against what comes later."""
    if plan.ledger_head == _NONE:
        if data:
            raise PeerError(Reason.PLAN, "a ledger's head where the plan names none")
        return None
    head = SignedHead.decode(data)
    if head.head != plan.ledger_head or not head.is_signed_by(head.operator):
        raise PeerError(Reason.PLAN, "the ledger's head is not the one that the plan names")
    return head


def check_server_apart(
    plan: RoundPlan, directory: Directory | None, head: SignedHead | None
) -> None:
    """Raise `PeerError` (`COMMITTEE`) where the key that signs for the server is enrolled.

    A committee is to hold the server in check: it must not be one of its members. Nothing shows
    that it has no enrolled identity with another key; that is for the directory's authority.
    """
    if plan.plan.aggregation.protocol not in COMMITTEES or directory is None or head is None:
        return
    if any(key == head.operator for _, key in directory.entries):
        raise PeerError(Reason.COMMITTEE, "the server's own key is enrolled: it could be a member")
