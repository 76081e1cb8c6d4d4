"""Merkle trees over any number of leaves: RFC 9162, section 2.1, with SHA-256.

Leaves and nodes are hashed under different prefixes, so that a node never passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

__all__ = ["MerkleTree", "merkle_root", "path_lengths", "verify_path"]


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """A tree over leaves in order, kept whole so that each path is cheap."""

    __slots__ = ("_levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        level = [_leaf(leaf) for leaf in leaves]
        self._levels = [level]
        while len(level) > 1:
            pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            # A last node without a sibling rises unchanged.
            level = pairs + level[len(pairs) * 2 :]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """32 bytes; of no leaves, the hash of nothing (RFC 9162, 2.1.1)."""
        top = self._levels[-1]
        return top[0] if top else hashlib.sha256(b"").digest()

    def path(self, index: int) -> tuple[bytes, ...]:
        """The siblings from leaf `index` up to the root (RFC 9162, 2.1.3.1)."""
        path = []
        for level in self._levels[:-1]:
            if (sibling := index ^ 1) < len(level):
                path.append(level[sibling])
            index //= 2
        return tuple(path)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The 32-byte root over leaves in order."""
    return MerkleTree(leaves).root


def path_lengths(leaves: int) -> Iterator[tuple[range, int]]:
    """The leaves of a Merkle tree from left to right, with how many siblings lead to its root.

    The tree of n leaves has the largest power of two below n on its left (RFC 9162, section 2.1.1).
    """
    first, above = 0, 0
    while (rest := leaves - first) > 1:
        height = (rest - 1).bit_length() - 1
        above += 1
        yield range(first, first + (1 << height)), above + height
        first += 1 << height
    yield range(first, leaves), above


def verify_path(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether `leaf` stands at `index` in the tree of `size` leaves with this root.

    Index and size are part of the statement: the path has exactly the siblings that they imply.
    """
    if not 0 <= index < size:
        return False
    node, rest = _leaf(leaf), list(path)
    while size > 1:
        if (index ^ 1) < size:
            if not rest:
                return False
            sibling = rest.pop(0)
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index, size = index // 2, (size + 1) // 2
    return not rest and node == root
