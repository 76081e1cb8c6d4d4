"""What outlives a connection: messages in order, each delivered once, across reconnections.

Sans-io. Messages of each direction are numbered from 1. A receiver acknowledges what was dealt
with; a sender keeps the rest, so that after a reconnection both go on where the other's word says.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from fedprivacy.errors import PeerError, Reason
from fedprivacy.transport.tls.frames import (
    PIECE_BYTES,
    Frame,
    Kind,
    first_piece,
    frame,
    opened_piece,
)

__all__ = ["Inbox", "Outbox"]


class Outbox:
    """Messages on their way to the peer; threads may share it.

    At most `window` bytes are under way unacknowledged, and one message always may be. `wake` is
    called when there is something to send; `wait` lets a sender wait until there is room.
    """

    def __init__(self, *, window: int, wake: Callable[[], None] = lambda: None) -> None:
        self.window = window
        self._wake = wake
        self._changed = threading.Condition()
        self._messages: deque[tuple[memoryview, float]] = deque()
        """Each with when it was put here, on the monotonic clock."""
        self._first = 1
        """The number of the first message that is kept."""
        self._next = 1
        """The number of the message that is being sent, or is next."""
        self._sent = 0
        """Bytes of it that have left."""
        self._most = 0
        """The last message that has left in full, over whichever connection."""
        self._under_way = 0
        self._kept = 0

    def put(self, message: bytes) -> None:
        """One more message."""
        with self._changed:
            self._messages.append((memoryview(message), time.monotonic()))
            self._kept += len(message)
        self._wake()

    def wait(self, timeout: float) -> bool:
        """Until no more than a window is kept here, or the end; whether there is room."""
        with self._changed:
            return self._changed.wait_for(lambda: self._kept <= self.window, timeout)

    @property
    def kept(self) -> int:
        """Bytes that are not yet dealt with at the peer."""
        with self._changed:
            return self._kept

    @property
    def since(self) -> float | None:
        """Since when the oldest of them is here, on the monotonic clock; None if there is none."""
        with self._changed:
            return self._messages[0][1] if self._messages else None

    def piece(self) -> bytes | None:
        """The next frame to send; None while there is none."""
        with self._changed:
            index = self._next - self._first
            if index >= len(self._messages):
                return None
            message, _ = self._messages[index]
            if self._sent == 0:
                if self._under_way and self._under_way + len(message) > self.window:
                    return None
                self._under_way += len(message)
                made = first_piece(self._next, message)
            else:
                made = frame(Kind.PIECE, message[self._sent : self._sent + PIECE_BYTES])
            self._sent += PIECE_BYTES
            if self._sent >= len(message):
                self._most = max(self._most, self._next)
                self._next, self._sent = self._next + 1, 0
            return made

    def acknowledged(self, place: int) -> None:
        """Everything up to this place was dealt with; raises `PeerError` for what never left."""
        with self._changed:
            if place >= self._next:
                raise PeerError(Reason.UNEXPECTED, "an acknowledgement of what was not sent")
            self._forget(place)
        self._wake()

    def rewind(self, received: int) -> None:
        """A new connection: the peer has everything up to there, and nothing else."""
        with self._changed:
            # A first word that was long on its way may have said less before: it does not count.
            if not self._first - 1 <= received <= self._most:
                raise PeerError(Reason.UNEXPECTED, "a session that is resumed where it never was")
            self._next, self._sent = max(received + 1, self._first), 0
            self._forget(received)
            self._under_way = 0
        self._wake()

    def _forget(self, place: int) -> None:
        while self._first <= place and self._messages:
            gone = len(self._messages.popleft()[0])
            self._kept -= gone
            self._under_way = max(0, self._under_way - gone)
            self._first += 1
        self._changed.notify_all()


class Inbox:
    """Messages as they come from the peer; `limit` is the most bytes of one."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.received = 0
        """The number of the last message that is here in full."""
        self._size = 0
        self._pieces: bytearray | None = None

    def begin(self) -> None:
        """A new connection: what came of a message is sent anew."""
        self._pieces, self._size = None, 0

    def take(self, came: Frame) -> tuple[int, bytes] | None:
        """A message and its number, once it is there in full; raises `PeerError`."""
        if came.kind is Kind.MESSAGE:
            piece = self._opened(came.body)
        elif self._pieces is None:
            raise PeerError(Reason.UNEXPECTED, "a piece of no message")
        else:
            piece = memoryview(came.body)
            if not piece:
                raise PeerError(Reason.MALFORMED, "an empty piece")
        kept = self._pieces
        if kept is None or len(kept) + len(piece) > self._size:
            raise PeerError(Reason.OVERSIZED, "more of a message than it was to have")
        kept += piece
        if len(kept) < self._size:
            return None
        self._pieces = None
        self.received += 1
        return self.received, bytes(kept)

    def _opened(self, body: bytes) -> memoryview:
        if self._pieces is not None:
            raise PeerError(Reason.UNEXPECTED, "a message within another")
        place, size, piece = opened_piece(body)
        if place != self.received + 1:
            detail = f"message {place} where {self.received + 1} is next"
            raise PeerError(
                Reason.DUPLICATE if place <= self.received else Reason.MALFORMED, detail
            )
        if not 0 < size <= self.limit:
            detail = f"a message of {size} bytes where at most {self.limit} are allowed"
            raise PeerError(Reason.OVERSIZED, detail)
        # Grown as bytes come in: nothing is allocated on the peer's word for the size.
        self._pieces, self._size = bytearray(), size
        return piece
