"""What a ciphertext must look like before the native library sees a byte of it.

TenSEAL 0.3.18 trusts the protobuf message around a ciphertext: with other counts than the plan's
it reads beyond its memory or ends the process. So nothing is loaded but the one encoding that an
honest party makes: one ciphertext, the plan's number of slots, SEAL's header with the true length,
and one Zstandard frame that says how much it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.homomorphic.schemes import Kind, Scheme

__all__ = ["check_structure"]

# SEAL 4: magic, bytes in this header, version, compression (2 is Zstandard), zero, bytes in all.
_SEAL_MAGIC, _SEAL_HEADER, _SEAL_MAJOR, _ZSTANDARD = 0xA15E, 16, 4, 2
_FRAME_MAGIC = 0xFD2FB528
# RFC 8878, 3.1.1.1.1: a single segment with its size in two or four bytes, no checksum, no
# dictionary.
_SIZE_BYTES = {0x60: (2, 256), 0xA0: (4, 0)}
_BLOCK_MOST = 1 << 17
_RAW, _REPEATED, _RESERVED = 0, 1, 3


def check_structure(scheme: Scheme, data: bytes | memoryview) -> None:
    """Raise `PeerError` (`CIPHERTEXT`) unless these are the outlines of one fresh ciphertext."""
    view = memoryview(data)
    if len(view) > scheme.most_bytes:
        raise _refused(f"{len(view)} bytes where at most {scheme.most_bytes} are one ciphertext")
    _check_frame(scheme, _seal_body(_ciphertext(scheme, view)))


def _refused(detail: str) -> PeerError:
    return PeerError(Reason.CIPHERTEXT, detail)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _ciphertext(scheme: Scheme, view: memoryview) -> memoryview:
    """The one ciphertext in TenSEAL's message: sizes = 1, ciphertexts = 2 and, CKKS, scale = 3."""
    sizes = _varint(scheme.slots)
    head = b"\x0a" + _varint(len(sizes)) + sizes + b"\x12"
    end = b""
    if scheme.kind is Kind.CKKS:
        end = b"\x19" + struct.pack("<d", 2.0**scheme.scale_bits)
    # A length of n bytes takes as many as its varint has: the lengths here take three.
    start = len(head) + 3
    inner = len(view) - start - len(end)
    if inner < _SEAL_HEADER or bytes(view[:start]) != head + _varint(inner):
        raise _refused("not one ciphertext with the plan's number of slots")
    if bytes(view[start + inner :]) != end:
        raise _refused("the scale is not the plan's")
    return view[start : start + inner]


def _seal_body(view: memoryview) -> memoryview:
    magic, header, major, _minor, mode, zero, size = struct.unpack_from("<HBBBBHQ", view)
    if (magic, header, major, mode, zero) != (
        _SEAL_MAGIC,
        _SEAL_HEADER,
        _SEAL_MAJOR,
        _ZSTANDARD,
        0,
    ):
        raise _refused("not the header of a compressed ciphertext")
    if size != len(view):
        raise _refused(f"the header says {size} bytes where {len(view)} are there")
    return view[_SEAL_HEADER:]


def _check_frame(scheme: Scheme, view: memoryview) -> None:
    """One frame that says that it holds the raw ciphertext, whose blocks hold no more."""
    if len(view) < 9 or int.from_bytes(view[:4], "little") != _FRAME_MAGIC:
        raise _refused("not a Zstandard frame")
    if view[4] not in _SIZE_BYTES:
        raise _refused("a Zstandard frame of another kind than is written here")
    width, offset = _SIZE_BYTES[view[4]]
    held = int.from_bytes(view[5 : 5 + width], "little") + offset
    if held != scheme.raw_bytes:
        raise _refused(f"it says that it holds {held} bytes, not {scheme.raw_bytes}")
    blocks = list(_blocks(view[5 + width :]))
    if len(blocks) > 4 + 4 * (scheme.raw_bytes // _BLOCK_MOST):
        raise _refused(f"{len(blocks)} blocks for one ciphertext")
    if sum(size for kind, size in blocks if kind in (_RAW, _REPEATED)) > held:
        raise _refused("its blocks hold more than it says")


def _blocks(view: memoryview) -> Iterator[tuple[int, int]]:
    """Kind and size of each block, up to the last, after which nothing may follow."""
    at, last = 0, 0
    while not last:
        if at + 3 > len(view):
            raise _refused("a block is cut off")
        header = int.from_bytes(view[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED or size > _BLOCK_MOST:
            raise _refused("a block of no known kind or size")
        at += 3 + (1 if kind == _REPEATED else size)
        yield kind, size
    if at != len(view):
        raise _refused(f"{len(view) - at} bytes beyond the last block")
