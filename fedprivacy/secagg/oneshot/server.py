"""The server of one-shot aggregation, as a table of phases.

It passes each client's shares on at once, and adds a ciphertext as soon as every member can open
its share; the others wait until it is known whether enough can. It can open nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import share_from_bytes
from fedprivacy.crypto import Directory, is_weak, verify
from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import (
    Aborted,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendToMember,
    SumPlan,
)
from fedprivacy.secagg.masking.messages import (
    ConsistencySignature,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
)
from fedprivacy.secagg.masking.neighbours import check_ascending
from fedprivacy.secagg.oneshot.cipher import open_sum
from fedprivacy.secagg.oneshot.client import as_upload
from fedprivacy.secagg.oneshot.keys import (
    INPUT_LABEL,
    SURVIVORS_LABEL,
    CiphertextDigest,
    check_key,
    polynomial_seed,
    session_id,
    signed_input,
    signed_survivors,
)
from fedprivacy.secagg.oneshot.messages import (
    CommitteeEntry,
    CommitteeKey,
    CommitteeRoster,
    InputsClosed,
    KeyShare,
    KeySum,
    SealedInput,
    ShareOpened,
    UnopenedShares,
    box_bytes,
    client_limit,
)
from fedprivacy.secagg.oneshot.parameters import committee_of, parameters_of
from fedprivacy.secagg.oneshot.shares import recover_key
from fedprivacy.secagg.oneshot.survivors import choose_opening
from fedprivacy.secagg.spooled_sum import MOST_IN_MEMORY, sum_of
from fedprivacy.secagg.uploads import MaskedChunk, UploadsInto
from fedprivacy.wire import decode, encode

__all__ = ["OneShotServer"]


@dataclass(slots=True)
class _Role:
    """Clients or members: by name, and who of them is still heard."""

    index: Mapping[str, int]
    present: set[int]

    @classmethod
    def of(cls, memberships: Iterable[Membership]) -> _Role:
        index = {who.client_id: who.index for who in memberships}
        return cls(index, set(index.values()))

    def names(self, indices: Collection[int]) -> tuple[str, ...]:
        """In the order in which they stand in the cohort."""
        return tuple(name for name, i in self.index.items() if i in indices)


class _Phase(NamedTuple):
    """A row of the table."""

    name: str
    role: _Role
    """Who is waited for."""
    takes: Any
    take: Callable[[int, Any], Iterator[Effect]]
    close: Callable[[], Iterator[Effect]]


class OneShotServer:
    """The server's side.

    `receive` raises `PeerError` with the sender as culprit, who is out of the round from then on;
    a member that is also a client is out in the role in which it spoke.
    """

    def __init__(
        self, plan: SumPlan, cohort: Cohort, committee: Cohort, directory: Directory | None
    ) -> None:
        if directory is None:
            raise ConfigurationError("one-shot aggregation needs a directory: sign one")
        self._plan = plan
        self._parameters = parameters_of(plan)
        self._rules = committee_of(plan)
        if (committee.root, len(committee.members)) != (self._rules.root, self._rules.size):
            raise ConfigurationError("the committee is not the one that the plan commits to")
        if (cohort.root, len(cohort.members)) != (plan.cohort_root, plan.cohort_size):
            # One client more, and sums could run over.
            raise ConfigurationError("the cohort is not the one that the plan commits to")
        self._directory = directory
        self._clients = cohort.memberships()
        self._members = committee.memberships()
        self._as_client, self._as_member = _Role.of(self._clients), _Role.of(self._members)
        self._limit = client_limit(plan, self._parameters)

        self._keys: dict[int, CommitteeEntry] = {}
        self._session = b""
        upload = as_upload(plan, self._parameters)
        self._uploads = UploadsInto(
            upload,
            CiphertextDigest,
            sum_of(upload.length, upload.modulus_bits),
            room=MOST_IN_MEMORY,
        )
        self._arrived: dict[int, bytes] = {}
        """Whose input is here whole, with its digest."""
        self._opened: dict[int, set[int]] = {}
        """By client, who could open its share."""
        self._added: set[int] = set()
        """Whose ciphertext is in the sum."""
        self._unopened: dict[int, frozenset[int]] = {}
        self._survivors: frozenset[int] = frozenset()
        self._signatures: dict[int, bytes] = {}
        self._answers: dict[int, NDArray[np.uint64]] = {}

        self._table = self._build_table()
        self._at = 0
        self._answered: set[int] = set()

    def _build_table(self) -> tuple[_Phase, ...]:
        clients, members = self._as_client, self._as_member
        from_clients = MaskedChunk | SealedInput | ShareOpened
        return (
            _Phase("keys", members, CommitteeKey, self._take_key, self._close_keys),
            _Phase("input", clients, from_clients, self._take_input, self._close_input),
            _Phase(
                "opening",
                members,
                UnopenedShares | ShareOpened,
                self._take_unopened,
                self._close_opening,
            ),
            _Phase(
                "consistency",
                members,
                ConsistencySignature,
                self._take_signature,
                self._close_consistency,
            ),
            _Phase("unmasking", members, KeySum, self._take_answer, self._close_answers),
        )

    # ------------------------------------------------------------------ inputs

    @property
    def phase(self) -> str:
        return self._table[self._at].name if self._at < len(self._table) else "done"

    @property
    def waiting_for(self) -> frozenset[str]:
        if self._at >= len(self._table):
            return frozenset()
        role = self._table[self._at].role
        return frozenset(role.names(role.present - self._answered))

    def exclude(self, client_id: str) -> None:
        self._drop(self._as_client, client_id)

    def exclude_member(self, name: str) -> None:
        self._drop(self._as_member, name)

    def _drop(self, role: _Role, name: str) -> None:
        index = role.index.get(name)
        if index is None or self._at >= len(self._table):
            return
        role.present.discard(index)
        if role is self._table[self._at].role:
            self._answered.discard(index)
        if role is self._as_client and index not in self._arrived:
            self._uploads.drop(index)

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        known = [r for r in (self._as_client, self._as_member) if sender in r.index]
        if not known:
            raise PeerError(Reason.UNKNOWN_SENDER, "not of this round", (sender,))
        if self._at >= len(self._table):
            raise PeerError(Reason.LATE, "the round is over", (sender,))
        row = self._table[self._at]
        if row.role not in known and self._as_member not in known:
            raise PeerError(Reason.LATE, f"not heard in phase {row.name}", (sender,))
        role = row.role if row.role in known else self._as_member
        try:
            taken = decode(row.takes, message, limit=self._limit)
            if isinstance(taken, ShareOpened):
                role = self._as_member
            return iter(tuple(self._take(row, role, sender, taken)))
        except PeerError as error:
            # An input that is here whole stays; its sender is heard no more.
            self._drop(role, sender)
            raise error.blame(sender) from None
        except RoundAborted as error:
            return self._abort(error)

    def _take(self, row: _Phase, role: _Role, sender: str, message: Any) -> Iterator[Effect]:
        index = role.index.get(sender)
        if index is None or index not in role.present:
            raise PeerError(Reason.LATE, f"not heard in phase {row.name}")
        if isinstance(message, ShareOpened):
            return self._take_opened(index, message)
        if role is not row.role:
            raise PeerError(Reason.LATE, f"not asked in phase {row.name}")
        if index in self._answered:
            raise PeerError(Reason.DUPLICATE, f"phase {row.name} is already answered")
        return row.take(index, message)

    def advance(self) -> Iterator[Effect]:
        if self._at >= len(self._table):
            raise ConfigurationError("the round is over: nothing to advance")
        row = self._table[self._at]
        present, least = self._present(row)
        if present < least:
            detail = f"{present} answered phase {row.name}, {least} are needed"
            yield from self._abort(RoundAborted(Reason.TOO_FEW, detail))
            return
        yield Persist(Mark.PHASE, row.name, row.role.names(self._answered))
        if row.role is self._as_member:
            self._as_member.present &= self._answered
        try:
            yield from row.close()
        except RoundAborted as error:
            yield from self._abort(error)

    def _present(self, row: _Phase) -> tuple[int, int]:
        if row.name == "input":
            # Whose input is here whole counts, though its sender may have been refused since.
            return len(self._arrived), self._plan.floor
        return len(self._answered), self._rules.threshold

    def _next_phase(self) -> None:
        self._at += 1
        self._answered = set()

    def _abort(self, error: RoundAborted) -> Iterator[Effect]:
        self._at = len(self._table)
        self._uploads.clear()
        yield Aborted(error)

    # ------------------------------------------------------------------ keys

    def _take_key(self, index: int, key: CommitteeKey) -> Iterator[Effect]:
        who = self._members[index]
        check_key(self._plan, index, who.client_id, key.seal_key, key.signature, self._directory)
        if key.seal_key in {entry.seal_key for entry in self._keys.values()}:
            raise PeerError(Reason.DUPLICATE_MEMBER, "a key that is already in use")
        self._keys[index] = CommitteeEntry(who, key.seal_key, key.signature)
        self._answered.add(index)
        return iter(())

    def _close_keys(self) -> Iterator[Effect]:
        present = self._as_member.present
        self._keys = {i: entry for i, entry in sorted(self._keys.items()) if i in present}
        entries = tuple(self._keys.values())
        self._session = session_id(self._plan, entries)
        roster = encode(CommitteeRoster(entries))
        self._next_phase()
        clients = self._as_client.names(self._as_client.present)
        for name in self._as_member.names(present):
            yield SendToMember(name, roster)
        for name in clients:
            yield Send(name, roster)

    # ------------------------------------------------------------------ input

    def _take_input(self, index: int, message: MaskedChunk | SealedInput) -> Iterator[Effect]:
        if isinstance(message, MaskedChunk):
            self._uploads.take(index, message)
            return iter(())
        who = self._clients[index]
        self._check_input(who, message)
        self._uploads.check(index, message.ciphertext)
        self._arrived[index] = message.ciphertext
        self._opened[index] = set()
        self._answered.add(index)
        return self._pass_on(who, message)

    def _check_input(self, who: Membership, message: SealedInput) -> None:
        size = box_bytes(self._parameters)
        if len(message.boxes) != len(self._keys) or any(len(b) != size for b in message.boxes):
            detail = f"not {len(self._keys)} boxes of {size} bytes"
            raise PeerError(Reason.MALFORMED, detail)
        if is_weak(message.agreement_key):
            raise PeerError(Reason.WEAK_KEY, "a key of small order")
        identity = self._directory.key_of(who.client_id)
        if identity is None:
            raise PeerError(Reason.NOT_ENROLLED, f"{who.client_id} is not enrolled")
        statement = signed_input(
            self._session, who.index, message.agreement_key, message.ciphertext
        )
        if not verify(identity, message.signature, INPUT_LABEL, *statement):
            raise PeerError(Reason.KEY_SIGNATURE, "the input is not signed for this session")

    def _pass_on(self, who: Membership, message: SealedInput) -> Iterator[Effect]:
        for (i, entry), box in zip(self._keys.items(), message.boxes, strict=True):
            if i in self._as_member.present:
                share = KeyShare(
                    who, message.ciphertext, message.agreement_key, message.signature, box
                )
                yield SendToMember(entry.membership.client_id, encode(share))

    def _take_opened(self, member: int, message: ShareOpened) -> Iterator[Effect]:
        """A ciphertext is added, and erased, as soon as every member can open its share."""
        client = message.client
        if client not in self._arrived or member in self._opened[client]:
            raise PeerError(Reason.UNEXPECTED, "no word on this client's share is due")
        self._opened[client].add(member)
        if self._opened[client] >= self._as_member.present and client not in self._added:
            self._add(client)
        return iter(())

    def _add(self, client: int) -> None:
        self._uploads.fold(client, self._arrived[client])
        self._added.add(client)

    def _close_input(self) -> Iterator[Effect]:
        for index in self._as_client.index.values():
            if index not in self._arrived:
                self._uploads.drop(index)
        self._next_phase()
        closed = encode(InputsClosed(tuple(sorted(self._arrived))))
        for i in sorted(self._as_member.present):
            yield SendToMember(self._members[i].client_id, closed)

    # ------------------------------------------------------------------ opening

    def _take_unopened(self, index: int, message: UnopenedShares) -> Iterator[Effect]:
        check_ascending(message.clients)
        unopened = frozenset(message.clients)
        if not unopened <= set(self._arrived):
            raise PeerError(Reason.UNKNOWN_DEALER, "a complaint about someone who dealt nothing")
        if any(index in self._opened[client] for client in unopened):
            raise PeerError(Reason.SHARE_MISSING, "a complaint about a share that was opened")
        self._unopened[index] = unopened
        self._answered.add(index)
        return iter(())

    def _close_opening(self) -> Iterator[Effect]:
        present = self._as_member.present
        opening = choose_opening(
            frozenset(self._arrived),
            {i: self._unopened[i] for i in present},
            threshold=self._rules.threshold,
            corrupt=self._rules.corrupt,
        )
        if len(opening.survivors) < self._plan.floor:
            detail = f"fewer than {self._plan.floor} inputs open for enough of {len(present)}"
            raise RoundAborted(Reason.SHARE_UNOPENED, f"{detail} members")
        self._survivors = opening.survivors
        self._as_member.present = set(opening.members)
        # Nobody complains about a client whose share all could open: those in the sum survive.
        for client in sorted(self._survivors - self._added):
            self._add(client)
        self._uploads.clear()
        self._next_phase()
        survivors = encode(SurvivorSet(tuple(sorted(self._survivors))))
        for i in sorted(self._as_member.present):
            yield SendToMember(self._members[i].client_id, survivors)

    # ------------------------------------------------------------------ consistency

    def _take_signature(self, index: int, message: ConsistencySignature) -> Iterator[Effect]:
        key = self._directory.key_of(self._members[index].client_id)
        statement = signed_survivors(self._session, self._plan.broadcast, sorted(self._survivors))
        if key is None or not verify(key, message.signature, SURVIVORS_LABEL, *statement):
            raise PeerError(Reason.CONSISTENCY_SIGNATURE, "not a signature over the survivors")
        self._signatures[index] = message.signature
        self._answered.add(index)
        return iter(())

    def _close_consistency(self) -> Iterator[Effect]:
        self._next_phase()
        names = tuple(self._clients[i].client_id for i in sorted(self._survivors))
        yield Persist(Mark.UNMASKING, "unmasking", names)
        signatures = tuple(
            SurvivorSignature(i, self._signatures[i]) for i in sorted(self._as_member.present)
        )
        request = encode(UnmaskRequest(signatures))
        for i in sorted(self._as_member.present):
            yield SendToMember(self._members[i].client_id, request)

    # ------------------------------------------------------------------ opening the sum

    def _take_answer(self, index: int, message: KeySum) -> Iterator[Effect]:
        self._answers[index] = share_from_bytes(message.share, self._parameters.key_elements)
        self._answered.add(index)
        return iter(())

    def _close_answers(self) -> Iterator[Effect]:
        survivors = sorted(self._survivors)
        key = recover_key(
            {i: self._answers[i] for i in self._as_member.present},
            self._parameters,
            threshold=self._rules.threshold,
            clients=len(survivors),
        )
        self._answers.clear()
        total = open_sum(
            self._uploads.total,
            key,
            self._parameters,
            polynomial_seed(self._session),
            len(survivors),
        )
        key[:] = 0
        self._next_phase()
        yield Done(total, tuple(self._clients[i].client_id for i in survivors))

    def __repr__(self) -> str:
        return f"OneShotServer({self.phase})"
