"""Ed25519 signatures (RFC 8032) over labelled parts.

What is signed is `wire.digest(label, *parts)`: no two lists of parts, and no two labels, lead to
one signed string.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedprivacy.wire import digest

__all__ = ["PUBLIC_KEY_BYTES", "SIGNATURE_BYTES", "SigningKey", "has_small_order", "verify"]

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = (1 << 255) - 19
_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# The y of each of the eight points whose order divides 8, and two more encodings of 0 and of 1.
_SMALL_ORDER = frozenset(
    y.to_bytes(32, "little") for y in (0, 1, _P - 1, _OF_ORDER_8, _P - _OF_ORDER_8, _P, _P + 1)
)


class SigningKey:
    """A secret key; neither its text nor a message ever shows it."""

    __slots__ = ("_key", "public")

    public: bytes
    """The 32 bytes by which others verify."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key of 32 uniform bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """The key in a PKCS #8 file without a password; raises `ValueError` for any other."""
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise ValueError("the key is encrypted") from None
        except UnsupportedAlgorithm:
            raise ValueError("the key is of an unknown kind") from None
        if isinstance(key, Ed25519PrivateKey):
            return cls(key)
        raise ValueError("the key is not an Ed25519 key")

    def to_pem(self) -> bytes:
        """The secret itself, PKCS #8, for a file that only its owner can read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, label: str, *parts: bytes) -> bytes:
        """64 bytes that hold for exactly this label and these parts."""
        return self._key.sign(digest(label, *parts))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


def has_small_order(public: bytes) -> bool:
    """Whether this key is a point of small order, for which anybody can make signatures.

    Such a key is bound to nobody, and one signature may hold for many messages. The sign bit of
    the encoding is passed over: with either, the y is refused.
    """
    return len(public) == 32 and public[:31] + bytes([public[31] & 0x7F]) in _SMALL_ORDER


def verify(public: bytes, signature: bytes, label: str, *parts: bytes) -> bool:
    """Whether the owner of `public` signed these parts under this label.

    Bytes that are no key or no signature, and keys of small order, verify nothing.
    """
    return not has_small_order(public) and _verify(public, signature, digest(label, *parts))


def _verify(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
