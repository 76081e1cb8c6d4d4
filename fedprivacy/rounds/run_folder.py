"""The folder of one run: a line after each round, and the whole record at the end."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.durable import append_line, sync_folder
from fedprivacy.rounds.record import RoundRecord, RunRecord

__all__ = ["RunFolder"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Receives `rounds.jsonl`, a line synced after each round, and `record.json`."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> RunFolder:
        """A new folder, which only its owner may enter; raises `ConfigurationError`."""
        try:
            path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise ConfigurationError(f"{path} exists: name another folder for this run") from None
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        return cls(path)

    def append(self, record: RoundRecord) -> None:
        """One more line; raises `OSError`, and leaves none of it, where the disk is full."""
        path = self.path / "rounds.jsonl"
        with path.open("ab", buffering=0) as file:
            append_line(file.fileno(), msgspec.json.encode(record), path)
        sync_folder(self.path)  # the first line makes the file

    def finish(self, record: RunRecord) -> None:
        """The whole record."""
        self.keep("record.json", record.to_json())

    def leave(self) -> None:
        """A folder that received nothing goes: a run that did not begin can be tried again."""
        with suppress(OSError):
            self.path.rmdir()

    def keep(self, name: str, text: str) -> None:
        """The file as it was, or the whole new one, whenever the machine stops.

        It is the new one when this returns. Raises `OSError`.
        """
        path = self.path / name
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(self.path)
