"""Whatever bytes arrive, a decoder gives a message of just these bytes or raises `PeerError`."""

import tracemalloc
from random import Random

import pytest
from hypothesis import settings

from fedprivacy.errors import PeerError, Reason
from fedprivacy.rounds import Envelope, Refusal
from fedprivacy.secagg.masking.messages import MaskedInput
from fedprivacy.secagg.plain import PlainInput
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import decode, encode
from honest import ANY, kinds, messages
from hostile import SPECIALS, changed, junk, spans

BAD_BYTES = {Reason.MALFORMED, Reason.NON_CANONICAL, Reason.OVERSIZED}
TRIES = settings.get_profile("fuzz").max_examples
UNIONS = {
    "envelope or refusal": Envelope | Refusal,
    "chunk or input": MaskedChunk | MaskedInput,
    "chunk or plain input": MaskedChunk | PlainInput,
}
WANTED = {**kinds(), **UNIONS}


def samples(name):
    """Honest messages of a kind, or of a kind in a union."""
    tags = [name] if name in kinds() else [k.__struct_config__.tag for k in WANTED[name].__args__]
    return [data for tag in tags for data in messages()[tag]]


def judge(wanted, data, limit=ANY):
    """Decode; what it gives encodes to the same bytes, and what it raises is `PeerError`."""
    try:
        message = decode(wanted, data, limit=limit)
    except PeerError as error:
        wrong = error
    else:
        assert encode(message) == data
        return message
    assert wrong.reason in BAD_BYTES
    assert not wrong.culprits
    assert len(str(wrong)) < 1000
    return None


def test_every_kind_of_message_is_seen():
    assert set(messages()) == set(kinds())
    assert len(kinds()) >= 14


@pytest.mark.parametrize("name", WANTED)
def test_honest_bytes_come_back(name):
    for data in samples(name):
        assert judge(WANTED[name], data) is not None
        assert spans(data)[0] == (0, len(data))


@pytest.mark.parametrize("name", WANTED)
def test_noise_raises_peer_error_alone(name):
    rnd = Random(f"noise/{name}")
    for _ in range(TRIES):
        judge(WANTED[name], junk(rnd))


@pytest.mark.parametrize("name", WANTED)
def test_changed_messages_raise_peer_error_alone(name):
    rnd, own = Random(f"changed/{name}"), samples(name)
    every = [message for many in messages().values() for message in many[:2]]
    taken = 0
    for _ in range(TRIES):
        taken += judge(WANTED[name], changed(rnd, rnd.choice(own), every)) is not None
    # Some changes leave a message whole, or make another: the rest is refused.
    assert 0 < taken < TRIES


@pytest.mark.parametrize("name", WANTED)
def test_every_value_of_a_message_may_be_anything(name):
    """Each value inside, in turn, gives way to each of the awkward ones."""
    shortest = min(samples(name), key=len)
    for start, end in spans(shortest):
        for special in SPECIALS:
            judge(WANTED[name], shortest[:start] + special + shortest[end:])


@pytest.mark.parametrize("name", WANTED)
def test_nothing_is_left_over_and_nothing_missing(name):
    data = min(samples(name), key=len)
    for extra in (b"\x00", b"\xc0", b"\xc1", data):
        assert judge(WANTED[name], data + extra) is None
    for end in range(len(data)):
        assert judge(WANTED[name], data[:end]) is None


@pytest.mark.parametrize("name", WANTED)
def test_a_message_beyond_its_limit_is_not_looked_at(name):
    data = min(samples(name), key=len)
    assert judge(WANTED[name], data, limit=len(data)) is not None
    with pytest.raises(PeerError) as caught:
        decode(WANTED[name], data, limit=len(data) - 1)
    assert caught.value.reason is Reason.OVERSIZED


@pytest.mark.parametrize("name", WANTED)
def test_a_length_on_a_peers_word_costs_no_memory(name):
    data = min(samples(name), key=len)
    claims = [b"\xc6\x7f\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xdd\x7f\xff\xff\xff"]
    tracemalloc.start()
    try:
        for start, _ in spans(data):
            for claim in claims:
                assert judge(WANTED[name], data[:start] + claim) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_malformed():
    for depth in (10, 1000, 100_000, 1_000_000):
        for nest in (b"\x91", b"\x81\xa1a", b"\x81\x91"):
            assert judge(Envelope, nest * depth) is None
