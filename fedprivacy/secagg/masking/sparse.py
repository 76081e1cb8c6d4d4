"""The sparse graph of SecAgg+: a random ring on which each deals to its nearest.

The leaves of the roster's Merkle tree stand in the order of the ring, so that its root commits to
everyone's keys and to the graph at once. Consistency is local: a survivor signs for each neighbour
that it was told of that this one survives, and a client unmasks only when t others have signed so
for it; then too few are left who could take it for lost. Source: Bell et al., CCS 2020, sections 3
and 4 (the semi-malicious setting).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

from fedprivacy.crypto import Directory, SigningKey, verify
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.randomness import Rng
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.graph import ring_neighbours, ring_order
from fedprivacy.secagg.masking.keys import INCLUSION_LABEL, ring_session_id, signed_inclusion
from fedprivacy.secagg.masking.messages import (
    Inclusion,
    InclusionSignatures,
    Neighbourhood,
    PlacedEntry,
    RosterEntry,
    SurvivorSignature,
    UnmaskRequest,
)
from fedprivacy.secagg.masking.neighbours import KeyOf, Neighbours, check_ascending
from fedprivacy.secagg.masking.roster import check_entries
from fedprivacy.secagg.parameters import graph_fault
from fedprivacy.wire import MerkleTree, encode, verify_path

__all__ = ["SparseClient", "SparseServer"]


def _ring_fault(plan: SumPlan, size: int, floor: int) -> str | None:
    """What is wrong with a ring of so many members; who was lost before it was drawn counts."""
    semi_malicious = plan.adversary is Adversary.SEMI_MALICIOUS
    fault = graph_fault(
        size,
        plan.corrupt,
        max(plan.dropped - (plan.cohort_size - size), 0),
        plan.adversary,
        plan.degree,
        plan.threshold,
        least_honest=max(plan.min_clients, floor) if semi_malicious else 0,
    )
    return f"of {plan.cohort_size} clients {size} are left: {fault}" if fault else None


class SparseClient:
    """`floor` is the client's own least number of members in any sum.

    No client sees all survivors: the floor is held against what the graph guarantees, and against
    the size of the ring.
    """

    shown_in: ClassVar[type[Neighbourhood]] = Neighbourhood

    def __init__(self, plan: SumPlan, directory: Directory | None, floor: int) -> None:
        self._plan = plan
        self._directory = directory
        self._floor = floor
        # Itself and t others, as those whose signatures it will want.
        self.least = plan.threshold + 1

    def accept(self, shown: Neighbourhood, own: RosterEntry) -> Neighbours:
        """The neighbours, each proven to stand where the committed ring has it."""
        self._check_ring(shown.size)
        entries = tuple(placed.entry for placed in shown.entries)
        check_entries(self._plan, entries, own, directory=self._directory)
        places = {placed.entry.membership.index: placed.position for placed in shown.entries}
        mine = places[own.membership.index]
        # > [BBG+20] the graph is k-regular and symmetric: its edges follow from the places.
        wanted = {mine, *ring_neighbours(mine, shown.size, self._plan.degree)}
        if set(places.values()) != wanted or len(places) != len(wanted):
            detail = f"the neighbours of place {mine} are not those of the ring"
            raise PeerError(Reason.GRAPH, detail)
        for placed in shown.entries:
            leaf = placed.entry.leaf()
            if not verify_path(shown.root, shown.size, placed.position, leaf, placed.path):
                name = placed.entry.membership.client_id
                raise PeerError(Reason.GRAPH, f"{name} is not proven to stand on the ring")
        return Neighbours(ring_session_id(self._plan, shown.size, shown.root), entries)

    def _check_ring(self, size: int) -> None:
        plan, floor = self._plan, self._floor
        least = max(plan.floor, floor)
        if not least <= size <= plan.cohort_size:
            detail = f"{size} members where {least} to {plan.cohort_size} are allowed"
            raise PeerError(Reason.ROSTER_SIZE, detail)
        if plan.adversary is Adversary.HONEST_BUT_CURIOUS and floor > plan.floor:
            detail = f"a sum may be over {plan.floor} members, {floor} are asked for"
            raise PeerError(Reason.ROSTER_SIZE, detail)
        if fault := _ring_fault(plan, size, floor):
            raise PeerError(Reason.GRAPH, fault)

    def answers_for(self, survivors: Sequence[str]) -> tuple[str, ...]:
        return ()

    def sign(
        self, key: SigningKey, session: bytes, signer: int, survivors: Sequence[int]
    ) -> InclusionSignatures:
        # > [BBG+20, semi-malicious] each survivor signs for each surviving neighbour.
        signatures = []
        for member in (m for m in survivors if m != signer):
            statement = signed_inclusion(session, self._plan.broadcast, signer, member)
            signatures.append(Inclusion(member, key.sign(INCLUSION_LABEL, *statement)))
        return InclusionSignatures(tuple(signatures))

    def check_request(
        self,
        request: UnmaskRequest,
        session: bytes,
        member: int,
        survivors: Sequence[int],
        key_of: KeyOf,
    ) -> None:
        """> [BBG+20, semi-malicious] at least t neighbours include this client."""
        check_ascending([s.signer for s in request.signatures])
        valid = 0
        for relayed in request.signatures:
            # Its own word on itself counts for nothing. One that does not hold is passed over: the
            # server has not verified it, and whoever sent it might as well have sent none.
            key = key_of(relayed.signer) if relayed.signer != member else None
            statement = signed_inclusion(session, self._plan.broadcast, relayed.signer, member)
            valid += key is not None and verify(key, relayed.signature, INCLUSION_LABEL, *statement)
            if valid >= self._plan.threshold:
                return
        detail = f"{valid} neighbours include this client, {self._plan.threshold} are needed"
        raise PeerError(Reason.CONSISTENCY_QUORUM, detail)


class SparseServer:
    """Draws the ring, once, over those who advertised keys."""

    signed_in: ClassVar[type[InclusionSignatures]] = InclusionSignatures

    def __init__(self, plan: SumPlan, directory: Directory | None, *, rng: Rng) -> None:
        self._plan = plan
        self._rng = rng
        self._root = b""
        self._placed: dict[int, PlacedEntry] = {}
        """Every member's, by index."""
        self._around: dict[int, tuple[int, ...]] = {}
        self._included: dict[int, list[SurvivorSignature]] = {}

    def arrange(self, entries: Sequence[RosterEntry]) -> bytes:
        if fault := _ring_fault(self._plan, len(entries), 0):
            raise RoundAborted(Reason.GRAPH, fault)
        order = ring_order(len(entries), rng=self._rng)
        ring = [entries[i] for i in order]
        tree = MerkleTree([entry.leaf() for entry in ring])
        self._root = tree.root
        for place, entry in enumerate(ring):
            member = entry.membership.index
            self._placed[member] = PlacedEntry(entry, place, tree.path(place))
            places = (place, *ring_neighbours(place, len(ring), self._plan.degree))
            self._around[member] = tuple(sorted(ring[p].membership.index for p in places))
        return ring_session_id(self._plan, len(ring), tree.root)

    def shown_to(self, member: int) -> bytes:
        entries = tuple(self._placed[i] for i in self.around(member))
        return encode(Neighbourhood(len(self._placed), self._root, entries))

    def around(self, member: int) -> tuple[int, ...]:
        return self._around[member]

    def is_enough(self, member: int, present: Collection[int]) -> bool:
        return sum(i in present for i in self.around(member)) > self._plan.threshold

    def survivors_for(self, member: int, survivors: frozenset[int]) -> tuple[int, ...]:
        return tuple(i for i in self.around(member) if i in survivors)

    def take_signatures(
        self, signer: int, message: InclusionSignatures, survivors: frozenset[int]
    ) -> None:
        """The signatures are not verified: a member counts those that hold for it."""
        wanted = tuple(i for i in self.survivors_for(signer, survivors) if i != signer)
        if tuple(s.member for s in message.signatures) != wanted:
            detail = "the signatures are not one for each surviving neighbour"
            raise PeerError(Reason.CONSISTENCY_SIGNATURE, detail)
        for s in message.signatures:
            self._included.setdefault(s.member, []).append(SurvivorSignature(signer, s.signature))

    def requests(self, signers: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        for member in sorted(signers):
            given = sorted(self._included.get(member, ()), key=lambda s: s.signer)
            signatures = tuple(s for s in given if s.signer in signers)
            if len(signatures) >= self._plan.threshold:
                yield member, encode(UnmaskRequest(signatures))
