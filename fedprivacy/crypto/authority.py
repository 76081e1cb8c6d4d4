"""The public half of a directory authority's key, in the file that clients pin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from fedprivacy.crypto.identity import CLIENT_ID_PATTERN, Identity
from fedprivacy.crypto.signing import PUBLIC_KEY_BYTES
from fedprivacy.errors import ConfigurationError

__all__ = ["Authority"]


class _AuthorityText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/authority/1"]
    name: Annotated[str, msgspec.Meta(pattern=CLIENT_ID_PATTERN)]
    public_key: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * PUBLIC_KEY_BYTES}}}\Z")]


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs directories; nothing secret.

    The file proves nothing by itself: a client compares the key over another channel before it
    pins it.
    """

    name: str
    public_key: bytes

    @classmethod
    def of(cls, identity: Identity) -> Authority:
        """The public half of an authority's own key."""
        return cls(identity.client_id, identity.key.public)

    def to_json(self) -> str:
        """The text for a file, the key in hex."""
        text = _AuthorityText("fedprivacy/authority/1", self.name, self.public_key.hex())
        return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Authority:
        """The authority in a text; raises `ConfigurationError` naming the place that is wrong."""
        try:
            raw = msgspec.json.decode(text, type=_AuthorityText)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ConfigurationError(f"authority: {error}") from None
        return cls(raw.name, bytes.fromhex(raw.public_key))
