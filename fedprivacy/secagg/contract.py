"""The one contract of every protocol here: compute the sum of integer vectors, and nothing else.

A party is sans-io. It takes three inputs and answers each with a stream of effects:

- `receive(sender, message)`: bytes arrived; the channel says who sent them;
- `contribute(source)`: a client's vector is ready;
- `advance()`: the deadline of the present phase has passed.

The driver carries out each effect before it pulls the next one; a `Persist` is durable by then. A
party has no clock, no socket and no hidden randomness.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.crypto import Directory, Identity, Suite
from fedprivacy.errors import RoundAborted
from fedprivacy.randomness import Rng
from fedprivacy.secagg.ceremony import Admission, GroupKey
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.work import Work

__all__ = [
    "SERVER",
    "Aborted",
    "Adversary",
    "ClientParty",
    "CommitteeParty",
    "CommitteePlan",
    "CommitteeProtocol",
    "CommitteeServerParty",
    "Done",
    "Effect",
    "Mark",
    "Persist",
    "Send",
    "SendChunk",
    "SendToMember",
    "ServerParty",
    "SharedKeyProtocol",
    "Source",
    "SumPlan",
    "SummingProtocol",
]

SERVER = "@server"
"""The server's name on every channel; no client id can equal it."""


class Adversary(enum.Enum):
    """Whom a protocol defends against, from the weakest to the strongest."""

    HONEST_BUT_CURIOUS = "honest-but-curious"
    """All follow the protocol; the server and up to c clients pool what they see."""
    SEMI_MALICIOUS = "semi-malicious"
    """The server is honest until keys and graph are fixed, and may deviate afterwards."""
    MALICIOUS = "malicious"
    """The server and up to c clients deviate as they like, from the first message on."""

    @property
    def strength(self) -> int:
        return list(Adversary).index(self)


class Mark(enum.Enum):
    """What a party must have on durable storage before it goes on."""

    SPENT = "spent"
    """A client's input is about to leave it, in this attempt."""
    ANSWERED = "answered"
    """A client is about to sign or unmask, in this round, for these survivors."""
    PHASE = "phase"
    """The server has closed a phase with these members."""
    UNMASKING = "unmasking"
    """The server is about to ask for unmasking: from here on the round may have been revealed."""


@dataclass(frozen=True, slots=True)
class Persist:
    """Commit a mark, with the members it speaks of, before pulling the next effect."""

    mark: Mark
    phase: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver a control message."""

    recipient: str
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendChunk(Send):
    """Deliver one chunk of a vector; chunks of one sender keep their order."""


@dataclass(frozen=True, slots=True)
class SendToMember(Send):
    """Deliver a control message to a member of the committee, who may be a client as well."""


class Source(Protocol):
    """A vector of int64 that is read slice by slice: an array, a memory map, or anything alike.

    A client's is read once, front to back; each value is within the bound that the plan's modulus
    was made for.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Done:
    """The party has ended well.

    `total` is the server's: `(length,)` int64, the exact sum over `survivors`, to be read slice by
    slice; a client has none.
    """

    total: Source | None = field(default=None, repr=False)
    survivors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aborted:
    """The protocol ended without a sum."""

    error: RoundAborted


Effect = Persist | Send | SendChunk | Done | Aborted


@dataclass(frozen=True, slots=True)
class CommitteePlan:
    """The committee that a protocol opens its sums with, where it has one; all of it is public."""

    root: bytes
    """Of its members, committed to like a cohort."""
    size: int
    """k: members in the committed committee."""
    threshold: int
    """t: how many of them it takes to open a sum."""
    corrupt: int
    """c: how many of them may collude with the server."""
    members: tuple[str, ...] = ()
    """Their names, by index, where the plan says them; empty where the server has drawn them."""


@dataclass(frozen=True, slots=True)
class SumPlan:
    """What every party of one attempt at one sum agrees on; all of it is public.

    `round_id` hashes everything else that a client agreed to, so it binds this plan as well.
    """

    round_id: bytes
    broadcast: bytes
    """The 32-byte hash of all that was sent to clients and can influence an update."""
    suite: Suite
    adversary: Adversary
    cohort_size: int
    """n: clients in the committed cohort."""
    cohort_root: bytes
    threshold: int
    """t: how many clients it takes to unmask."""
    corrupt: int
    """c: how many clients may collude with the server."""
    min_clients: int
    """The fewest survivors whose sum is released."""
    length: int
    """Values in a vector."""
    modulus_bits: int
    """b: sums are computed mod 2**b."""
    degree: int = 0
    """k: neighbours of each client on a sparse graph; zero for the complete graph."""
    dropped: int = 0
    """d: clients whose loss a sparse graph was made for."""
    client_bound: int = 0
    """B: a client's values lie in [-B, B]; told where it is not enough that the sum fits."""
    committee: CommitteePlan | None = None

    @property
    def floor(self) -> int:
        """The fewest members with which any phase may close.

        A sparse graph holds together for the losses that it was made for, and no more.
        """
        planned = self.cohort_size - self.dropped if self.degree else 0
        return max(self.threshold, self.min_clients, planned)


class ServerParty(Protocol):
    """The server's side of one sum."""

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]: ...
    def advance(self) -> Iterator[Effect]: ...

    def exclude(self, client_id: str) -> None:
        """Expect nothing more from this client: it refused, or its channel is gone."""
        ...

    @property
    def phase(self) -> str:
        """The name of the present phase."""
        ...

    @property
    def waiting_for(self) -> frozenset[str]:
        """Who may still answer in the present phase; when empty, there is no use in waiting."""
        ...


