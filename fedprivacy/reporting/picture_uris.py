"""Pictures that attacks found, as PNG within the page itself."""

from __future__ import annotations

import base64
import struct
import zlib

from fedprivacy.attacks.result import Picture

__all__ = ["picture_uri"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR = 0, 2


def picture_uri(picture: Picture) -> str:
    """A `data:` address with the whole picture, 8 bits a channel; PNG without filters.

    Pixels that are missing are black, and what is too many is left out: results are files that
    others may have written.
    """
    stride = picture.width * picture.channels
    size = stride * picture.height
    pixels = picture.pixels[:size].ljust(size, b"\0")
    rows = b"".join(b"\0" + pixels[i : i + stride] for i in range(0, size, stride))
    colour = _GREY if picture.channels == 1 else _COLOUR
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(
        _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)
    ).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check
