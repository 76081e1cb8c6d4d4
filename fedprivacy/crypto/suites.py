"""The cipher suites that a round can be run with, by codepoint."""

from __future__ import annotations

import enum

__all__ = ["Suite"]


class Suite(enum.IntEnum):
    """One choice of every primitive; the value is the registered codepoint."""

    X25519_ED25519_HKDF_SHA256_AES256GCM_AES256CTR = 1

    @property
    def label(self) -> str:
        """The name as it stands in plans and policies."""
        return self.name.lower().replace("_", "-")
