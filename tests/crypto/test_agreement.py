import json

import pytest
from Crypto.Protocol.DH import (
    import_x25519_private_key,
    import_x25519_public_key,
    key_agreement,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.crypto import KeyPair, is_weak
from fedprivacy.errors import PeerError, Reason

keys = st.binary(min_size=32, max_size=32)


@given(keys, keys)
def test_both_sides_compute_what_a_second_implementation_does(mine, theirs):
    secret = KeyPair(mine).agree(KeyPair(theirs).public)
    assert secret == KeyPair(theirs).agree(KeyPair(mine).public)
    other = key_agreement(
        static_priv=import_x25519_private_key(mine),
        static_pub=import_x25519_public_key(KeyPair(theirs).public),
        kdf=bytes,
    )
    assert secret == other


def test_wycheproof(shared):
    data = json.loads((shared / "vectors/wycheproof/x25519_test.json").read_text())
    matched = refused = 0
    for case in (case for group in data["testGroups"] for case in group["tests"]):
        private, public = bytes.fromhex(case["private"]), bytes.fromhex(case["public"])
        expected = bytes.fromhex(case["shared"])
        assert is_weak(public) == (not any(expected)), case["tcId"]
        if any(expected):
            assert KeyPair(private).agree(public) == expected, case["tcId"]
            matched += 1
        else:
            with pytest.raises(PeerError) as caught:
                KeyPair(private).agree(public)
            assert caught.value.reason is Reason.WEAK_KEY
            refused += 1
    assert (matched, refused) == (487, 31)


@settings.get_profile("fuzz")
@given(keys, st.binary(max_size=64))
def test_any_bytes_give_a_secret_or_a_peers_error(private, public):
    try:
        assert any(KeyPair(private).agree(public))
    except PeerError:
        assert len(public) != 32 or not any(public)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_lengths(size):
    with pytest.raises(PeerError) as caught:
        KeyPair(b"\1" * 32).agree(bytes(size))
    assert caught.value.reason is Reason.MALFORMED
    with pytest.raises(ValueError, match="32"):
        KeyPair(bytes(size))
