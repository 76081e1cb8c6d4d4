"""What a client of masked aggregation keeps to itself, each secret for as long as it is needed."""

from __future__ import annotations

from fedprivacy.crypto import KeyPair
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg.masking.shares import HeldShares

__all__ = ["RAND_BYTES", "RAND_FIELDS", "ClientSecrets"]

RAND_FIELDS = ("seal_private", "mask_private", "seed", "coefficients", "salts")
RAND_BYTES = 32 * len(RAND_FIELDS)


class ClientSecrets:
    """The client's secrets; what is erased is overwritten, as far as Python allows.

    A field of `rand` that is all zeros was erased in an earlier process.
    """

    def __init__(self, rand: bytes) -> None:
        if len(rand) != RAND_BYTES:
            raise ConfigurationError(f"rand has {len(rand)} bytes, not {RAND_BYTES}")
        self._rand = bytearray(rand)
        self._pairs = {
            name: KeyPair(self[name])
            for name in ("seal_private", "mask_private")
            if any(self._rand[_place(name)])
        }
        self.channels: dict[int, bytes] = {}
        """By member: what its seal key and this client's agree on."""
        self.held: dict[int, HeldShares] = {}
        self.acknowledgements: dict[int, bytes] = {}
        """By member: what is revealed to it with an input that carries its mask."""

    def __getitem__(self, name: str) -> bytes:
        secret = bytes(self._rand[_place(name)])
        if not any(secret):
            raise PeerError(Reason.UNEXPECTED, "this client's secrets are erased")
        return secret

    @property
    def seal(self) -> KeyPair:
        return self._pair("seal_private")

    @property
    def mask(self) -> KeyPair:
        return self._pair("mask_private")

    @property
    def rand(self) -> bytes:
        """What was drawn for this client, zeros in place of what is erased."""
        return bytes(self._rand)

    def erase_dealing(self) -> None:
        """Its shares are dealt, and what it has in common with each member is agreed on."""
        self._erase("seal_private", "coefficients", "salts")

    def erase_channels(self) -> None:
        """Its boxes are opened."""
        self.channels.clear()

    def erase_input(self) -> None:
        """Its input is gone: from here on it only answers for what others dealt to it."""
        self._erase("mask_private", "seed")
        self.acknowledgements.clear()

    def erase(self) -> None:
        self._erase(*RAND_FIELDS)
        self.channels.clear()
        self.held.clear()
        self.acknowledgements.clear()

    def _pair(self, name: str) -> KeyPair:
        if name not in self._pairs:
            raise PeerError(Reason.UNEXPECTED, "this client's keys are erased")
        return self._pairs[name]

    def _erase(self, *names: str) -> None:
        for name in names:
            self._rand[_place(name)] = bytes(32)
            self._pairs.pop(name, None)

    def __repr__(self) -> str:
        return "<secrets>"


def _place(name: str) -> slice:
    start = 32 * RAND_FIELDS.index(name)
    return slice(start, start + 32)
