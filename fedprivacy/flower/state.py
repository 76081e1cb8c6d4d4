"""A client between two messages of a round."""

from __future__ import annotations

from flwr.app import Context

from fedprivacy.errors import PeerError, Reason
from fedprivacy.flower.client_folder import ClientFolder
from fedprivacy.flower.records import RECORD
from fedprivacy.randomness import Rng
from fedprivacy.rounds import RoundClient

__all__ = ["forget", "resume", "suspend"]

_LIVE: dict[tuple[int, int], RoundClient] = {}


def suspend(context: Context, client: RoundClient) -> None:
    """Keep the client for the next message."""
    _LIVE[context.run_id, context.node_id] = client


def resume(context: Context, own: ClientFolder, *, rng: Rng) -> RoundClient:
    """The client that was kept, which is kept no longer; raises `PeerError` without one."""
    client = _LIVE.pop((context.run_id, context.node_id), None)
    if client is None:
        raise PeerError(Reason.UNEXPECTED, "this client is in no round: it was not invited")
    return client


def forget(context: Context) -> None:
    """Erase what is kept of a client."""
    context.state.pop(RECORD, None)
    _LIVE.pop((context.run_id, context.node_id), None)
