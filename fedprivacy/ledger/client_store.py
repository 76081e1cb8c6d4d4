# ruff: noqa: A002 - a round is called a round, as in every message and plan.
"""What a client must never forget: whom it trusts, what it began, sent and answered.

Every method commits durably before it returns, so that a caller who then lets bytes leave can die
at any moment; several in `together` do so once, at its end. Processes may share one store: each
mark is a primary key, and exactly one of those who race for it succeeds.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Table, and_, exc, insert, select, tuple_

from fedprivacy.crypto import Identity, has_small_order
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger.budget_events import EpsilonAccountant
from fedprivacy.ledger.client_budget import (
    Charge,
    ClientBudget,
    charge_round,
    charged_so_far,
    check_affordable,
)
from fedprivacy.ledger.client_history import ClientHistory, client_history
from fedprivacy.ledger.heads import SignedHead
from fedprivacy.ledger.storage import AnchoredFile, fact
from fedprivacy.ledger.suspended import keep, seal_state, sealed_digest, supersede, take
from fedprivacy.ledger.tables import (
    answers,
    attempts,
    directories,
    facts,
    heads,
    seats,
    spent,
)
from fedprivacy.randomness import Rng
from fedprivacy.wire import encode

__all__ = ["ClientStore", "Once", "Role"]


class Once(enum.Enum):
    """How often an input may leave."""

    ATTEMPT = "attempt"
    ROUND = "round"


class Role(enum.Enum):
    """As what an identity takes part in an attempt; it may be both."""

    CLIENT = "begin"
    MEMBER = "begin-as-member"
    """Of the committee."""


class ClientStore:
    """One client's durable record, an SQLite file of mode 0600 (or `":memory:"`, for simulations).

    `anchor` is the file that guards against rollback: by default one named after the store in the
    user's folder for state (`fedprivacy.ledger.anchor` says what it cannot see). Raises
    `ConfigurationError` when a path or a mode will not do and `PolicyRefused`
    (`STORE_ROLLED_BACK`) when the store is older than its anchor; so does every method that
    records.
    """

    def __init__(self, path: str | Path, *, anchor: Path | None = None) -> None:
        self._file = AnchoredFile(path, anchor)

    def close(self) -> None:
        """Let go of the file; the store is of no use afterwards."""
        self._file.close()

    def together(self) -> AbstractContextManager[None]:
        """All that is recorded within is committed at the end, and once: nothing may leave before.

        Also where an exception ends it: each method's part is whole, or undone where that raised.
        Other processes wait meanwhile. For one thread; one within another is a part of it.
        """
        return self._file.together()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ClientStore({str(self._file.path)!r})"

    # --- whom this client trusts

    def pin_authority(self, public_key: bytes) -> None:
        """Trust this directory authority from now on, and no other: a pin is never replaced."""
        if has_small_order(public_key):
            raise ConfigurationError(
                f"authority = {public_key.hex()} has small order, so that anybody can sign for it: "
                "ask the authority for its own key"
            )
        with self._file.writing("authority", public_key) as connection:
            pinned = fact(connection, "authority")
            if pinned == public_key:
                return
            if pinned is not None:
                raise ConfigurationError(
                    f"authority = {public_key.hex()} where {pinned.hex()} is pinned: "
                    "enrol with the new authority under a new identity and store"
                )
            connection.execute(insert(facts).values(name="authority", value=public_key))

    def authority(self) -> bytes | None:
        """The pinned authority's public key."""
        with self._file.reading() as connection:
            return fact(connection, "authority")

    def observe_directory(self, epoch: int, digest: bytes) -> None:
        """Record a directory whose signature was verified: epochs only grow, and each is unique.

        `DIRECTORY_STALE` if a later epoch was seen, `DIRECTORY_EQUIVOCATED` if this one was seen
        with another digest.
        """
        with self._file.writing("directory", _number(epoch), digest) as connection:
            latest = select(directories).order_by(directories.c.epoch.desc()).limit(1)
            seen = connection.execute(latest).first()
            if seen is not None and epoch < seen.epoch:
                raise PeerError(
                    Reason.DIRECTORY_STALE, f"epoch {epoch} where {seen.epoch} was already seen"
                )
            if seen is not None and epoch == seen.epoch:
                if digest != seen.digest:
                    raise PeerError(
                        Reason.DIRECTORY_EQUIVOCATED, f"a second directory for epoch {epoch}"
                    )
                return
            connection.execute(insert(directories).values(epoch=epoch, digest=digest))

    # --- what it did in a round

    def begin(
        self,
        run_id: bytes,
        round: int,
        attempt: int,
        round_id: bytes,
        broadcast: bytes,
        terms: bytes,
        *,
        role: Role = Role.CLIENT,
    ) -> None:
        """Take part in one attempt at one round of a run; each only once, and only forwards.

        So in either role. What a member of a committee answers stands beside what a client does.

        `ROUND_SEEN` if this attempt was begun, or a later one at this round, or a later round of
        this run; `ANSWERED` if this client answered an earlier attempt at this round;
        `ATTEMPT_CHANGED` if an earlier attempt at it had other `terms`, the hash of all that a
        round's attempts have in common.
        """
        where = f"round {round}, attempt {attempt}"
        key = {"run_id": run_id, "round": round, "attempt": attempt}
        record = _key_bytes(run_id, round, attempt)
        begun = attempts if role is Role.CLIENT else seats
        with self._file.writing(role.value, *record, round_id, broadcast, terms) as connection:
            seen = connection.execute(
                select(begun.c.round, begun.c.attempt)
                .where(begun.c.run_id == run_id)
                .where(tuple_(begun.c.round, begun.c.attempt) >= (round, attempt))
                .limit(1)
            ).first()
            if seen is not None:
                raise PeerError(
                    Reason.ROUND_SEEN,
                    f"{where} where round {seen.round}, attempt {seen.attempt} was begun",
                )
            if _answered(connection, run_id, round):
                raise PeerError(Reason.ANSWERED, f"{where} where round {round} was answered")
            earlier = select(begun.c.terms).where(_is_round(begun, run_id, round)).limit(1)
            if connection.execute(earlier).scalar() not in (None, terms):
                detail = f"{where} has another plan or cohort than an earlier attempt"
                raise PeerError(Reason.ATTEMPT_CHANGED, detail)
            row = {**key, "round_id": round_id, "broadcast": broadcast, "terms": terms}
            _insert_once(connection, begun, row, Reason.ROUND_SEEN, f"{where} was begun")
            if role is Role.CLIENT:
                supersede(connection, run_id)

    def mark_spent(
        self,
        run_id: bytes,
        round: int,
        attempt: int,
        *,
        once_in: Once = Once.ATTEMPT,
        charge: Charge | None = None,
    ) -> None:
        """The input is about to leave; `SPENT` if it already did in this attempt, or round.

        `charge` is charged with it, once a round and for good. `BudgetExhausted` if the budget does
        not hold it and `POLICY_DATASET` if this data is known by another name: then the input has
        not left, and must not.
        """
        key = {"run_id": run_id, "round": round, "attempt": attempt}
        record = (*_key_bytes(run_id, round, attempt), *(charge.record if charge else ()))
        with self._file.writing("spent", *record) as connection:
            if once_in is Once.ROUND:
                earlier = select(spent.c.attempt).where(_is_round(spent, run_id, round))
                if connection.execute(earlier).first() is not None:
                    detail = f"the input of round {round} was already sent in some attempt"
                    raise PeerError(Reason.SPENT, detail)
            sent = f"the input of round {round}, attempt {attempt} was already sent"
            _insert_once(connection, spent, key, Reason.SPENT, sent)
            if charge is not None:
                charge_round(connection, charge, run_id, round)

    def check_affordable(self, charge: Charge, run_id: bytes, round: int) -> None:
        """Raise as `mark_spent` would if this round, with this charge, were to be sent now."""
        with self._file.reading() as connection:
            check_affordable(connection, charge, run_id, round)

    def charged(self, budget: ClientBudget, accountant: EpsilonAccountant) -> float:
        """Epsilon of all rounds, of all runs, in which this client's data left."""
        with self._file.reading() as connection:
            return charged_so_far(connection, budget, accountant)

    def history(self) -> ClientHistory:
        """Where this client's data left, in all runs, and what that was charged."""
        with self._file.reading() as connection:
            return client_history(connection)

    def mark_answered(
        self,
        run_id: bytes,
        round: int,
        attempt: int,
        broadcast: bytes,
        survivors: Sequence[str],
        floor: int,
    ) -> None:
        """This client is about to sign, or unmask, for this survivor set: once a round.

        `ANSWERED` if it did so in any attempt at the round. `SURVIVORS_OVERLAP` if, in any run, it
        answered under the same broadcast for a set that differs from this one in at least one and
        fewer than `floor` names: the two sums of the same updates would differ by a sum of fewer
        than `floor` clients. Pairs of answers are compared, not combinations of more.
        """
        names = sorted(set(survivors))
        record = (*_key_bytes(run_id, round, attempt), broadcast, *(n.encode() for n in names))
        with self._file.writing("answered", *record) as connection:
            again = f"round {round} was already answered"
            if _answered(connection, run_id, round):
                raise PeerError(Reason.ANSWERED, again)
            _check_overlap(connection, broadcast, names, floor)
            row = {"run_id": run_id, "round": round, "attempt": attempt}
            row |= {"broadcast": broadcast, "survivors": json.dumps(names)}
            _insert_once(connection, answers, row, Reason.ANSWERED, again)

    # --- a client that leaves memory between two messages

    def suspend(
        self,
        run_id: bytes,
        round: int,
        attempt: int,
        round_id: bytes,
        state: bytes,
        *,
        identity: Identity,
        directory: bytes,
        rng: Rng,
    ) -> bytes:
        """A client's state in an attempt that was begun here, sealed: `resume` takes it once.

        The key is drawn from `rng` and stays here, and so does `directory`, which is public and may
        be large.
        """
        sealed, key = seal_state(state, round_id, identity, rng=rng)
        record = (*_key_bytes(run_id, round, attempt), sealed_digest(sealed))
        with self._file.writing("suspend", *record) as connection:
            keep(connection, run_id, round, attempt, sealed=sealed, key=key, directory=directory)
        return sealed

    def resume(self, sealed: bytes, *, identity: Identity) -> tuple[bytes, bytes]:
        """The state in these bytes, and the directory; their key is gone before this returns.

        `SEALED_STATE`, and nothing changed, for any but the bytes that `suspend` last returned for
        this identity: for those that were resumed already, and once a later attempt was begun.
        """
        with self._file.writing("resume", sealed_digest(sealed)) as connection:
            return take(connection, sealed, identity)

    # --- what it was told

    def keep_head(self, signed: SignedHead, *, operator: bytes) -> None:
        """Keep a head of the server's ledger that this operator signed, to be pooled with others'.

        `MALFORMED` if it did not; `RECEIPT_CHANGED` if another operator signs for this ledger, or
        signed another head for this row: the ledger was rewritten or forked.
        """
        if not signed.is_signed_by(operator):
            raise PeerError(Reason.MALFORMED, f"a ledger's head that {operator.hex()} never signed")
        body = encode(signed)
        with self._file.writing("head", body) as connection:
            of_ledger = select(heads).where(heads.c.ledger == signed.ledger)
            first = connection.execute(of_ledger.limit(1)).first()
            if first is not None and first.operator != operator:
                raise PeerError(Reason.RECEIPT_CHANGED, "another operator signs for this ledger")
            known = connection.execute(of_ledger.where(heads.c.number == signed.number)).first()
            if known is not None and known.body == body:
                return
            row = {"ledger": signed.ledger, "number": signed.number, "operator": operator}
            rewritten = f"a second head for row {signed.number} of one ledger"
            row["body"] = body
            _insert_once(connection, heads, row, Reason.RECEIPT_CHANGED, rewritten)

    def keep_receipt(self, signed: SignedHead, *, after: bytes) -> None:
        """Keep a head of a later row than one that is kept, whose hash is `after`.

        `RECEIPT_CHANGED` if it is of no later row, another ledger or another operator; else as
        `keep_head`.
        """
        if not any(signed.follows(kept) for kept in self.heads() if kept.head == after):
            detail = f"no later row of the ledger whose head was {after.hex()}, by its operator"
            raise PeerError(Reason.RECEIPT_CHANGED, detail)
        self.keep_head(signed, operator=signed.operator)

    def heads(self) -> tuple[SignedHead, ...]:
        """All heads that were kept, by ledger and row."""
        query = select(heads.c.body).order_by(heads.c.ledger, heads.c.number)
        with self._file.reading() as connection:
            return tuple(SignedHead.decode(body) for (body,) in connection.execute(query))


