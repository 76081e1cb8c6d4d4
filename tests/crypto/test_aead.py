import json

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.crypto import OVERHEAD_BYTES, seal, unseal
from fedprivacy.errors import PeerError, Reason

keys = st.binary(min_size=32, max_size=32)


def refused(key, box, associated):
    with pytest.raises(PeerError) as caught:
        unseal(key, box, associated=associated)
    return caught.value.reason is Reason.SHARE_UNOPENED


@given(keys, st.binary(max_size=200), st.binary(max_size=200))
def test_it_is_aes_256_gcm_with_the_zero_nonce(key, plaintext, associated):
    second = AES.new(key, AES.MODE_GCM, nonce=bytes(12)).update(associated)
    box = seal(key, plaintext, associated=associated)
    assert box == b"".join(second.encrypt_and_digest(plaintext))
    assert len(box) == len(plaintext) + OVERHEAD_BYTES
    assert unseal(key, box, associated=associated) == plaintext


@given(keys, st.binary(max_size=60), st.binary(max_size=20), st.data())
def test_one_flipped_bit_anywhere_is_refused(key, plaintext, associated, data):
    box = bytearray(seal(key, plaintext, associated=associated))
    bit = data.draw(st.integers(0, 8 * len(box) - 1))
    box[bit // 8] ^= 1 << bit % 8
    assert refused(key, bytes(box), associated)


def test_other_keys_and_other_associated_bytes_are_refused():
    box = seal(bytes(32), b"share", associated=b"session")
    assert refused(b"\1" + bytes(31), box, b"session")
    assert refused(bytes(32), box, b"another")
    assert refused(bytes(32), box, b"")
    assert refused(bytes(32), box[:-1], b"session")
    assert refused(bytes(32), box + b"\0", b"session")


@settings.get_profile("fuzz")
@given(keys, st.binary(max_size=100), st.binary(max_size=20))
def test_any_bytes_are_a_peers_error(key, box, associated):
    assert refused(key, box, associated)


def test_wycheproof(shared):
    # With the nonce fixed, few cases apply: the rest of the evidence is the second implementation.
    data = json.loads((shared / "vectors/wycheproof/aes_gcm_test.json").read_text())
    ran = []
    for group in data["testGroups"]:
        for case in group["tests"]:
            if group["keySize"] != 256 or case["iv"] != "00" * 12:
                continue
            key, message = bytes.fromhex(case["key"]), bytes.fromhex(case["msg"])
            box, associated = bytes.fromhex(case["ct"] + case["tag"]), bytes.fromhex(case["aad"])
            assert seal(key, message, associated=associated) == box
            assert unseal(key, box, associated=associated) == message
            ran.append(case["result"])
    assert ran == ["valid"]


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_other_key_sizes_are_refused(size):
    with pytest.raises(ValueError, match="32 bytes"):
        seal(bytes(size), b"", associated=b"")
    with pytest.raises(ValueError, match="32 bytes"):
        unseal(bytes(size), bytes(16), associated=b"")
