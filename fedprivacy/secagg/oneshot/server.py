"""The server of one-shot aggregation, as a table of phases.

It passes each client's shares on at once, and adds up the ciphertexts of those whose shares enough
members can open. It can open nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    UnopenedShares,
    box_bytes,
    client_limit,
)
from fedprivacy.secagg.oneshot.parameters import committee_of, parameters_of
from fedprivacy.secagg.oneshot.shares import recover_key
from fedprivacy.secagg.oneshot.survivors import choose_opening
from fedprivacy.secagg.uploads import MaskedChunk, Uploads
from fedprivacy.wire import decode, encode

__all__ = ["OneShotServer"]


class _Phase(NamedTuple):
    """A row of the table."""

    name: str
    speakers: Mapping[str, int]
    """Who is heard: the committee or the clients, by name."""
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
        self._directory = directory
        self._clients = cohort.memberships()
        self._members = committee.memberships()
        self._client_index = {m.client_id: m.index for m in self._clients}
        self._member_index = {m.client_id: m.index for m in self._members}
        self._limit = client_limit(plan, self._parameters)

        self._keys: dict[int, CommitteeEntry] = {}
        self._session = b""
        self._uploads = Uploads(as_upload(plan, self._parameters), CiphertextDigest)
        self._arrived: dict[int, bytes] = {}
        """Whose input is here whole, with its digest."""
        self._unopened: dict[int, frozenset[int]] = {}
        self._survivors: frozenset[int] = frozenset()
        self._signatures: dict[int, bytes] = {}
        self._answers: dict[int, NDArray[np.uint64]] = {}

        self._table = self._build_table()
        self._at = 0
        self._expected = set(self._member_index.values())
        self._answered: set[int] = set()

    def _build_table(self) -> tuple[_Phase, ...]:
        members, clients = self._member_index, self._client_index
        return (
            _Phase("keys", members, CommitteeKey, self._take_key, self._close_keys),
            _Phase(
                "input", clients, MaskedChunk | SealedInput, self._take_input, self._close_input
            ),
            _Phase("opening", members, UnopenedShares, self._take_unopened, self._close_opening),
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
        waiting = self._expected - self._answered
        return frozenset(n for n, i in self._table[self._at].speakers.items() if i in waiting)

    def exclude(self, client_id: str) -> None:
        if self._at < len(self._table):
            index = self._table[self._at].speakers.get(client_id)
            if index is not None:
                self._drop(index)

    def _drop(self, index: int) -> None:
        self._expected.discard(index)
        self._answered.discard(index)
        if self.phase == "input" and index not in self._arrived:
            self._uploads.drop(index)

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        if sender not in self._client_index and sender not in self._member_index:
            raise PeerError(Reason.UNKNOWN_SENDER, "not of this round", (sender,))
        if self._at >= len(self._table):
            raise PeerError(Reason.LATE, "the round is over", (sender,))
        row = self._table[self._at]
        index = row.speakers.get(sender)
        if index is None:
            raise PeerError(Reason.LATE, f"not asked in phase {row.name}", (sender,))
        if index not in self._expected:
            raise PeerError(Reason.LATE, "this sender is out of the round", (sender,))
        try:
            return iter(tuple(self._take(row, index, message)))
        except PeerError as error:
            # An input that is here whole stays; its sender is heard no more.
            self._drop(index)
            raise error.blame(sender) from None
        except RoundAborted as error:
            return self._abort(error)

    def _take(self, row: _Phase, index: int, message: bytes) -> Iterator[Effect]:
        if index in self._answered:
            raise PeerError(Reason.DUPLICATE, f"phase {row.name} is already answered")
        return row.take(index, decode(row.takes, message, limit=self._limit))

    def advance(self) -> Iterator[Effect]:
        if self._at >= len(self._table):
            raise ConfigurationError("the round is over: nothing to advance")
        row = self._table[self._at]
        present, least = self._present(row)
        if present < least:
            detail = f"{present} answered phase {row.name}, {least} are needed"
            yield from self._abort(RoundAborted(Reason.TOO_FEW, detail))
            return
        yield Persist(Mark.PHASE, row.name, self._names(row, self._answered))
        try:
            yield from row.close()
        except RoundAborted as error:
            yield from self._abort(error)

    def _present(self, row: _Phase) -> tuple[int, int]:
        if row.name == "input":
            # Whose input is here whole counts, though its sender may have been refused since.
            return len(self._arrived), self._plan.floor
        return len(self._answered), self._rules.threshold

    def _next_phase(self, expected: set[int]) -> None:
        self._at += 1
        self._expected, self._answered = expected, set()

    def _abort(self, error: RoundAborted) -> Iterator[Effect]:
        self._at = len(self._table)
        self._expected, self._answered = set(), set()
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
        self._keys = {i: entry for i, entry in sorted(self._keys.items()) if i in self._answered}
        entries = tuple(self._keys.values())
        self._session = session_id(self._plan, entries)
        roster = encode(CommitteeRoster(entries))
        self._next_phase(set(self._client_index.values()))
        for who in (*(entry.membership for entry in entries), *self._clients):
            yield Send(who.client_id, roster)

    # ------------------------------------------------------------------ input

    def _take_input(self, index: int, message: MaskedChunk | SealedInput) -> Iterator[Effect]:
        if isinstance(message, MaskedChunk):
            self._uploads.take(index, message)
            return iter(())
        who = self._clients[index]
        self._check_input(who, message)
        self._uploads.check(index, message.ciphertext)
        self._arrived[index] = message.ciphertext
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
        for entry, box in zip(self._keys.values(), message.boxes, strict=True):
            share = KeyShare(who, message.ciphertext, message.agreement_key, message.signature, box)
            yield Send(entry.membership.client_id, encode(share))

    def _close_input(self) -> Iterator[Effect]:
        for index in self._client_index.values():
            if index not in self._arrived:
                self._uploads.drop(index)
        self._next_phase(set(self._keys))
        closed = encode(InputsClosed(tuple(sorted(self._arrived))))
        for entry in self._keys.values():
            yield Send(entry.membership.client_id, closed)

    # ------------------------------------------------------------------ opening

    def _take_unopened(self, index: int, message: UnopenedShares) -> Iterator[Effect]:
        check_ascending(message.clients)
        unopened = frozenset(message.clients)
        if not unopened <= set(self._arrived):
            raise PeerError(Reason.UNKNOWN_DEALER, "a complaint about someone who dealt nothing")
        self._unopened[index] = unopened
        self._answered.add(index)
        return iter(())

    def _close_opening(self) -> Iterator[Effect]:
        told = {i: self._unopened[i] for i in self._answered}
        opening = choose_opening(
            frozenset(self._arrived),
            told,
            threshold=self._rules.threshold,
            corrupt=self._rules.corrupt,
        )
        if opening is None or len(opening.survivors) < self._plan.floor:
            detail = f"fewer than {self._plan.floor} inputs open for enough of {len(told)} members"
            raise RoundAborted(Reason.SHARE_UNOPENED, detail)
        self._survivors = opening.survivors
        for i in sorted(self._survivors):
            self._uploads.fold(i, self._arrived[i])
        self._uploads.clear()
        self._next_phase(set(opening.members))
        survivors = encode(SurvivorSet(tuple(sorted(self._survivors))))
        for i in sorted(self._expected):
            yield Send(self._members[i].client_id, survivors)

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
        self._next_phase(set(self._answered))
        names = tuple(self._clients[i].client_id for i in sorted(self._survivors))
        yield Persist(Mark.UNMASKING, "unmasking", names)
        signatures = tuple(
            SurvivorSignature(i, self._signatures[i]) for i in sorted(self._expected)
        )
        request = encode(UnmaskRequest(signatures))
        for i in sorted(self._expected):
            yield Send(self._members[i].client_id, request)

    # ------------------------------------------------------------------ opening the sum

    def _take_answer(self, index: int, message: KeySum) -> Iterator[Effect]:
        self._answers[index] = share_from_bytes(message.share, self._parameters.key_elements)
        self._answered.add(index)
        return iter(())

    def _close_answers(self) -> Iterator[Effect]:
        survivors = sorted(self._survivors)
        key = recover_key(
            {i: self._answers[i] for i in self._answered},
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
        self._next_phase(set())
        yield Done(total, tuple(self._clients[i].client_id for i in survivors))

    # ------------------------------------------------------------------ helpers

    @staticmethod
    def _names(row: _Phase, indices: set[int]) -> tuple[str, ...]:
        return tuple(n for n, i in sorted(row.speakers.items(), key=lambda s: s[1]) if i in indices)

    def __repr__(self) -> str:
        return f"OneShotServer({self.phase})"
