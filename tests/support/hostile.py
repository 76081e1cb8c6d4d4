"""Bytes that an honest peer does not send, made from those that it does.

`spans` finds every value inside a message, so that one field deep in it can be replaced while all
around it stays well-formed: plain noise seldom gets past a decoder's first byte.
"""

import struct

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

NAN, INF = float("nan"), float("inf")


def fuzz(setting, profile="fuzz"):
    """How hard to try: on a ring a fifth as hard, since all but the graph is the same code."""
    profile = settings.get_profile(profile)
    if not setting.sparse:
        return profile
    return settings(profile, max_examples=profile.max_examples // 5)


def _double(value):
    return b"\xcb" + struct.pack(">d", value)


SPECIALS = [
    b"",
    b"\xc0",
    b"\xc1",  # never used by MessagePack
    b"\xc2",
    b"\xc3",
    b"\x00",
    b"\x01",
    b"\xff",  # -1
    b"\xcc\x00",  # zero, one byte too long; and longer
    b"\xcd\x00\x01",
    b"\xce\x00\x00\x00\x02",
    b"\xcf" + bytes(7) + b"\x03",
    b"\xd0\x01",
    b"\xd3" + bytes(8),
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xce\x7f\xff\xff\xff",
    b"\xce\xff\xff\xff\xff",
    _double(NAN),
    b"\xcb\xff\xf8\x00\x00\x00\x00\x00\x01",  # a NaN with a sign and a payload
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x01",  # one that signals
    _double(INF),
    _double(-INF),
    _double(-0.0),
    _double(0.0),
    _double(5e-324),
    _double(1e308),
    _double(1.0),
    b"\xca" + struct.pack(">f", 1.0),
    b"\xca" + struct.pack(">f", NAN),
    b"\xa0",
    b"\xd9\x00",
    b"\xa2\xff\xfe",  # no UTF-8
    b"\xa3\xed\xa0\x80",  # a surrogate
    b"\xa4abc\n",
    b"\xa4\x00\x00\x00\x00",
    b"\xa6secagg",
    b"\xa5plain",
    b"\xb3honest-but-curious",
    b"\xc4\x00",
    b"\xc5\x00\x00",
    b"\xc4\x20" + bytes(32),
    b"\xc4\x40" + bytes(64),
    b"\xc5\x00\x20" + bytes(32),  # 32 bytes, their length too long
    b"\xc6\xff\xff\xff\xff",  # lengths that nothing follows
    b"\xdb\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xdc\xff\xff",
    b"\x90",
    b"\x80",
    b"\x81\xa1a\x01",
    b"\x82\xa1a\x01\xa1a\x01",  # a key twice
    b"\x81\x90\x01",
    b"\xd4\x01\x00",  # extensions
    b"\xd6\xff" + bytes(4),
    b"\xd7\xff" + b"\xff" * 8,
    b"\xc7\x0c\xff" + b"\xff" * 12,  # a time beyond all calendars
    b"\xc7\x00\x05",
    b"\x91" * 3000,
    b"\x91" * 100_000,
    b"\x81\xa1a" * 3000,
    b"\x9f" * 200,
]


def _header(data, at):
    """How many bytes a value's head and own content take, and how many values follow inside."""
    first = data[at]
    if first <= 0x7F or first >= 0xE0 or first in {0xC0, 0xC2, 0xC3}:
        return 1, 0
    if first <= 0x8F:
        return 1, 2 * (first & 0x0F)
    if first <= 0x9F:
        return 1, first & 0x0F
    if first <= 0xBF:
        return 1 + (first & 0x1F), 0
    fixed = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
    fixed |= {0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
    if first in fixed:
        return fixed[first], 0
    width = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}.get(first)
    if width:
        return 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big"), 0
    width = {0xDC: 2, 0xDE: 2, 0xDD: 4, 0xDF: 4}[first]
    count = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    return 1 + width, count * (2 if first in {0xDE, 0xDF} else 1)


def spans(data):
    """Where each value of a well-formed message begins and ends, the outermost first."""
    found, at, stack = [], 0, []
    while True:
        size, inside = _header(data, at)
        found.append([at, None])
        stack.append([len(found) - 1, inside])
        at += size
        while stack and stack[-1][1] == 0:
            found[stack.pop()[0]][1] = at
            if not stack:
                return [tuple(span) for span in found]
        stack[-1][1] -= 1


def mutations(data, donors=()):
    """A strategy for `changed`; where it fails, only the seed shrinks, not the message."""
    return st.randoms(use_true_random=True).map(lambda rnd: changed(rnd, data, donors))


def changed(rnd, data, donors=()):
    """`data` after one to three changes; `donors` are other messages to take parts from."""
    for _ in range(rnd.randint(1, 3)):
        data = rnd.choice(_CHANGES)(rnd, data, donors)
    return data


def _place(rnd, data):
    return rnd.randrange(max(len(data), 1))


def _flip(rnd, data, donors):
    if not data:
        return data
    at, bit = _place(rnd, data), rnd.randrange(8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def _truncate(rnd, data, donors):
    return data[: _place(rnd, data)]


def _extend(rnd, data, donors):
    return data + (
        rnd.choice(SPECIALS) if rnd.random() < 0.5 else rnd.randbytes(rnd.randint(1, 40))
    )


def _splice(rnd, data, donors):
    other = rnd.choice([data, *donors])
    return data[: _place(rnd, data)] + other[_place(rnd, other) :]


def _insert(rnd, data, donors):
    at = _place(rnd, data)
    return data[:at] + rnd.choice(SPECIALS) + data[at:]


def _span(rnd, data):
    try:
        return rnd.choice(spans(data))
    except (IndexError, KeyError):  # an earlier change left it malformed
        return 0, len(data)


def _replace_value(rnd, data, donors):
    start, end = _span(rnd, data)
    return data[:start] + rnd.choice(SPECIALS) + data[end:]


def _move_value(rnd, data, donors):
    """A value of this message, or of another, in the place of one of this."""
    start, end = _span(rnd, data)
    other = rnd.choice([data, *donors])
    first, last = _span(rnd, other)
    return data[:start] + other[first:last] + data[end:]


def _repeat_value(rnd, data, donors):
    start, end = _span(rnd, data)
    return data[:end] + data[start:]


def _other_message(rnd, data, donors):
    return rnd.choice([data, *donors])


_CHANGES = [
    _flip,
    _flip,
    _truncate,
    _extend,
    _splice,
    _insert,
    _replace_value,
    _replace_value,
    _move_value,
    _move_value,
    _repeat_value,
    _other_message,
]

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(),
        st.binary(max_size=70),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)

noise = st.one_of(
    st.binary(max_size=300),
    values.map(msgspec.msgpack.encode),
    st.sampled_from(SPECIALS),
    st.lists(st.sampled_from(SPECIALS), max_size=4).map(b"".join),
)
"""Bytes that come from no message at all."""


def junk(rnd):
    """Bytes that come from no message at all, without hypothesis."""
    match rnd.randrange(4):
        case 0:
            return rnd.randbytes(rnd.randrange(300))
        case 1:
            return msgspec.msgpack.encode(_value(rnd, 3))
        case 2:
            return rnd.choice(SPECIALS)
    return b"".join(rnd.choices(SPECIALS, k=rnd.randrange(5)))


def _value(rnd, depth):
    kind = rnd.randrange(9 if depth else 7)
    match kind:
        case 0:
            return None
        case 1:
            return rnd.random() < 0.5
        case 2:
            return rnd.randrange(-(1 << 63), 1 << 64)
        case 3:
            return rnd.choice([0, 1, -1, 127, 128, 255, 256, 1 << 16, 1 << 32])
        case 4:
            return struct.unpack(">d", rnd.randbytes(8))[0]
        case 5:
            return rnd.randbytes(rnd.randrange(70))
        case 6:
            return "".join(chr(rnd.randrange(0x20, 0xD800)) for _ in range(rnd.randrange(20)))
        case 7:
            return [_value(rnd, depth - 1) for _ in range(rnd.randrange(7))]
    return {str(i): _value(rnd, depth - 1) for i in range(rnd.randrange(5))}
