"""Frames and sessions without sockets: each message once, in order, whatever the connections do."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import PeerError, Reason
from fedprivacy.transport.tls.frames import (
    FRAME_LIMIT,
    HEAD_BYTES,
    HELLO_LIMIT,
    PIECE_BYTES,
    Close,
    Frame,
    Hello,
    Kind,
    Welcome,
    ack,
    body_size,
    closed_for,
    closing,
    frame,
    place_of,
    told,
)
from fedprivacy.transport.tls.rates import Bucket
from fedprivacy.transport.tls.session import Inbox, Outbox
from fedprivacy.wire import decode

SIZES = st.sampled_from([1, 2, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])


def as_frame(data):
    kind, size = body_size(data[:HEAD_BYTES], limit=FRAME_LIMIT)
    assert len(data) == HEAD_BYTES + size
    return Frame(kind, data[HEAD_BYTES:])


@given(
    sizes=st.lists(SIZES, max_size=6), cuts=st.lists(st.integers(0, 4), max_size=8), data=st.data()
)
def test_every_message_arrives_once_and_in_order(sizes, cuts, data):
    """Connections break after some frames; what is lost on the way is sent anew."""
    messages = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    outbox, inbox, arrived = Outbox(window=2 * PIECE_BYTES), Inbox(limit=1 << 20), []
    for message in messages:
        outbox.put(message)
    for frames in [*cuts, 10_000]:
        outbox.rewind(inbox.received)
        inbox.begin()
        for _ in range(frames):
            piece = outbox.piece()
            if piece is None:
                break
            if data.draw(st.booleans()) and frames != 10_000:
                break  # it left, and never came
            if whole := inbox.take(as_frame(piece)):
                arrived.append(whole[1])
                if data.draw(st.booleans()) or frames == 10_000:
                    outbox.acknowledged(inbox.received)
    assert arrived == messages
    assert outbox.kept == 0 or not messages


def test_no_more_than_a_window_is_under_way():
    outbox = Outbox(window=100)
    for _ in range(5):
        outbox.put(bytes(40))
    assert outbox.piece() is not None
    assert outbox.piece() is not None
    assert outbox.piece() is None
    assert not outbox.wait(0.0)
    outbox.acknowledged(1)
    assert outbox.piece() is not None
    assert outbox.piece() is None


def test_one_message_may_be_larger_than_the_window():
    outbox = Outbox(window=10)
    outbox.put(bytes(1000))
    assert outbox.piece() is not None
    assert outbox.piece() is None


@pytest.mark.parametrize("place", [1, 7])
def test_nothing_is_acknowledged_that_was_not_sent(place):
    with pytest.raises(PeerError) as raised:
        Outbox(window=10).acknowledged(place)
    assert raised.value.reason is Reason.UNEXPECTED


def test_a_session_is_resumed_only_where_it_was():
    outbox = Outbox(window=10)
    outbox.put(b"one")
    outbox.piece()
    outbox.acknowledged(1)
    for place in (0, 2):
        with pytest.raises(PeerError):
            outbox.rewind(place)
    outbox.rewind(1)


def test_a_message_grows_only_with_what_came():
    inbox = Inbox(limit=1 << 30)
    huge = (1 << 30).to_bytes(4, "big")
    assert inbox.take(Frame(Kind.MESSAGE, bytes(7) + b"\x01" + huge + b"x")) is None
    assert len(inbox._pieces) == 1


@given(head=st.binary(min_size=5, max_size=5), limit=st.integers(0, FRAME_LIMIT))
def test_a_head_is_a_frame_within_its_limit_or_a_peers_error(head, limit):
    with contextlib.suppress(PeerError):
        kind, size = body_size(head, limit=limit)
        assert size < limit
        assert kind in (Kind.MESSAGE, Kind.PIECE) or size < HELLO_LIMIT


READERS = {
    "inbox": lambda kind, body: Inbox(limit=1 << 10).take(Frame(kind, body)),
    "place": lambda _, body: place_of(body),
    "closed": lambda _, body: closed_for(body),
    "hello": lambda _, body: decode(Hello, body, limit=HELLO_LIMIT),
    "welcome": lambda _, body: decode(Welcome, body, limit=HELLO_LIMIT),
    "close": lambda _, body: decode(Close, body, limit=HELLO_LIMIT),
}
WHOLE = [
    told(Hello(1, "client", bytes(16), 3)),
    told(Welcome(1, bytes(16), 1, 2, 5000, 1 << 20)),
    closing(None),
    closing(Reason.LATE),
    ack(7),
    frame(Kind.PING),
    frame(Kind.MESSAGE, bytes(7) + b"\x01", bytes(3) + b"\x02", b"xy"),
]


@st.composite
def mutated(draw):
    """The body of a frame that could be, with some of it changed."""
    body = bytearray(draw(st.sampled_from(WHOLE))[HEAD_BYTES:])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at:at] = draw(st.binary(max_size=4))
            case 1:
                del body[at : at + draw(st.integers(0, 4))]
            case 2 if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
            case _:
                body = body[:at]
    return bytes(body)


@settings.get_profile("fuzz")
@given(reader=st.sampled_from(sorted(READERS)), kind=st.sampled_from(Kind), body=mutated())
def test_whatever_a_body_holds_only_a_peers_error_is_raised(reader, kind, body):
    with contextlib.suppress(PeerError):
        READERS[reader](kind, body)


def test_a_bucket_fills_with_time():
    now = [0.0]
    bucket = Bucket(2.0, 0.5, lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 2.0
    assert [bucket.take(), bucket.take()] == [True, False]
    now[0] = 1000.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("reason", [None, Reason.LATE, Reason.CHANNEL_CLOSING])
def test_a_last_word_is_understood(reason):
    assert closed_for(closing(reason)[HEAD_BYTES:]) is reason


def test_a_code_that_nobody_registered_is_a_failure():
    assert closed_for(b"\x92\xa5close\xcc\xff") is Reason.FAILED
