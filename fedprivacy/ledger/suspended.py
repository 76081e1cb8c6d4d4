# ruff: noqa: A002 - a round is called a round, as in every message and plan.
"""Parties that left memory between two messages: one sealed state each, resumed once.

The sealed bytes go wherever their framework keeps them, and come back as anybody's bytes. Their
digest and their key stay here until they are resumed or another attempt is begun: then both are
gone, and no copy of the state opens any more, not even to whoever takes this store later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Integer,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
)

from fedprivacy.crypto import Identity, derive, seal, unseal
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger.tables import attempts, seats, suspended, suspended_members
from fedprivacy.randomness import SEED_BYTES, Rng
from fedprivacy.wire import Message, decode, digest, encode

__all__ = [
    "CLIENTS",
    "MEMBERS",
    "SealedState",
    "Sleepers",
    "keep",
    "seal_state",
    "sealed_digest",
    "supersede",
    "take",
]

_VERSION = 1
"""Of what is inside as well: whoever changes the state of any client counts up."""


@dataclass(frozen=True, slots=True)
class Sleepers:
    """What a store asks about those who sleep in one role; rows have what `suspended` has.

    Made once, as each message needs them: what makes a statement takes longer than the statement.
    """

    begun: Table
    """The attempts that were begun in this role."""
    attempt: Select[Any]
    later: Select[Any]
    sleeper: Select[Any]
    wake: Delete
    sleep: Insert
    of_run: Delete

    @classmethod
    def of(cls, asleep: Table, begun: Table) -> Sleepers:
        run, here = begun.c.run_id == bindparam("run_id"), tuple_(begun.c.round, begun.c.attempt)
        this = asleep.c.digest == bindparam("of")
        at = tuple_(bindparam("round", type_=Integer), bindparam("attempt", type_=Integer))
        return cls(
            begun,
            select(begun.c.round_id).where(run).where(here == at),
            select(begun.c.round).where(run).where(here > at).limit(1),
            select(asleep).where(this),
            delete(asleep).where(this),
            insert(asleep),
            delete(asleep).where(asleep.c.run_id == bindparam("run_id")),
        )


CLIENTS = Sleepers.of(suspended, attempts)
MEMBERS = Sleepers.of(suspended_members, seats)
"""Of a committee: one identity may sleep as both."""


class SealedState(Message, frozen=True, tag="sealed-state"):
    """A party's state, under a key of its own."""

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
    role: Sleepers,
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
    if connection.execute(role.attempt, where).first() is None:
        raise ConfigurationError(
            f"round {round}, attempt {attempt} was not begun in this store: suspend a client with "
            "the store that it took part with"
        )
    row = {**where, "digest": sealed_digest(sealed), "key": key, "directory": directory}
    connection.execute(role.sleep, row)


def take(
    connection: Connection, role: Sleepers, sealed: bytes, identity: Identity
) -> tuple[bytes, bytes]:
    """The state in these bytes, and the directory that was kept with it: never again.

    Raises `PeerError` (`SEALED_STATE`) for all bytes but those that sleep here.
    """
    # Of untrusted bytes nothing is looked at but the digest.
    this = {"of": sealed_digest(sealed)}
    row = connection.execute(role.sleeper, this).first()
    if row is None:
        raise _refused("nobody sleeps here in this state: it was resumed, or is not from here")
    begun = {"run_id": row.run_id, "round": row.round, "attempt": row.attempt}
    if connection.execute(role.later, begun).first() is not None:
        raise _refused("a later attempt was begun since")
    connection.execute(role.wake, this)
    found = decode(SealedState, sealed, limit=len(sealed))
    if found.version != _VERSION:
        raise _refused(f"a state of version {found.version} where {_VERSION} is resumed")
    round_id = connection.execute(role.attempt, begun).one().round_id
    try:
        state = unseal(row.key, found.box, associated=_associated(_VERSION, round_id, identity))
    except PeerError:
        raise _refused(f"it is not a state of {identity.client_id} and its key") from None
    return state, row.directory


def supersede(connection: Connection, role: Sleepers, run_id: bytes) -> None:
    """Whoever sleeps in this run has slept through the beginning of another attempt."""
    connection.execute(role.of_run, {"run_id": run_id})


def _refused(detail: str) -> PeerError:
    return PeerError(Reason.SEALED_STATE, detail)
