"""The record of a run as data: who sent which bytes to whom, in order.

One type serves the published vectors, the server's journal, an adversary's view and the checks of
`proofs/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Transcript", "TranscriptEntry"]


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One message on its way: sender and recipient by name, the phase it belongs to, its bytes."""

    sender: str
    recipient: str
    phase: str
    message: bytes = field(repr=False)


@dataclass(slots=True)
class Transcript:
    """Messages in the order in which they were sent."""

    entries: list[TranscriptEntry] = field(default_factory=list)

    def add(self, sender: str, recipient: str, phase: str, message: bytes) -> None:
        self.entries.append(TranscriptEntry(sender, recipient, phase, message))

    def seen_by(self, name: str) -> Iterator[TranscriptEntry]:
        """What passed through one party's hands."""
        return (e for e in self.entries if name in (e.sender, e.recipient))

    def __len__(self) -> int:
        return len(self.entries)
