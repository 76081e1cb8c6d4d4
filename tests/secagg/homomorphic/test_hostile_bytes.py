"""Bytes that are no ciphertext cost their sender and nobody else; a worker that dies is replaced.

Mutants are of a real ciphertext, with a right MAC: a client that lies has the key for it. Half of
them keep the outlines of TenSEAL's message and change what it says.
"""

import os
import signal
import struct

import numpy as np
import pytest

from ceremonies import Shared, ceremony, is_sum, worker
from fedprivacy.errors import PeerError, Reason, RoundAborted
from fedprivacy.secagg.homomorphic.messages import Seals
from fedprivacy.secagg.homomorphic.native import NativeContext
from fedprivacy.secagg.homomorphic.schemes import SCHEMES
from fedprivacy.secagg.homomorphic.structure import check_structure
from fedprivacy.wire import encode


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


def fate_of(case, seals, mutant):
    """Why it is refused, naming its sender; None where it is kept."""
    server = case.make_server()
    try:
        list(server.receive("c000", encode(seals.seal(0, 0, mutant))))
    except PeerError as error:
        return error
    return None


def no_mutant_costs_more(protocol, count):
    case = Shared(protocol, 2, length=3)
    seals = Seals(case.plan, case.key.admission)
    _, data = genuine(protocol)
    assert fate_of(case, seals, data) is None  # the honest twin
    fates = [fate_of(case, seals, mutant) for mutant in mutants(protocol, count) if mutant]
    refused = [error for error in fates if error is not None]
    assert {error.culprits for error in refused} == {("c000",)}
    assert {error.reason for error in refused} == {Reason.CIPHERTEXT}
    # A changed coefficient is a ciphertext of something else: nobody can tell.
    assert len(refused) > len(fates) // 2
    assert is_sum(case, case.run())


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_no_mutant_costs_more_than_its_sender(protocol):
    no_mutant_costs_more(protocol, 150)


@pytest.mark.nightly
@pytest.mark.parametrize("protocol", SCHEMES)
def test_no_mutant_of_many_costs_more_than_its_sender(protocol):
    no_mutant_costs_more(protocol, 3_334)


@pytest.mark.parametrize("protocol", SCHEMES)
def test_what_crashes_the_library_is_refused_before_it_is_loaded(protocol):
    scheme, data = genuine(protocol)
    body = inner(scheme, data)
    scale = None if protocol == "bfv" else 2.0**40
    check_structure(scheme, message([scheme.slots], [body], scale))  # the honest twin
    for hostile in (
        b"\x00",
        message([], [body], scale),
        message([scheme.slots * 100], [body], scale),
        message([scheme.slots + 1], [body], scale),
        message([scheme.slots], [body, body], scale),
        message([scheme.slots], [body], float("nan")),
        data + b"\x00",
    ):
        with pytest.raises(PeerError) as refused:
            check_structure(scheme, hostile)
        assert refused.value.reason is Reason.CIPHERTEXT


def _die(name, data):
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_worker_that_dies_costs_the_sender_alone(monkeypatch):
    case = Shared("bfv", 3)
    with monkeypatch.context() as patch:
        patch.setattr("fedprivacy.secagg.homomorphic.server.check", _die)
        (message,) = case.inputs("c000")
        with pytest.raises(PeerError) as refused:
            list(case.server.receive("c000", message))
    assert refused.value.culprits == ("c000",)
    case.give("c001", "c002")
    end = case.finish(case.asked())
    assert end.survivors == ("c001", "c002")
    assert is_sum(case, end)


def test_a_pool_that_is_gone_ends_the_round_and_names_nobody():
    case = Shared("bfv", 2)

    class Gone:
        def submit(self, *_):
            from concurrent.futures import BrokenExecutor

            raise BrokenExecutor

    case.server._pool = Gone()
    (message,) = case.inputs("c000")
    (end,) = case.server.receive("c000", message)
    assert isinstance(end.error, RoundAborted)
    assert end.error.reason is Reason.FAILED
    assert worker() is not None
