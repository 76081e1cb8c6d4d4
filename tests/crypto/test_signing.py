import copy
import json
import pickle

import pytest
from Crypto.Signature import eddsa
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import SigningKey, verify
from fedprivacy.crypto.signing import _verify
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
