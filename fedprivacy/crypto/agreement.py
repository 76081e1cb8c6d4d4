"""X25519 key agreement (RFC 7748) on raw 32-byte keys."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedprivacy.errors import PeerError, Reason

__all__ = ["KEY_BYTES", "KeyPair", "is_weak"]

KEY_BYTES = 32

_P = (1 << 255) - 19
_TOP_BIT = 1 << 255
# The u-coordinates of all points whose order divides 8, on the curve and on its twist.
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)


class KeyPair:
    """A private key, any 32 uniform bytes, made ready once for many peers."""

    __slots__ = ("_private", "public")

    public: bytes
    """The 32 bytes of the public half."""

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, peer_public: bytes) -> bytes:
        """The 32 bytes that both sides compute; they go into `derive`, never into use as they are.

        Raises `PeerError`: `MALFORMED` for a public key of another length, `WEAK_KEY` for one of
        small order, with which the result would be zero whatever the private key (RFC 7748, 6.1).
        """
        if len(peer_public) != KEY_BYTES:
            raise PeerError(Reason.MALFORMED, f"a public key of {len(peer_public)} bytes")
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            # The library's only complaint about two keys of the right length is the zero result.
            raise PeerError(Reason.WEAK_KEY, "the public key is of small order") from None

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()})"


def is_weak(public: bytes) -> bool:
    """Whether this public key agrees on zero with everyone: a point of small order.

    As in every use of such a key, the top bit is ignored and the rest is reduced.
    """
    return int.from_bytes(public, "little") % _TOP_BIT % _P in _SMALL_ORDER
