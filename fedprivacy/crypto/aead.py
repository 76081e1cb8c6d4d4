"""AES-256-GCM (NIST SP 800-38D) with the zero nonce: a key seals one message only.

Two messages under one key would give away their difference and the authentication key. Every key
here is derived for a single message, by `derive` with the sender, the recipient and the session in
its context; a caller who cannot promise that must not use this module.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedprivacy.errors import PeerError, Reason

__all__ = ["OVERHEAD_BYTES", "seal", "unseal"]

OVERHEAD_BYTES = 16
"""How much longer a box is than what it holds: the tag."""

_NONCE = bytes(12)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != 32:
        raise ValueError(f"an AES-256 key has 32 bytes, not {len(key)}")
    return AESGCM(key)


def seal(key: bytes, plaintext: bytes, *, associated: bytes) -> bytes:
    """The box: ciphertext, then tag. A key seals one message only."""
    return _cipher(key).encrypt(_NONCE, plaintext, associated)


def unseal(key: bytes, box: bytes, *, associated: bytes) -> bytes:
    """What `seal` put into the box under the same key and associated bytes.

    Raises `PeerError` (`SHARE_UNOPENED`) for anything else.
    """
    cipher = _cipher(key)
    if len(box) < OVERHEAD_BYTES:
        raise PeerError(Reason.SHARE_UNOPENED, f"a box of {len(box)} bytes has no tag")
    try:
        return cipher.decrypt(_NONCE, box, associated)
    except InvalidTag:
        raise PeerError(Reason.SHARE_UNOPENED, "the box does not open") from None
