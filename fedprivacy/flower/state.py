"""A client between two messages of a round: sealed, in the state that Flower keeps for its node."""

from __future__ import annotations

from flwr.app import ConfigRecord, Context

from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower.client_folder import ClientFolder
from fedprivacy.flower.records import RECORD
from fedprivacy.randomness import Rng
from fedprivacy.rounds import RoundClient

__all__ = ["forget", "resume", "suspend"]

_SEALED = "sealed"


def suspend(context: Context, client: RoundClient) -> None:
    """Keep the client for the next message; each message may find another process."""
    context.state[RECORD] = ConfigRecord({_SEALED: client.suspend()})


def resume(context: Context, own: ClientFolder, *, rng: Rng) -> RoundClient:
    """The client that was kept, which is kept no longer; raises `PeerError` without one."""
    kept = context.state.pop(RECORD, None)
    sealed = kept.get(_SEALED) if isinstance(kept, ConfigRecord) else None
    if not isinstance(sealed, bytes):
        raise PeerError(Reason.UNEXPECTED, "this client is in no round: it was not invited")
    return RoundClient.resume(sealed, own.policy, own.identity, own.store, rng=rng)


def forget(context: Context) -> None:
    """Erase what is kept of a client."""
    context.state.pop(RECORD, None)
