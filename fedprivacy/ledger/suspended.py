# ruff: noqa: A002 - a round is called a round, as in every message and plan.
"""Clients that left memory between two messages: one sealed state each, resumed once.

The sealed bytes go wherever their framework keeps them, and come back as anybody's bytes. Their
digest and their key stay here until they are resumed or another attempt is begun: then both are
gone, and no copy of the state opens any more, not even to whoever takes this store later.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from sqlalchemy import Connection, Integer, bindparam, delete, insert, select, tuple_

from fedprivacy.crypto import Identity, derive, seal, unseal
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger.tables import attempts, suspended
from fedprivacy.randomness import SEED_BYTES, Rng
from fedprivacy.wire import Message, decode, digest, encode

__all__ = ["SealedState", "keep", "seal_state", "sealed_digest", "supersede", "take"]

_VERSION = 1
"""Of what is inside as well: whoever changes the state of any client counts up."""


# Made once, as each message needs them: what makes a statement takes longer than the statement.
_BEGUN = select(attempts.c.round_id).where(
    attempts.c.run_id == bindparam("run_id"),
    attempts.c.round == bindparam("round"),
    attempts.c.attempt == bindparam("attempt"),
)
_BEGUN_SINCE = (
    select(attempts.c.round)
    .where(attempts.c.run_id == bindparam("run_id"))
    .where(
        tuple_(attempts.c.round, attempts.c.attempt)
        > tuple_(bindparam("round", type_=Integer), bindparam("attempt", type_=Integer))
    )
    .limit(1)
)
_SLEEPER = select(suspended).where(suspended.c.digest == bindparam("of"))
_WAKE = delete(suspended).where(suspended.c.digest == bindparam("of"))
_SLEEP = insert(suspended)


class SealedState(Message, frozen=True, tag="sealed-state"):
    """A client's state, under a key of its own."""

    version: Annotated[int, Meta(ge=1, lt=1 << 31)]
    box: Annotated[bytes, Meta(max_length=1 << 31)]


def seal_state(
    state: bytes, round_id: bytes, identity: Identity, *, rng: Rng
) -> tuple[bytes, bytes]:
    """The state as it leaves, and the key that stays."""
    # A key seals one message only, even where a copied machine gives its randomness twice.
    key = derive(rng.bytes(SEED_BYTES), salt=digest("state", state), label="sealed-state")
    box = seal(key, state, associated=_associated(_VERSION, round_id, identity))
    return encode(SealedState(_VERSION, box)), key


def sealed_digest(sealed: bytes) -> bytes:
    """What a store knows a sealed state by."""
    return digest("sealed-state", sealed)


def _associated(version: int, round_id: bytes, identity: Identity) -> bytes:
    who = identity.client_id.encode(), identity.key.public
    return digest("sealed-state-of", version.to_bytes(4, "big"), round_id, *who)


def keep(
    connection: Connection,
    run_id: bytes,
    round: int,
    attempt: int,
    *,
    sealed: bytes,
    key: bytes,
    directory: bytes,
) -> None:
    """Record who sleeps in an attempt that was begun here; else raises `ConfigurationError`."""
    where = {"run_id": run_id, "round": round, "attempt": attempt}
    if connection.execute(_BEGUN, where).first() is None:
        raise ConfigurationError(
            f"round {round}, attempt {attempt} was not begun in this store: suspend a client with "
            "the store that it took part with"
        )
    row = {**where, "digest": sealed_digest(sealed), "key": key, "directory": directory}
    connection.execute(_SLEEP, row)


def take(connection: Connection, sealed: bytes, identity: Identity) -> tuple[bytes, bytes]:
    """The state in these bytes, and the directory that was kept with it: never again.

    Raises `PeerError` (`SEALED_STATE`) for all bytes but those that sleep here.
    """
    # Of untrusted bytes nothing is looked at but the digest.
    this = {"of": sealed_digest(sealed)}
    row = connection.execute(_SLEEPER, this).first()
    if row is None:
        raise _refused("no client sleeps here in this state: it was resumed, or is not from here")
    begun = {"run_id": row.run_id, "round": row.round, "attempt": row.attempt}
    if connection.execute(_BEGUN_SINCE, begun).first() is not None:
        raise _refused("a later attempt was begun since")
    connection.execute(_WAKE, this)
    found = decode(SealedState, sealed, limit=len(sealed))
    if found.version != _VERSION:
        raise _refused(f"a state of version {found.version} where {_VERSION} is resumed")
    round_id = connection.execute(_BEGUN, begun).one().round_id
    try:
        state = unseal(row.key, found.box, associated=_associated(_VERSION, round_id, identity))
    except PeerError:
        raise _refused(f"it is not a state of {identity.client_id} and its key") from None
    return state, row.directory


def supersede(connection: Connection, run_id: bytes) -> None:
    """Whoever sleeps in this run has slept through the beginning of another attempt."""
    connection.execute(delete(suspended).where(suspended.c.run_id == run_id))


def _refused(detail: str) -> PeerError:
    return PeerError(Reason.SEALED_STATE, detail)
