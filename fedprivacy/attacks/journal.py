"""A line for each thing that has ended, synced as it ends: an interruption loses none of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.durable import append_line

__all__ = ["Journal", "Kept", "made_folder"]


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a line: `key` stands for all that it is a function of."""

    key: str


Line = TypeVar("Line", bound=Kept)


def made_folder(path: Path) -> Path:
    """A folder for what was found, which only its owner may enter if it is made here."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    return path


@dataclass(slots=True)
class Journal(Generic[Line]):
    """The lines of a file, by key."""

    path: Path
    _kept: dict[str, Line] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, kind: type[Line]) -> Journal[Line]:
        """What earlier runs left there; a last line that was cut off is dropped."""
        opened: Journal[Line] = cls(path)
        if not path.exists():
            return opened
        text = path.read_bytes()
        whole, _, torn = text.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found = msgspec.json.decode(line, type=kind)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ConfigurationError(f"{path}, line {number}: {error}") from None
            opened._kept[found.key] = found
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(text) - len(torn))
        return opened

    def get(self, key: str) -> Line | None:
        return self._kept.get(key)

    def append(self, line: Line) -> None:
        """One more line, synced; raises `OSError`, and leaves none of it, if the disk is full."""
        with self.path.open("ab", buffering=0) as file:
            append_line(file.fileno(), msgspec.json.encode(line), self.path)
        self._kept[line.key] = line

    def remove(self) -> None:
        """Everything has ended, and stands elsewhere."""
        self.path.unlink(missing_ok=True)
        self._kept.clear()
