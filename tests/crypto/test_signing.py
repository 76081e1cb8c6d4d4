import copy
import json
import pickle

import pytest
from Crypto.Signature import eddsa
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import (
    Directory,
    Enrolment,
    Identity,
    SigningKey,
    has_small_order,
    verify,
)
from fedprivacy.crypto.signing import _verify
from fedprivacy.errors import ConfigurationError
from fedprivacy.wire import digest

seeds = st.binary(min_size=32, max_size=32)
KEY = SigningKey.from_seed(b"k" * 32)


@given(seeds, st.text(max_size=10), st.lists(st.binary(max_size=20), max_size=4))
def test_signatures_are_those_of_a_second_implementation(seed, label, parts):
    key = SigningKey.from_seed(seed)
    second = eddsa.import_private_key(seed)
    signature = key.sign(label, *parts)
    assert signature == eddsa.new(second, "rfc8032").sign(digest(label, *parts))
    assert key.public == second.public_key().export_key(format="raw")
    assert verify(key.public, signature, label, *parts)


def test_a_signature_holds_for_its_label_and_parts_only():
    signature = KEY.sign("label", b"ab", b"c")
    assert verify(KEY.public, signature, "label", b"ab", b"c")
    assert not verify(KEY.public, signature, "labels", b"ab", b"c")
    assert not verify(KEY.public, signature, "label", b"a", b"bc")
    assert not verify(KEY.public, signature, "label", b"abc")
    assert not verify(KEY.public, signature, "label", b"ab", b"c", b"")
    other = SigningKey.from_seed(b"o" * 32)
    assert not verify(other.public, signature, "label", b"ab", b"c")


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_any_bytes_verify_nothing(public, signature):
    assert not verify(public, signature, "label", b"part")
    assert not verify(KEY.public, signature, "label", b"part")


# The curve of RFC 8032, 5.1, in its slowest form: affine points, Python integers.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def recovered(y, sign):
    """RFC 8032, 5.1.3: the point with this y, None if there is none; x = 0 takes either sign."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x if x and x & 1 != sign else x), y % P


def added(one, other):
    (a, b), (c, d) = one, other
    k = D * a * c * b * d % P
    return (a * d + c * b) * pow(1 + k, -1, P) % P, (b * d + a * c) * pow(1 - k, -1, P) % P


def vanishes_after_three_doublings(public):
    number = int.from_bytes(public, "little")
    point = recovered(number % 2**255, number >> 255)
    for _ in range(3 if point else 0):
        point = added(point, point)
    return point == (0, 1)


def small_order_encodings():
    eighth = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    ys = [0, 1, P - 1, eighth, P - eighth, P, P + 1]
    return [(y + (sign << 255)).to_bytes(32, "little") for y in ys for sign in (0, 1)]


def test_the_small_orders_are_those_of_the_curve():
    encodings = small_order_encodings()
    assert all(has_small_order(e) and vanishes_after_three_doublings(e) for e in encodings)
    # There are eight such points, and these are all of them.
    assert (
        len({recovered(int.from_bytes(e, "little") % 2**255, e[31] >> 7) for e in encodings}) == 8
    )
    for seed in range(20):
        public = SigningKey.from_seed(bytes([seed]) * 32).public
        assert not has_small_order(public)
        assert not vanishes_after_three_doublings(public)
    # Every other encoding of 2**255 - 19 and above is no point of small order either.
    rest = [y.to_bytes(32, "little") for y in range(P + 2, 2**255)]
    assert not any(has_small_order(e) or vanishes_after_three_doublings(e) for e in rest)


def test_anybody_signs_for_a_key_of_small_order_so_it_is_refused():
    identity_point = (1).to_bytes(32, "little")
    forged = identity_point + bytes(32)  # R is the neutral point, S zero: no secret went in
    assert _verify(identity_point, forged, b"anything")
    assert not verify(identity_point, forged, "label", b"anything")
    text = json.loads(Enrolment.request(Identity("clinic", KEY)))
    text |= {"public_key": identity_point.hex(), "proof": forged.hex()}
    with pytest.raises(ConfigurationError, match="small order"):
        Enrolment.parse(json.dumps(text))
    for encoding in small_order_encodings():
        with pytest.raises(ConfigurationError, match="'clinic' has a key of small order"):
            Directory.sign(1, [("clinic", encoding)], KEY)


def test_wycheproof(shared):
    data = json.loads((shared / "vectors/wycheproof/ed25519_test.json").read_text())
    counts = {"valid": 0, "invalid": 0}
    for group in data["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            holds = _verify(public, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert holds == (case["result"] == "valid"), case["tcId"]
            counts[case["result"]] += 1
    assert counts == {"valid": 88, "invalid": 63}


def test_the_secret_shows_nowhere():
    assert (b"k" * 32).hex() not in repr(KEY)
    assert KEY.public.hex() in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(AttributeError):
        copy.copy(KEY).seed  # noqa: B018 - the attribute's absence is the point


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(size):
    with pytest.raises(ValueError, match="32"):
        SigningKey.from_seed(bytes(size))
