import json

import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import derive
from fedprivacy.crypto.kdf import _hkdf

labels = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20)


@given(
    st.binary(min_size=1, max_size=64),
    st.binary(max_size=64),
    labels,
    st.binary(max_size=64),
    st.integers(1, 100),
)
def test_it_is_hkdf_under_a_labelled_info(secret, salt, label, context, length):
    info = b"fedprivacy/" + label.encode() + b"\0" + context
    expected = HKDF(secret, length, salt, SHA256, context=info)
    assert derive(secret, salt=salt, label=label, context=context, length=length) == expected


def test_wycheproof(shared):
    data = json.loads((shared / "vectors/wycheproof/hkdf_sha256_test.json").read_text())
    matched = refused = 0
    for case in (case for group in data["testGroups"] for case in group["tests"]):
        ikm, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        if case["result"] == "valid":
            assert _hkdf(ikm, salt, info, case["size"]) == bytes.fromhex(case["okm"]), case["tcId"]
            matched += 1
        else:
            with pytest.raises(ValueError, match=r"length|large"):
                _hkdf(ikm, salt, info, case["size"])
            refused += 1
    assert (matched, refused) == (83, 3)


@pytest.mark.parametrize(
    "other",
    [
        {"salt": b"t"},
        {"label": "b"},
        {"context": b"d"},
        {"label": "ac", "context": b""},
        {"secret": b"r"},
    ],
)
def test_every_part_tells(other):
    parts = {"secret": b"s", "salt": b"s", "label": "a", "context": b"c"}
    assert derive(**parts) != derive(**(parts | other))


def test_a_label_cannot_reach_into_the_context():
    with pytest.raises(ValueError, match="zero byte"):
        derive(bytes(32), salt=b"", label="a\0b")
