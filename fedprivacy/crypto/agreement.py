"""X25519 key agreement (RFC 7748) on raw 32-byte keys."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedprivacy.errors import PeerError, Reason

__all__ = ["KEY_BYTES", "agree", "public_key"]

KEY_BYTES = 32


def public_key(private: bytes) -> bytes:
    """The public key of a private one; any 32 uniform bytes are a private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, peer_public: bytes) -> bytes:
    """The 32 bytes that both sides compute; they go into `derive`, never into use as they are.

    Raises `PeerError`: `MALFORMED` for a public key of another length, `WEAK_KEY` for one of small
    order, with which the result would be zero whatever the private key (RFC 7748, 6.1).
    """
    if len(peer_public) != KEY_BYTES:
        raise PeerError(Reason.MALFORMED, f"a public key of {len(peer_public)} bytes")
    own, peer = X25519PrivateKey.from_private_bytes(private), X25519PublicKey.from_public_bytes
    try:
        return own.exchange(peer(peer_public))
    except ValueError:
        # The library's only complaint about two keys of the right length is the zero result.
        raise PeerError(Reason.WEAK_KEY, "the public key is of small order") from None
