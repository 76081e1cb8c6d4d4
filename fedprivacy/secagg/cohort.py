"""The committed cohort: the server fixes whom it asked, without showing the list.

The root of a Merkle tree over salted names goes into the round's id. A member proves its place by
opening its leaf; the salts keep the others' names hidden. All attempts at a round use one cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from fedprivacy.crypto.identity import CLIENT_ID_PATTERN
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.wire import DIGEST_BYTES, MerkleTree, Record, digest, merkle_root, verify_path

__all__ = ["DEPTH", "MAX_COHORT", "ClientId", "Cohort", "Digest", "Membership"]

MAX_COHORT = 1 << 20
DEPTH = MAX_COHORT.bit_length() - 1
"""The siblings in a proof of a place, at most."""

ClientId = Annotated[str, Meta(pattern=CLIENT_ID_PATTERN)]
Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class Membership(Record, frozen=True):
    """A member's place in the committed cohort, with the proof of it."""

    index: Annotated[int, Meta(ge=0, lt=MAX_COHORT)]
    client_id: ClientId
    salt: Digest
    path: Annotated[tuple[Digest, ...], Meta(max_length=DEPTH)]

    def proves(self, root: bytes, size: int) -> bool:
        """Whether this is a place in the cohort of `size` members with that root."""
        return verify_path(root, size, self.index, _leaf(self.client_id, self.salt), self.path)


def _leaf(client_id: str, salt: bytes) -> bytes:
    return digest("cohort-member", salt, client_id.encode())


@dataclass(frozen=True, slots=True)
class Cohort:
    """The server's side of the commitment: the members in order, with their salts."""

    members: tuple[str, ...]
    salts: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, members: Sequence[str], *, rng: Rng) -> Cohort:
        """A fresh commitment to distinct members; raises `ConfigurationError` on duplicates."""
        if len(set(members)) != len(members):
            twice = sorted({m for m in members if list(members).count(m) > 1})
            raise ConfigurationError(f"cohort names {twice[0]} twice: list each client once")
        if not 0 < len(members) <= MAX_COHORT:
            raise ConfigurationError(
                f"cohort of {len(members)} clients is outside [1, {MAX_COHORT}]: split the round"
            )
        return cls(tuple(members), tuple(rng.bytes(DIGEST_BYTES) for _ in members))

    def _leaves(self) -> list[bytes]:
        return [_leaf(m, s) for m, s in zip(self.members, self.salts, strict=True)]

    @property
    def root(self) -> bytes:
        return merkle_root(self._leaves())

    def memberships(self) -> tuple[Membership, ...]:
        """Every member's place, in order."""
        tree = MerkleTree(self._leaves())
        return tuple(
            Membership(i, m, s, tree.path(i))
            for i, (m, s) in enumerate(zip(self.members, self.salts, strict=True))
        )
