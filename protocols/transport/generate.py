"""Write vectors/: frames of the channel and what a reader makes of them, by the reference.

    python protocols/transport/generate.py

Each vector is read by one reader, frame by frame; a good one says what came out, a bad one at which
frame it is refused, and for which reason.
"""

import json
from pathlib import Path

import reference as channel

VECTORS = Path(__file__).resolve().parent / "vectors"
SESSION, RUN = bytes(range(16)), bytes(range(16, 32))
LIMIT = 200_000


def message(place, size, piece):
    return channel.frame(
        channel.MESSAGE, place.to_bytes(8, "big") + size.to_bytes(4, "big") + piece
    )


def hello(*fields):
    return channel.frame(channel.HELLO, channel.encode_hello(channel.Hello(*fields)))


def welcome(*fields):
    return channel.frame(channel.WELCOME, channel.encode_welcome(channel.Welcome(*fields)))


def raw(kind, *fields):
    return channel.frame(kind, channel.a_round.pack(tuple(fields)))


LONG = bytes(i % 251 for i in range(150_000))
GOOD = {
    "ok_hello": ("A client begins a session.", [hello(1, "client", SESSION, 0)]),
    "ok_hello_member": ("A member does.", [hello(1, "member", SESSION, 0)]),
    "ok_hello_resumed": ("It comes back with 7 messages.", [hello(1, "client", SESSION, 7)]),
    "ok_welcome": ("The server begins a session.", [welcome(1, RUN, 0, 0, 5000, 1 << 20)]),
    "ok_welcome_resumed": ("It knows the session.", [welcome(1, RUN, 1, 300, 600_000, 1)]),
    "ok_close": ("The run is over.", [channel.frame(channel.CLOSE, channel.encode_close(0))]),
    "ok_close_revoked": (
        "A reason of two bytes.",
        [channel.frame(channel.CLOSE, channel.encode_close(103))],
    ),
    "ok_message": ("One message in one frame.", list(channel.frames_of(1, b"one"))),
    "ok_messages": (
        "Two messages, the second in three frames.",
        [*channel.frames_of(1, b"one"), *channel.frames_of(2, LONG)],
    ),
    "ok_ping_and_ack": (
        "Frames without a message.",
        [channel.frame(channel.PING), channel.frame(channel.ACK, (9).to_bytes(8, "big"))],
    ),
}
BAD = {
    "bad_no_kind": ("A length of zero.", [bytes(5)], "MALFORMED"),
    "bad_kind": ("A kind that is not registered.", [b"\0\0\0\1\x08"], "MALFORMED"),
    "bad_length": ("Longer than any frame.", [b"\xff\xff\xff\xff\x03"], "OVERSIZED"),
    "bad_long_ping": ("A long frame that carries no message.", [b"\0\0\1\1\6"], "OVERSIZED"),
    "bad_ping_with_a_body": (
        "A ping says something.",
        [channel.frame(channel.PING, b"x")],
        "MALFORMED",
    ),
    "bad_ack": (
        "An acknowledgement of seven bytes.",
        [channel.frame(channel.ACK, bytes(7))],
        "MALFORMED",
    ),
    "bad_hello_role": (
        "A role that there is not.",
        [raw(1, "hello", 1, "server", SESSION, 0)],
        "MALFORMED",
    ),
    "bad_hello_session": (
        "A session of 15 bytes.",
        [raw(1, "hello", 1, "client", SESSION[1:], 0)],
        "MALFORMED",
    ),
    "bad_hello_extra": (
        "A field too many.",
        [raw(1, "hello", 1, "client", SESSION, 0, 0)],
        "MALFORMED",
    ),
    "bad_hello_not_canonical": (
        "The version in three bytes.",
        [
            channel.frame(
                1, hello(1, "client", SESSION, 0)[5:].replace(b"\x01\xa6", b"\xcd\0\1\xa6")
            )
        ],
        "NON_CANONICAL",
    ),
    "bad_welcome_heartbeat": (
        "A heartbeat of nothing.",
        [raw(2, "welcome", 1, RUN, 0, 0, 0, 1)],
        "MALFORMED",
    ),
    "bad_close": ("A reason beyond a byte.", [raw(7, "close", 256)], "MALFORMED"),
    "bad_piece_of_nothing": (
        "A piece before its message.",
        [channel.frame(channel.PIECE, b"x")],
        "UNEXPECTED",
    ),
    "bad_piece_empty": (
        "A piece with nothing in it.",
        [message(1, 4, b"on"), channel.frame(channel.PIECE)],
        "MALFORMED",
    ),
    "bad_message_short": (
        "No place and no size.",
        [channel.frame(channel.MESSAGE, bytes(11))],
        "MALFORMED",
    ),
    "bad_message_again": (
        "The first message twice.",
        [message(1, 3, b"one"), message(1, 3, b"one")],
        "DUPLICATE",
    ),
    "bad_message_skipped": ("The second before the first.", [message(2, 3, b"one")], "MALFORMED"),
    "bad_message_within": (
        "A message within another.",
        [message(1, 4, b"on"), message(2, 3, b"one")],
        "UNEXPECTED",
    ),
    "bad_message_of_nothing": ("A message without bytes.", [message(1, 0, b"")], "OVERSIZED"),
    "bad_message_size": (
        "A size above the limit.",
        [message(1, LIMIT + 1, b"x")],
        "OVERSIZED",
    ),
    "bad_message_overfull": ("More than its size.", [message(1, 3, b"onex")], "OVERSIZED"),
}


def document(name, note, frames, refused):
    return {
        "schema": "fedprivacy/transport-vector/1",
        "version": "1",
        "source": "protocols/transport/generate.py",
        "name": name,
        "note": note,
        "limit": LIMIT,
        "frames": [data.hex() for data in frames],
        "refused": refused,
    }


def main():
    VECTORS.mkdir(exist_ok=True)
    for name, (note, frames) in GOOD.items():
        write(document(name, note, frames, None))
    for name, (note, frames, reason) in BAD.items():
        write(document(name, note, frames, reason))


def write(vector):
    text = json.dumps(vector, indent=1) + "\n"
    (VECTORS / f"{vector['name']}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
