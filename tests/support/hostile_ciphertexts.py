"""Mutants of a real ciphertext: half of them random, half within TenSEAL's message and SEAL's."""

import struct

import numpy as np

from ceremonies import ceremony
from fedprivacy.secagg.homomorphic.native import NativeContext
from fedprivacy.secagg.homomorphic.schemes import SCHEMES


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def message(sizes, ciphertexts, scale=None):
    """TenSEAL's protobuf message around ciphertexts."""
    packed = b"".join(map(varint, sizes))
    out = b"\x0a" + varint(len(packed)) + packed if sizes else b""
    out += b"".join(b"\x12" + varint(len(c)) + c for c in ciphertexts)
    return out if scale is None else out + b"\x19" + struct.pack("<d", scale)


def genuine(protocol):
    scheme = SCHEMES[protocol]
    context = NativeContext.load(scheme, ceremony(protocol).context)
    one = 1 if protocol == "bfv" else 1.0
    return scheme, context.encrypt([one] * scheme.slots)


def inner(scheme, data):
    end = len(data) - (0 if scheme.name == "bfv" else 9)
    return data[data.index(b"\x5e\xa1\x10") : end]


def changed(body, draw, least, most):
    """One byte is another, in this range."""
    at = draw(least, most)
    return body[:at] + bytes([draw(0, 256)]) + body[at + 1 :]


def longer(body, size):
    """The header says another length."""
    return body[:8] + struct.pack("<Q", size) + body[16:]


def swollen(body):
    """Three blocks that repeat one byte 131,072 times each."""
    block = (1 << 1 | (1 << 17) << 3).to_bytes(3, "little") + b"\x00"
    last = (1 | 1 << 1 | (1 << 17) << 3).to_bytes(3, "little") + b"\x00"
    frame = body[16:28] + block * 2 + last
    return longer(body[:16], 16 + len(frame)) + frame


SCALES = (np.nan, np.inf, 0.0, -1.0, 2.0**41)
STRUCTURED = (
    lambda slots, body, draw, scale: message([], [body], scale),
    lambda slots, body, draw, scale: message([slots + draw(1, 100)], [body], scale),
    lambda slots, body, draw, scale: message([slots * 100], [body], scale),
    lambda slots, body, draw, scale: message([slots], [body, body], scale),
    lambda slots, body, draw, scale: message([slots], [], scale),
    lambda slots, body, draw, scale: message([slots], [body], SCALES[draw(0, 5)]),
    # SEAL's header, the frame's head, then SEAL's own fields within the frame and coefficients.
    lambda slots, body, draw, scale: message([slots], [changed(body, draw, 0, 16)], scale),
    lambda slots, body, draw, scale: message([slots], [changed(body, draw, 16, 28)], scale),
    lambda slots, body, draw, scale: message([slots], [changed(body, draw, 28, 160)], scale),
    lambda slots, body, draw, scale: message([slots], [longer(body, draw(0, 1 << 40))], scale),
    lambda slots, body, draw, scale: message([slots], [swollen(body)], scale),
)


def structured(scheme, data, draw):
    """A message whose outlines are kept, and whose words are others."""
    scale = None if scheme.name == "bfv" else 2.0**scheme.scale_bits
    make = STRUCTURED[int(draw.integers(len(STRUCTURED)))]
    body = inner(scheme, data)
    return make(scheme.slots, body, lambda a, b: int(draw.integers(a, b)), scale)


def random_mutant(data, draw):
    kind, at = int(draw.integers(4)), int(draw.integers(len(data)))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([int(draw.integers(256))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + int(draw.integers(1, 9)) :]
    return data[:at] + draw.bytes(int(draw.integers(1, 9))) + data[at:]


def mutants(protocol, count):
    scheme, data = genuine(protocol)
    draw = np.random.default_rng(count)
    for number in range(count):
        yield structured(scheme, data, draw) if number % 2 else random_mutant(data, draw)