class CommitteeServerParty(ServerParty, Protocol):
    """The server's side of a sum that a committee opens.

    `receive` takes the messages of members, too; `waiting_for` names them in their phases.
    """

    def exclude_member(self, name: str) -> None:
        """Expect nothing more from this member of the committee; as a client it stays."""
        ...


class ClientParty(Protocol):
    """One client's side of one sum; an object serves one attempt and is then dead."""

    def start(self) -> Iterator[Effect]:
        """What the client says first, once it exists."""
        ...

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]: ...
    def contribute(self, source: Source) -> Iterator[Effect]: ...

    def suspend(self) -> bytes:
        """What it needs to go on, secrets and all, for its protocol's `resume`; it is then dead.

        Raises `ConfigurationError`, and changes nothing, while a contributed vector waits for its
        time, and wherever it is not between two messages.
        """
        ...

    def fail(self) -> None:
        """End without (further) answers and erase what is secret."""
        ...


class CommitteeParty(Protocol):
    """One committee member's side of one sum; an object serves one attempt and is then dead."""

    def start(self) -> Iterator[Effect]:
        """What the member says first, before any client is asked."""
        ...

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]: ...

    def suspend(self) -> bytes:
        """What it needs to go on, secrets and all, for `resume_member`; it is then dead.

        Raises `ConfigurationError`, and changes nothing, where it is not between two messages.
        """
        ...

    def fail(self) -> None:
        """End without (further) answers and erase what is secret."""
        ...


class SummingProtocol(Protocol):
    """A protocol as the registry knows it."""

    @property
    def name(self) -> str: ...

    @property
    def claim(self) -> str:
        """The id of the row in `proofs/claims.toml` that says what it hides."""
        ...

    @property
    def adversaries(self) -> frozenset[Adversary]: ...

    @property
    def rand_bytes(self) -> int:
        """Bytes of randomness that one client takes."""
        ...

    @property
    def sparse(self) -> bool:
        """Whether a client meets its neighbours on a sparse graph only."""
        ...

    def upload_sizes(self, plan: SumPlan) -> Iterator[tuple[str, int]]:
        """Phase and bytes of each message that one client sends when nobody is lost."""
        ...

    def download_sizes(self, plan: SumPlan, *, id_bytes: int) -> Iterator[tuple[str, int]]:
        """Phase and bytes of each message that the server sends one client when nobody is lost.

        Client ids have `id_bytes` each.
        """
        ...

    def work(self, plan: SumPlan, *, lost: int) -> tuple[Work, Work]:
        """What one client computes, and the server if `lost` clients vanish before their input.

        The encoding of updates is left to the caller.
        """
        ...

    def server(
        self,
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
    ) -> ServerParty:
        """The server of this protocol; `rng` draws the graph, where there is one.

        Processes of a `pool`, whose owner ends it, share the work of unmasking.
        """
        ...

    def client(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> ClientParty:
        """A client of this protocol.

        `floor` is the client's own least number of members in any set that it answers for; `rand`
        are `rand_bytes` uniform bytes, used for nothing else.
        """
        ...

    def resume(
        self,
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> ClientParty:
        """A client that goes on where another was suspended; all else as that one was given it.

        Whoever calls sees to it that a state is resumed once. Raises `PeerError` for bytes that are
        no state.
        """
        ...


class CommitteeProtocol(SummingProtocol, Protocol):
    """A protocol with a third role: a committee that opens the sum.

    Members and clients are told apart by the phase in which they speak; a client may be a member.
    """

    def check(self, plan: SumPlan) -> None:
        """Raise `ConfigurationError` for a plan of which no sum can be computed, or safely."""
        ...

    def member_work(self, plan: SumPlan, *, lost: int) -> Work:
        """What one member of the committee computes if `lost` clients vanish."""
        ...

    @property
    def member_rand_bytes(self) -> int:
        """Bytes of randomness that one member takes."""
        ...

    def server(
        self,
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
        committee: Cohort | None = None,
    ) -> CommitteeServerParty:
        """As without a committee; the plan commits to `committee`, which must be there."""
        ...

    def member(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> CommitteeParty:
        """A member of the committee, at its place in it.

        `floor` is the member's own least number of clients in a sum that it helps to open; `rand`
        are `member_rand_bytes` uniform bytes, used for nothing else.
        """
        ...

    def resume_member(
        self,
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> CommitteeParty:
        """A member that goes on where another was suspended, as `resume` does for a client."""
        ...


class SharedKeyProtocol(SummingProtocol, Protocol):
    """A protocol whose clients share one secret key, made in a ceremony, that the server lacks."""

    @property
    def exact(self) -> bool:
        """Whether its sums are exact by proof, and not by rounding what is approximate."""
        ...

    def check(self, plan: SumPlan) -> None:
        """Raise `ConfigurationError` for a plan of which no sum can be computed."""
        ...

    def ceremony(self, *, rng: Rng) -> GroupKey:
        """A fresh key for all clients."""
        ...

    def check_key(self, key: GroupKey | None) -> None:
        """Raise `ConfigurationError` for none or another's key, `MissingExtra` for no library."""
        ...

    def server(
        self,
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
        admission: Admission | None = None,
    ) -> ServerParty:
        """As for others; native code reads what clients send in a process of `pool`."""
        ...

    def client(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
        key: GroupKey | None = None,
    ) -> ClientParty:
        """As for others; the ceremony's `key` must be there."""
        ...

    def resume(
        self,
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        key: GroupKey | None = None,
    ) -> ClientParty:
        """As for others, with the same key."""
        ...
