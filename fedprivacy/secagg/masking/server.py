"""The server of masked aggregation: a table of phases and messages.

| phase       | takes from each client        | on `advance`, with enough members        |
|-------------|-------------------------------|------------------------------------------|
| keys        | KeyAdvertisement              | Roster or Neighbourhood to all of them   |
| shares      | SealedShares                  | ShareDelivery to every dealer            |
| input       | MaskedChunk*, MaskedInput     | SurvivorSet to every survivor            |
| consistency | signatures                    | UnmaskRequest to every signer            |
| unmasking   | UnmaskShares                  | the sum                                  |

Honest but curious, there is no consistency phase. Who does not answer a phase is out of the next;
with too few members the round is aborted, and nothing but what the protocol allows was revealed.
Source: Bonawitz et al., CCS 2017, figure 4; what the graph decides stands in `complete` and
`sparse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

from fedprivacy.crypto import Directory, is_weak
from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.secagg.cohort import Cohort
from fedprivacy.secagg.contract import (
    Aborted,
    Adversary,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SumPlan,
)
from fedprivacy.secagg.masking.acknowledgements import (
    are_acknowledged,
    check_boxes,
    check_committed,
    split_acknowledgements,
)
from fedprivacy.secagg.masking.masks import add_terms
from fedprivacy.secagg.masking.messages import (
    AcknowledgedInput,
    AcknowledgedSurvivors,
    KeyAdvertisement,
    MaskedInput,
    RosterEntry,
    SealedBox,
    SealedShares,
    ShareDelivery,
    SurvivorSet,
    UnmaskShares,
    client_limit,
)
from fedprivacy.secagg.masking.neighbours import ServerGraph, check_ascending
from fedprivacy.secagg.masking.recovery import Dealt, check_shares, mask_terms, recover_secrets
from fedprivacy.secagg.masking.roster import check_keys
from fedprivacy.secagg.uploads import MaskedChunk, Uploads
from fedprivacy.wire import decode, encode

__all__ = ["MaskingServer"]


class _Phase(NamedTuple):
    """A row of the table."""

    name: str
    takes: Any
    take: Callable[[int, Any], bool]
    """Handles one message; whether the client has then answered the phase."""
    close: Callable[[], Iterator[Effect]]


class MaskingServer:
    """The server's side of masked aggregation.

    It keeps control messages, one running sum, and the spool of each unfinished upload. `receive`
    raises `PeerError` with the sender as culprit, who is out of the round from then on.
    """

    def __init__(
        self,
        plan: SumPlan,
        cohort: Cohort,
        graph: ServerGraph,
        directory: Directory | None,
        pool: Executor | None,
    ) -> None:
        if plan.adversary is not Adversary.HONEST_BUT_CURIOUS and directory is None:
            raise ConfigurationError(
                f"adversary {plan.adversary.value} needs a directory: sign one"
            )
        self._plan = plan
        self._graph = graph
        self._directory = directory
        self._memberships = cohort.memberships()
        self._index = {m.client_id: m.index for m in self._memberships}
        self._limit = client_limit(plan)
        self._expected = set(self._index.values())
        self._answered: set[int] = set()

        self._keys: dict[int, KeyAdvertisement] = {}
        self._taken: set[bytes] = set()
        self._roster: dict[int, RosterEntry] = {}
        self._session = b""
        self._dealt: dict[int, Dealt] = {}
        self._unopened: dict[int, frozenset[int]] = {}
        self._acknowledged: dict[int, dict[int, bytes]] = {}
        """By survivor and by dealer that it has masked with."""
        self._pool = pool
        self._uploads = Uploads(plan)
        self._survivors: frozenset[int] = frozenset()
        self._shares: dict[int, dict[int, Any]] = {}
        self._at = 0
        self._table = self._build_table()

    def _build_table(self) -> tuple[_Phase, ...]:
        consistency = _Phase(
            "consistency", self._graph.signed_in, self._take_signatures, self._close_consistency
        )
        closing = AcknowledgedInput if are_acknowledged(self._plan) else MaskedInput
        return (
            _Phase("keys", KeyAdvertisement, self._take_keys, self._close_keys),
            _Phase("shares", SealedShares, self._take_dealt, self._close_shares),
            _Phase("input", MaskedChunk | closing, self._take_input, self._close_input),
            *([consistency] if self._signs else []),
            _Phase("unmasking", UnmaskShares, self._take_unmasking, self._close_unmasking),
        )

    # ------------------------------------------------------------------ inputs

    @property
    def phase(self) -> str:
        return self._table[self._at].name if self._at < len(self._table) else "done"

    @property
    def waiting_for(self) -> frozenset[str]:
        return frozenset(self._name(i) for i in self._expected - self._answered)

    def exclude(self, client_id: str) -> None:
        index = self._index.get(client_id)
        if index is not None:
            self._expected.discard(index)
            self._answered.discard(index)
            self._uploads.drop(index)

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        index = self._index.get(sender)
        if index is None:
            raise PeerError(Reason.UNKNOWN_SENDER, "not a member of this round", (sender,))
        if index not in self._expected or self._at >= len(self._table):
            raise PeerError(Reason.LATE, "this sender is out of the round", (sender,))
        try:
            self._take(index, message)
        except PeerError as error:
            # An input that is already in the sum stays; its sender answers no later phase.
            self.exclude(sender)
            raise error.blame(sender) from None
        except RoundAborted as error:
            return self._abort(error)
        return iter(())

    def _take(self, index: int, message: bytes) -> None:
        if index in self._answered:
            raise PeerError(Reason.DUPLICATE, f"phase {self.phase} is already answered")
        row = self._table[self._at]
        if row.take(index, decode(row.takes, message, limit=self._limit)):
            self._answered.add(index)

    def advance(self) -> Iterator[Effect]:
        if self._at >= len(self._table):
            raise ConfigurationError("the round is over: nothing to advance")
        row = self._table[self._at]
        present, least = len(self._answered), self._least(row.name)
        if present < least:
            detail = f"{present} clients answered phase {row.name}, {least} are needed"
            yield from self._abort(RoundAborted(Reason.TOO_FEW, detail))
            return
        self._at += 1
        self._expected, self._answered = self._answered, set()
        yield Persist(Mark.PHASE, row.name, tuple(self._name(i) for i in sorted(self._expected)))
        try:
            yield from row.close()
        except RoundAborted as error:
            yield from self._abort(error)

    def _least(self, phase: str) -> int:
        """Once the inputs are in, t clients that answer are enough."""
        released = phase in ("input", "consistency", "unmasking")
        return self._plan.threshold if released else self._plan.floor

    def _abort(self, error: RoundAborted) -> Iterator[Effect]:
        self._at = len(self._table)
        self._expected, self._answered = set(), set()
        self._uploads.clear()
        yield Aborted(error)

    # ------------------------------------------------------------------ keys

    def _take_keys(self, index: int, keys: KeyAdvertisement) -> bool:
        name = self._name(index)
        check_keys(self._plan, index, name, keys, self._directory)
        pair = {keys.seal_key, keys.mask_key}
        if len(pair) < 2 or pair & self._taken:
            raise PeerError(Reason.DUPLICATE_MEMBER, "a key that is already in use")
        if any(is_weak(key) for key in pair):
            raise PeerError(Reason.WEAK_KEY, "a key of small order")
        self._taken |= pair
        self._keys[index] = keys
        return True

    def _close_keys(self) -> Iterator[Effect]:
        entries = tuple(
            RosterEntry(self._memberships[i], keys.seal_key, keys.mask_key, keys.signature)
            for i, keys in sorted(self._keys.items())
            if i in self._expected
        )
        self._roster = {entry.membership.index: entry for entry in entries}
        self._session = self._graph.arrange(entries)
        for i in sorted(self._expected):
            yield Send(self._name(i), self._graph.shown_to(i))

    # ------------------------------------------------------------------ shares

    def _take_dealt(self, index: int, dealt: SealedShares) -> bool:
        if tuple(box.peer for box in dealt.boxes) != self._graph.around(index):
            raise PeerError(Reason.UNKNOWN_DEALER, "the boxes are not one for each neighbour")
        check_boxes(self._plan, dealt.boxes)
        self._dealt[index] = Dealt.of(dealt)
        return True

    def _close_shares(self) -> Iterator[Effect]:
        self._expected = self._settled(self._expected)
        if len(self._expected) < self._plan.floor:
            detail = f"{len(self._expected)} dealers have enough others around them, "
            raise RoundAborted(Reason.TOO_FEW, f"{detail}{self._plan.floor} are needed")
        self._dealt = {i: d for i, d in self._dealt.items() if i in self._expected}
        for recipient in sorted(self._expected):
            boxes = []
            for dealer in sorted(self._dealers_to(recipient)):
                box = self._dealt[dealer].boxes[recipient]
                boxes.append(SealedBox(dealer, box.box, box.commitments))
            yield Send(self._name(recipient), encode(ShareDelivery(tuple(boxes))))

    def _settled(self, dealers: set[int]) -> set[int]:
        """Without those who have too few others around, which may leave others with too few."""
        settled = set(dealers)
        while alone := {i for i in settled if not self._graph.is_enough(i, settled)}:
            settled -= alone
        return settled

    # ------------------------------------------------------------------ input

    def _take_input(self, index: int, message: MaskedChunk | MaskedInput) -> bool:
        if isinstance(message, MaskedChunk):
            self._uploads.take(index, message)
            return False
        check_ascending(message.unopened)
        unopened = frozenset(message.unopened)
        if not unopened <= self._dealers_to(index):
            raise PeerError(Reason.UNKNOWN_DEALER, "a complaint about someone who dealt nothing")
        acknowledged = self._acknowledgements(index, message)
        self._uploads.fold(index, message.checksum)
        self._acknowledged[index] = acknowledged
        self._unopened[index] = unopened
        return True

    def _acknowledgements(self, index: int, message: MaskedInput) -> dict[int, bytes]:
        if not isinstance(message, AcknowledgedInput):
            return {}
        others = sorted(self._dealers_to(index) - {index})
        given = split_acknowledgements(message.acknowledgements, len(others))
        for v, acknowledgement in zip(others, given, strict=True):
            commitment = self._dealt[index].boxes[v].commitments[64:]
            check_committed(self._session, index, v, acknowledgement, commitment)
        return dict(zip(others, given, strict=True))

    def _close_input(self) -> Iterator[Effect]:
        self._uploads.clear()
        # Whose input is in the sum has survived, though it may answer no more.
        self._survivors = frozenset(self._unopened)
        if len(self._survivors) < self._plan.floor:
            detail = f"{len(self._survivors)} inputs where {self._plan.floor} are needed"
            raise RoundAborted(Reason.TOO_FEW, detail)
        # Who survives among too few would not answer.
        able = {i for i in self._expected if self._graph.is_enough(i, self._survivors)}
        self._expected = able
        self._check_holders()
        if not self._signs:
            yield self._unmasking()
        for i in sorted(self._expected):
            yield Send(self._name(i), encode(self._told(i)))

    def _told(self, index: int) -> SurvivorSet:
        survivors = self._graph.survivors_for(index, self._survivors)
        if not are_acknowledged(self._plan):
            return SurvivorSet(survivors)
        given = b"".join(self._acknowledged[v][index] for v in survivors if v != index)
        return AcknowledgedSurvivors(survivors, given)

    def _check_holders(self) -> None:
        """Give up before anyone unmasks if some secret that it takes could not be recovered.

        The dealer is named if more members complain than may be corrupt; fewer could all be lying.
        """
        for dealer in self._needed():
            around = self._graph.around(dealer)
            holders = sum(i in self._expected and dealer not in self._unopened[i] for i in around)
            if holders < self._plan.threshold:
                name = self._name(dealer)
                complaints = sum(
                    i in self._survivors and dealer in self._unopened[i] for i in around
                )
                detail = f"only {holders} members could open their share of {name}"
                culprits = (name,) if complaints > self._plan.corrupt else ()
                raise RoundAborted(Reason.SHARE_UNOPENED, detail, culprits)

    def _needed(self) -> list[int]:
        """The dealers one of whose secrets it takes: survivors, and whose masks one of them has."""
        return [
            dealer
            for dealer in sorted(self._dealt)
            if not self._survivors.isdisjoint(self._graph.around(dealer))
        ]

    def _dealers_to(self, index: int) -> frozenset[int]:
        return frozenset(i for i in self._graph.around(index) if i in self._dealt)

    # ------------------------------------------------------------------ consistency

    def _take_signatures(self, index: int, message: Any) -> bool:
        self._graph.take_signatures(index, message, self._survivors)
        return True

    def _close_consistency(self) -> Iterator[Effect]:
        requests = dict(self._graph.requests(frozenset(self._expected)))
        self._expected = set(requests)
        self._check_holders()
        yield self._unmasking()
        for i, request in sorted(requests.items()):
            yield Send(self._name(i), request)

    def _unmasking(self) -> Persist:
        names = tuple(self._name(i) for i in sorted(self._survivors))
        return Persist(Mark.UNMASKING, "unmasking", names)

    # ------------------------------------------------------------------ unmasking

    def _take_unmasking(self, index: int, answer: UnmaskShares) -> bool:
        self._shares[index] = check_shares(
            self._session,
            index,
            answer,
            dealt={d: self._dealt[d] for d in self._dealers_to(index)},
            survivors=self._survivors,
            unopened=self._unopened[index],
        )
        return True

    def _close_unmasking(self) -> Iterator[Effect]:
        survivors = tuple(sorted(self._survivors))
        secrets = recover_secrets(
            self._session,
            self._plan.threshold,
            {i: self._shares[i] for i in sorted(self._expected)},
            roster=self._roster,
            dealt={d: self._dealt[d] for d in self._needed()},
            survivors=self._survivors,
        )
        terms = mask_terms(
            self._session,
            secrets,
            roster=self._roster,
            survivors=self._survivors,
            around=self._graph.around,
            pool=self._pool,
        )
        total = add_terms(self._uploads.total, terms, self._pool)
        self._expected = set()
        yield Done(total, tuple(self._name(i) for i in survivors))

    # ------------------------------------------------------------------ helpers

    @property
    def _signs(self) -> bool:
        return self._plan.adversary is not Adversary.HONEST_BUT_CURIOUS

    def _name(self, index: int) -> str:
        return self._memberships[index].client_id

    def __repr__(self) -> str:
        return f"MaskingServer({self.phase})"