def _number(value: int) -> bytes:
    if not 0 <= value < 1 << 63:
        raise PeerError(Reason.MALFORMED, f"the number {value} is outside [0, 2**63)")
    return value.to_bytes(8, "big")


def _key_bytes(run_id: bytes, round: int, attempt: int) -> tuple[bytes, bytes, bytes]:
    return run_id, _number(round), _number(attempt)


def _is_round(table: Table, run_id: bytes, round: int) -> ColumnElement[bool]:
    return and_(table.c.run_id == run_id, table.c.round == round)


def _answered(connection: Connection, run_id: bytes, round: int) -> bool:
    query = select(answers.c.attempt).where(_is_round(answers, run_id, round))
    return connection.execute(query).first() is not None


def _check_overlap(connection: Connection, broadcast: bytes, names: list[str], floor: int) -> None:
    earlier = select(answers.c.survivors).where(answers.c.broadcast == broadcast)
    for (known,) in connection.execute(earlier):
        apart = len(set(names).symmetric_difference(json.loads(known)))
        if 0 < apart < floor:
            raise PeerError(
                Reason.SURVIVORS_OVERLAP,
                f"{apart} names from a set answered under this broadcast, where {floor} is the "
                "least",
            )


def _insert_once(
    connection: Connection, table: Table, row: dict[str, Any], reason: Reason, detail: str
) -> None:
    try:
        connection.execute(insert(table).values(row))
    except exc.IntegrityError:
        raise PeerError(reason, detail) from None
