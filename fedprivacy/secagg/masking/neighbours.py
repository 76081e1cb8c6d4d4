"""What a graph decides: whom a client deals to, what survivors sign, and whose word it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.masking.messages import RosterEntry, UnmaskRequest
from fedprivacy.wire import Message

__all__ = ["ClientGraph", "KeyOf", "Neighbours", "ServerGraph", "check_ascending"]

KeyOf = Callable[[int], bytes | None]
"""The enrolled identity of a member; None for one who has no say."""


def check_ascending(indices: Sequence[int]) -> None:
    """Raise `PeerError(NON_CANONICAL)` unless the indices strictly ascend."""
    if any(a >= b for a, b in pairwise(indices)):
        raise PeerError(Reason.NON_CANONICAL, "members are not in ascending order")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom a client has to do with, itself included, by ascending index; and the session's id."""

    session: bytes
    entries: tuple[RosterEntry, ...]


class ClientGraph(Protocol):
    """A graph as one client sees it."""

    @property
    def shown_in(self) -> type[Message]:
        """The message that shows the client its neighbours."""
        ...

    @property
    def least(self) -> int:
        """The fewest members, itself included, that it masks for or answers about."""
        ...

    def accept(self, shown: Any, own: RosterEntry) -> Neighbours:
        """The neighbours in a message; raises `PeerError` unless all is as it must be."""
        ...

    def answers_for(self, survivors: Sequence[str]) -> tuple[str, ...]:
        """The survivors' ids for the client's store to remember; none where it sees but a part."""
        ...

    def sign(
        self, key: SigningKey, session: bytes, signer: int, survivors: Sequence[int]
    ) -> Message:
        """The client's word on who survived."""
        ...

    def check_request(
        self,
        request: UnmaskRequest,
        session: bytes,
        member: int,
        survivors: Sequence[int],
        key_of: KeyOf,
    ) -> None:
        """Raise `PeerError` unless enough others gave the same word as this client."""
        ...


class ServerGraph(Protocol):
    """A graph as the server keeps it."""

    @property
    def signed_in(self) -> type[Message]:
        """The message that brings a survivor's signatures."""
        ...

    def arrange(self, entries: Sequence[RosterEntry]) -> bytes:
        """Take the roster, by ascending index; returns the session's id.

        Raises `RoundAborted` where these are too few for a graph that is safe.
        """
        ...

    def shown_to(self, member: int) -> bytes:
        """The encoded message that shows a member its neighbours."""
        ...

    def around(self, member: int) -> tuple[int, ...]:
        """A member and its neighbours, by ascending index."""
        ...

    def is_enough(self, member: int, present: Collection[int]) -> bool:
        """Whether enough of those present are around a member for it to go on."""
        ...

    def survivors_for(self, member: int, survivors: frozenset[int]) -> tuple[int, ...]:
        """The survivors that a member is told of, by ascending index."""
        ...

    def take_signatures(self, signer: int, message: Any, survivors: frozenset[int]) -> None:
        """Keep a survivor's signatures; raises `PeerError` for what is not due."""
        ...

    def requests(self, signers: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        """Whom to ask to unmask, each with the encoded request; the others could not answer."""
        ...
