"""The last state of a store, kept in another folder, so that an old copy of the store is noticed.

What this catches: a store put back from a backup, a snapshot or a copy while the anchor stayed; two
copies of one store that went on separately; with an anchor path of one's own choice, also a store
deleted and begun anew. What it cannot catch: store and anchor both put back from one snapshot, or
anybody who may write both files and means to deceive this client. Where machines are restored
whole, keep the anchor on a volume that is not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger.durable import sync_folder

__all__ = ["Anchor", "default_anchor_path"]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/anchor/1"]
    store: str
    generation: Annotated[int, msgspec.Meta(ge=0)]
    head: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """The store's name, how many commits it has seen, and the head of their hash chain."""

    store: str
    generation: int
    head: bytes

    def save(self, path: Path) -> None:
        """Replace the file atomically, mode 0600, durable when this returns."""
        document = _Document("fedprivacy/anchor/1", self.store, self.generation, self.head.hex())
        fresh = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)  # left by a process that died before the replacement
            handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(document))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise ConfigurationError(
                f"anchor = {path} cannot be written ({error.strerror}): "
                "make its folder writable for this client alone"
            ) from None

    @classmethod
    def load(cls, path: Path) -> Anchor | None:
        """The anchor in the file, None if there is no such file."""
        try:
            document = msgspec.json.decode(path.read_bytes(), type=_Document)
            return cls(document.store, document.generation, bytes.fromhex(document.head))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"anchor = {path} cannot be read ({error.strerror}): give this client access"
            ) from None
        except (msgspec.MsgspecError, ValueError):
            raise ConfigurationError(
                f"anchor = {path} is not an anchor: bring the file back as it was"
            ) from None


def default_anchor_path(store: str) -> Path:
    """`fedprivacy/anchors/<store>` in the user's folder for state (XDG base directories 0.8)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return folder / "fedprivacy" / "anchors" / store
