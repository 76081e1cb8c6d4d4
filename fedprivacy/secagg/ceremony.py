"""What a key ceremony makes: one secret key that all clients share, and what the server needs.

The clients' file decrypts everything that is ever encrypted under it. The server's decrypts
nothing: it lets the server tell ciphertexts of this ceremony's clients from other bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from fedprivacy.crypto import read_secret, write_secret
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.wire import Message, decode, encode

__all__ = ["Admission", "GroupKey"]

_MOST_CONTEXT = 1 << 24
_LIMIT = _MOST_CONTEXT + 256
_Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Part = TypeVar("_Part", "Admission", "GroupKey")


class Admission(Message, frozen=True, tag="fedprivacy/ceremony-server/1"):
    """The server's part: authenticates ciphertexts, and opens none."""

    protocol: _Name
    admission: _Key

    def __repr__(self) -> str:
        return f"Admission({self.protocol})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a new file that only the owner can read."""
        write_secret(path, encode(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Admission:
        """The part in a file; raises `ConfigurationError` naming what is wrong with it."""
        return _loaded(cls, path)


class GroupKey(Message, frozen=True, tag="fedprivacy/ceremony-clients/1"):
    """The clients' part, the same for all of them, with the secret key in it."""

    protocol: _Name
    admission: _Key
    membership: _Key
    """Marks in each ciphertext whose it is, and of which round, are derived from it."""
    context: Annotated[bytes, Meta(max_length=_MOST_CONTEXT)]
    """The library's own bytes: parameters and secret key."""

    def __repr__(self) -> str:
        return f"GroupKey({self.protocol})"

    @property
    def server_part(self) -> Admission:
        return Admission(self.protocol, self.admission)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a new file that only the owner can read."""
        write_secret(path, encode(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GroupKey:
        """The part in a file; raises `ConfigurationError` naming what is wrong with it."""
        return _loaded(cls, path)


def _loaded(kind: type[_Part], path: str | os.PathLike[str]) -> _Part:
    name = Path(path)
    try:
        return decode(kind, read_secret(name, limit=_LIMIT), limit=_LIMIT)
    except PeerError:
        # The decoder's text could quote what it read.
        raise ConfigurationError(
            f"{name} is not this part of a key ceremony: make it with `fedprivacy keys ceremony`"
        ) from None
