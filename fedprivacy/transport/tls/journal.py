"""What a server must know after it was killed: a line, synced, before each step that counts.

No message, share or vector stands in it. A server that is started again in the same folder closes
the round that was under way: it is never tried again, since whoever answered in it answers once.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.durable import append_line, sync_folder

__all__ = ["Journal", "Past", "Step"]

_FILE = "journal.jsonl"


class Step(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line."""

    event: Literal["run", "session", "clients", "begun", "phase", "unmasking", "ended"]
    run: str = ""
    client: str = ""
    session: str = ""
    clients: tuple[str, ...] = ()
    round: int = 0
    attempt: int = 0
    round_id: str = ""
    phase: str = ""


@dataclass(slots=True)
class Past:
    """What the lines so far say."""

    run_id: bytes = b""
    clients: tuple[str, ...] = ()
    sessions: set[str] = field(default_factory=set)
    rounds: int = 0
    """Begun, the last of them perhaps not ended."""
    open: Step | None = None
    """The attempt that was under way."""
    unmasking: Step | None = None
    """That a request had left, or was about to, in the attempt that was under way."""

    def note(self, step: Step) -> None:
        """One more line."""
        match step.event:
            case "run":
                self.run_id = bytes.fromhex(step.run)
            case "session":
                self.sessions.add(step.session)
            case "clients":
                self.clients = step.clients
            case "begun":
                self.rounds, self.open, self.unmasking = step.round, step, None
            case "unmasking":
                self.unmasking = step
            case "ended":
                self.rounds, self.open, self.unmasking = step.round, None, None
            case "phase":
                pass


@dataclass(slots=True)
class Journal:
    """The journal of one run, of which one process at a time may write."""

    path: Path
    past: Past
    _file: IO[bytes]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """The journal in a folder, made where there is none.

        Raises `ConfigurationError` where another process has it, and for lines that are none; the
        last one may have been cut short by the end of the process that wrote it.
        """
        path = folder / _FILE
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
            sync_folder(folder)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise ConfigurationError(
                f"{path} is in use: another server runs in this folder"
            ) from None
        text = file.read()
        whole = text.rfind(b"\n") + 1
        file.truncate(whole)
        past = Past()
        try:
            for line in text[:whole].splitlines():
                past.note(msgspec.json.decode(line, type=Step))
        except (msgspec.MsgspecError, ValueError):
            file.close()
            raise ConfigurationError(f"{path} has a line that is none: move it away") from None
        return cls(path, past, file)

    def write(self, step: Step) -> None:
        """One more line, on the disk when this returns; from any thread.

        Raises `OSError`, which ends the run, where the disk does not take it. Nothing of the line
        is then left, and nothing that was to follow from it may happen.
        """
        with self._lock:
            append_line(self._file.fileno(), msgspec.json.encode(step), self.path)
            self.past.note(step)

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()
