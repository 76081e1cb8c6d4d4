"""The directory of enrolled clients, signed by the consortium's authority and pinned by clients."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from fedprivacy.crypto.identity import CLIENT_ID_PATTERN
from fedprivacy.crypto.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SigningKey,
    has_small_order,
    verify,
)
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.wire import Message, decode, digest, encode

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "Directory"]

MAX_ENTRIES = 100_000
_MAX_EPOCH = (1 << 63) - 1
MAX_BYTES = 128 + MAX_ENTRIES * 104  # an entry takes at most 1 + 2 + 64 + 2 + 32 bytes
_SIGNED = "directory"
_HASHED = "directory-hash"

_ClientId = Annotated[str, msgspec.Meta(pattern=CLIENT_ID_PATTERN)]
_Key = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
_Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
_Epoch = Annotated[int, msgspec.Meta(ge=1, le=_MAX_EPOCH)]


class Directory(Message, frozen=True, tag="directory"):
    """Who is enrolled, with which key, since which epoch.

    Entries are `(client_id, public_key)`, strictly ascending by id; no two share a key. Each change
    has a higher epoch. The signature is checked by `verify`, not before.
    """

    epoch: _Epoch
    entries: Annotated[tuple[tuple[_ClientId, _Key], ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    signature: _Signature

    def __post_init__(self) -> None:
        # `ValueError` is what a decoder expects of a value that its schema cannot rule out.
        _check(self.epoch, self.entries, self.signature)

    @staticmethod
    def sign(epoch: int, entries: Iterable[tuple[str, bytes]], authority: SigningKey) -> Directory:
        """The directory of these clients, in any order; raises `ConfigurationError`."""
        ordered = tuple(sorted(entries))
        unsigned = bytes(SIGNATURE_BYTES)
        try:
            _check(epoch, ordered, unsigned)
        except ValueError as error:
            raise ConfigurationError(f"directory: {error}") from None
        signature = authority.sign(_SIGNED, *_signed_parts(epoch, ordered))
        return Directory(epoch, ordered, signature)

    def verify(self, authority_public: bytes) -> None:
        """Raises `PeerError` (`DIRECTORY_SIGNATURE`) unless this authority signed it."""
        parts = _signed_parts(self.epoch, self.entries)
        if not verify(authority_public, self.signature, _SIGNED, *parts):
            raise PeerError(
                Reason.DIRECTORY_SIGNATURE, "the directory is not signed by the pinned authority"
            )

    def key_of(self, client_id: str) -> bytes | None:
        """The client's public key; None for who is not enrolled."""
        index = bisect_left(self.entries, client_id, key=lambda entry: entry[0])
        if index < len(self.entries) and self.entries[index][0] == client_id:
            return self.entries[index][1]
        return None

    def digest(self) -> bytes:
        """The 32 bytes by which plans and stores name this directory."""
        return digest(_HASHED, encode(self))

    @staticmethod
    def decode(data: bytes) -> Directory:
        """The directory of these canonical bytes; raises `PeerError`."""
        return decode(Directory, data, limit=MAX_BYTES)

    def to_json(self) -> str:
        """The text for a file, sorted by id, keys in hex."""
        text = _DirectoryText(
            "fedprivacy/directory/1",
            self.epoch,
            [EntryText(client_id, key.hex()) for client_id, key in self.entries],
            self.signature.hex(),
        )
        return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"

    @staticmethod
    def from_json(text: str) -> Directory:
        """The directory in a text; raises `ConfigurationError` naming the place that is wrong."""
        try:
            raw = msgspec.json.decode(text, type=_DirectoryText)
            entries = tuple((entry.id, bytes.fromhex(entry.public_key)) for entry in raw.entries)
            return Directory(raw.epoch, entries, bytes.fromhex(raw.signature))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"directory: {error}") from None


class EntryText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry as files have it."""

    id: _ClientId
    public_key: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * PUBLIC_KEY_BYTES}}}\Z")]


class _DirectoryText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/directory/1"]
    epoch: _Epoch
    entries: list[EntryText]
    signature: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * SIGNATURE_BYTES}}}\Z")]


def _signed_parts(epoch: int, entries: tuple[tuple[str, bytes], ...]) -> Iterable[bytes]:
    yield epoch.to_bytes(8, "big")
    for client_id, key in entries:
        yield client_id.encode()
        yield key


def _check(epoch: int, entries: tuple[tuple[str, bytes], ...], signature: bytes) -> None:
    """Raises `ValueError` naming the first thing that no directory holds."""
    if not 1 <= epoch <= _MAX_EPOCH:
        raise ValueError(f"epoch {epoch} is outside [1, 2**63)")
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"{len(entries)} entries where at most {MAX_ENTRIES} are allowed")
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError(f"a signature of {len(signature)} bytes")
    owners: dict[bytes, str] = {}
    previous = ""
    for client_id, key in entries:
        if not re.match(CLIENT_ID_PATTERN, client_id):
            raise ValueError(f"{client_id!r} is not a client id")
        if client_id <= previous:
            raise ValueError(f"{client_id!r} does not come after {previous!r}")
        if len(key) != PUBLIC_KEY_BYTES:
            raise ValueError(f"{client_id!r} has a key of {len(key)} bytes")
        if has_small_order(key):
            raise ValueError(f"{client_id!r} has a key of small order, which binds nobody")
        if owners.setdefault(key, client_id) != client_id:
            raise ValueError(f"{owners[key]!r} and {client_id!r} share a key")
        previous = client_id
