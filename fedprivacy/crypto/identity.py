"""A client's long-lived identity: its name, its Ed25519 key, and the request to be enrolled."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fedprivacy.crypto.secret_files import read_secret, write_secret
from fedprivacy.crypto.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SigningKey,
    has_small_order,
    verify,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Rng

__all__ = ["CLIENT_ID_PATTERN", "Enrolment", "Identity", "check_client_id"]

# Python's `$` lets a last line feed pass, and JSON Schema has no `\Z`: this form means one thing.
CLIENT_ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$(?!\n)"
_KEY_FILE_LIMIT = 4096  # bytes; such a key takes about 120


def check_client_id(client_id: str) -> str:
    """The id itself; raises `ConfigurationError` unless it can be a client's name everywhere."""
    if not re.match(CLIENT_ID_PATTERN, client_id):
        raise ConfigurationError(
            f"client id {client_id!r}: use 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or a digit"
        )
    return client_id


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A client's name and its secret key."""

    client_id: str
    key: SigningKey = field(repr=False)

    def __post_init__(self) -> None:
        check_client_id(self.client_id)

    @classmethod
    def new(cls, client_id: str, *, rng: Rng) -> Identity:
        """A fresh identity; draws 32 bytes."""
        return cls(client_id, SigningKey.from_seed(rng.bytes(SEED_BYTES)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the key, PEM PKCS #8, to a new file that only the owner can read.

        Raises `ConfigurationError` when the path exists: a lost key is not to be had back.
        """
        write_secret(path, self.key.to_pem())

    @classmethod
    def load(cls, path: str | os.PathLike[str], client_id: str) -> Identity:
        """The identity whose key was saved to `path`.

        Raises `ConfigurationError` when the file cannot be read, lets others read it, or holds
        anything but an Ed25519 key.
        """
        name = Path(path)
        pem = read_secret(name, limit=_KEY_FILE_LIMIT)
        try:
            return cls(client_id, SigningKey.from_pem(pem))
        except ValueError:
            # The library's text could quote what it read.
            raise ConfigurationError(
                f"{name} holds no unencrypted Ed25519 key (PEM, PKCS #8): "
                "make one with `fedprivacy keys new`"
            ) from None


class _EnrolmentText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/enrolment/1"]
    id: Annotated[str, msgspec.Meta(pattern=CLIENT_ID_PATTERN)]
    public_key: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * PUBLIC_KEY_BYTES}}}\Z")]
    proof: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * SIGNATURE_BYTES}}}\Z")]


_PROOF_LABEL = "enrolment"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a client hands to the authority to be entered in the directory; nothing secret."""

    client_id: str
    public_key: bytes

    @staticmethod
    def request(identity: Identity) -> str:
        """The JSON text for the authority, with a proof that the client holds the secret key."""
        public = identity.key.public
        proof = identity.key.sign(_PROOF_LABEL, identity.client_id.encode(), public)
        text = _EnrolmentText(
            "fedprivacy/enrolment/1", identity.client_id, public.hex(), proof.hex()
        )
        return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"

    @staticmethod
    def parse(text: str) -> Enrolment:
        """The request in a text; raises `ConfigurationError` naming what is wrong with it."""
        try:
            entry = msgspec.json.decode(text, type=_EnrolmentText)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ConfigurationError(f"enrolment: {error}") from None
        public, proof = bytes.fromhex(entry.public_key), bytes.fromhex(entry.proof)
        if has_small_order(public):
            raise ConfigurationError(
                f"enrolment: $.public_key of {entry.id} has small order, so that anybody can sign "
                "for it: ask for a new identity"
            )
        if not verify(public, proof, _PROOF_LABEL, entry.id.encode(), public):
            raise ConfigurationError(
                f"enrolment: $.proof does not hold for {entry.id}: ask for a new request"
            )
        return Enrolment(entry.id, public)
