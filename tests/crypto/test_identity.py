import json
import os
import stat

import pytest
from Crypto.PublicKey import ECC
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import Enrolment, Identity, SigningKey, check_client_id
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng


@pytest.fixture
def identity():
    return Identity.new("hospital-07", rng=InsecureTestRng(7))


@pytest.mark.parametrize("good", ["a", "0", "hospital-07", "a.b_c-d", "x" * 64])
def test_good_ids(good):
    assert check_client_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "A", "-a", ".a", "_a", "x" * 65, "a b", "a/b", "a\n", "é", "a\0", "\u0661"]
)
def test_bad_ids(bad):
    with pytest.raises(ConfigurationError, match="client id"):
        check_client_id(bad)
    with pytest.raises(ConfigurationError, match="client id"):
        Identity(bad, SigningKey.from_seed(bytes(32)))


def test_new_draws_from_what_it_is_given(identity):
    assert identity.key.public == Identity.new("x", rng=InsecureTestRng(7)).key.public
    assert identity.key.public != Identity.new("x", rng=InsecureTestRng(8)).key.public


def test_the_text_shows_the_id_only(identity):
    assert repr(identity) == "Identity(client_id='hospital-07')"


def test_a_key_is_saved_for_its_owner_only(identity, tmp_path):
    path = tmp_path / "key.pem"
    old = os.umask(0)
    try:
        identity.save(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = Identity.load(path, "hospital-07")
    assert loaded.client_id == identity.client_id
    assert loaded.key.public == identity.key.public
    second = ECC.import_key(path.read_text())
    assert second.curve == "Ed25519"
    assert second.public_key().export_key(format="raw") == identity.key.public


def test_a_key_is_never_overwritten(identity, tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="exists"):
        identity.save(path)
    assert path.read_text() == "precious"
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="exists"):
        identity.save(link)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_not_there(identity, tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        identity.save(tmp_path / "no" / "key.pem")
    with pytest.raises(ConfigurationError, match="No such file"):
        Identity.load(tmp_path / "key.pem", "a")
    with pytest.raises(ConfigurationError, match="directory"):
        Identity.load(tmp_path, "a")


@pytest.mark.parametrize("mode", [0o601, 0o604, 0o610, 0o620, 0o640, 0o644, 0o666, 0o700, 0o777])
def test_a_file_that_others_can_reach_is_refused(identity, tmp_path, mode):
    path = tmp_path / "key.pem"
    identity.save(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}: run chmod 600"):
        Identity.load(path, "hospital-07")


def test_a_narrower_mode_is_fine(identity, tmp_path):
    path = tmp_path / "key.pem"
    identity.save(path)
    path.chmod(0o400)
    assert Identity.load(path, "a").key.public == identity.key.public


def other_files():
    key = generate_private_key(SECP256R1())
    ed = load_pem_private_key(SigningKey.from_seed(bytes(32)).to_pem(), None)
    public = ed.public_key()
    return [
        b"",
        b"not a key",
        b"\xff" * 100,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMBQCAQAwBwYDKgMEBQAEBgQE\n-----END PRIVATE KEY-----\n",
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw")),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[:-30],
    ]


@pytest.mark.parametrize("content", other_files())
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="holds no unencrypted Ed25519 key"):
        Identity.load(path, "a")


def test_an_enrolment_round_trips(identity):
    text = Enrolment.request(identity)
    raw = json.loads(text)
    assert list(raw) == ["schema", "id", "public_key", "proof"]
    assert raw["schema"] == "fedprivacy/enrolment/1"
    assert Enrolment.parse(text) == Enrolment("hospital-07", identity.key.public)


def lies(identity):
    raw = json.loads(Enrolment.request(identity))
    other = json.loads(Enrolment.request(Identity.new("hospital-07", rng=InsecureTestRng(1))))
    return {
        "another name": raw | {"id": "hospital-08"},
        "another key": raw | {"public_key": other["public_key"]},
        "another proof": raw | {"proof": other["proof"]},
        "another schema": raw | {"schema": "fedprivacy/enrolment/2"},
        "a newline in the name": raw | {"id": "hospital-07\n"},
        "upper case": raw | {"public_key": raw["public_key"].upper()},
        "spaces": raw | {"public_key": raw["public_key"] + " "},
        "short": raw | {"proof": raw["proof"][2:]},
        "one key more": raw | {"admin": True},
        "one key less": {k: v for k, v in raw.items() if k != "proof"},
        "a number": raw | {"id": 7},
        "a list": [raw],
        "nothing": None,
    }


@pytest.mark.parametrize("lie", lies(Identity.new("hospital-07", rng=InsecureTestRng(7))))
def test_an_enrolment_that_lies_is_refused(identity, lie):
    with pytest.raises(ConfigurationError, match="enrolment"):
        Enrolment.parse(json.dumps(lies(identity)[lie]))


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_error(text):
    with pytest.raises(ConfigurationError):
        Enrolment.parse(text)
