"""Keys, enrolment, the signed directory and the pin: the whole walk, and each wrong turn."""

import json
import stat

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedprivacy.crypto import Directory
from fedprivacy.ledger import ClientStore
from secretscan import Scanner


@pytest.fixture
def consortium(cli):
    """An authority, two enrolled clients, a draft and a directory; all that was said."""
    said = [cli("keys", "authority", "consortium", "--out", "authority")]
    names = ("hospital-01", "hospital-02")
    said += [cli("keys", "new", name, "--out", f"keys/{name}") for name in names]
    requests = [f"keys/{name}/{name}.enrolment.json" for name in names]
    said.append(cli("keys", "enroll", *requests, "--into", "draft.json"))
    said.append(sign(cli, 1))
    return said


def sign(cli, epoch, key="authority/consortium.key"):
    return cli("directory", "sign", "draft.json", "--authority", key, "--epoch", epoch)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_whole_walk(cli, consortium, tmp_path):
    assert [done.code for done in consortium] == [0] * 5
    assert [done.err for done in consortium] == [""] * 5
    shown = cli("directory", "show", "directory.json", "--authority", "authority/consortium.pub")
    assert shown.code == 0
    assert "epoch     1\n" in shown.out
    assert "signature by consortium, as in authority/consortium.pub\n" in shown.out
    directory = Directory.from_json((tmp_path / "directory.json").read_text("utf-8"))
    for name, key in directory.entries:
        assert f"{key.hex()}  {name}\n" in shown.out
    pinned = cli("pin", "authority/consortium.pub", "--store", "client.db")
    assert (pinned.code, pinned.err) == (0, "")
    public = json.loads((tmp_path / "authority/consortium.pub").read_text("utf-8"))["public_key"]
    assert pinned.out == f"client.db trusts consortium: {public}\n"
    with ClientStore("client.db") as store:
        directory.verify(store.authority())


def test_keys_are_their_owners_alone(consortium, tmp_path):
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 3
    for key in keys:
        assert mode(key) == 0o600
        assert mode(key.parent) == 0o700


def test_no_output_and_no_file_but_the_key_holds_a_secret(cli, consortium, tmp_path):
    said = [*consortium, cli("pin", "authority/consortium.pub", "--store", "client.db")]
    said.append(cli("--debug", "keys", "new", "hospital-01", "--out", "keys/hospital-01"))
    secrets = {
        str(path): load_pem_private_key(path.read_bytes(), None).private_bytes_raw()
        for path in tmp_path.rglob("*.key")
    }
    scanner = Scanner(secrets)
    for done in said:
        assert scanner.find(done.out + done.err) == []
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".key":
            assert scanner.find(path.read_bytes()) == []


def test_a_key_is_never_replaced(cli, consortium, tmp_path):
    before = (tmp_path / "keys/hospital-01/hospital-01.key").read_bytes()
    done = cli("keys", "new", "hospital-01", "--out", "keys/hospital-01")
    assert done.code == 2
    key = "keys/hospital-01/hospital-01.key"
    assert done.err == f"fedprivacy: {key} exists: move it away, or choose another path\n"
    assert (tmp_path / "keys/hospital-01/hospital-01.key").read_bytes() == before


@pytest.mark.parametrize("name", ["Hospital", "../x", "", "a" * 65, "[red]x"])
def test_a_name_that_is_no_client_id_makes_nothing(cli, tmp_path, name):
    done = cli("keys", "new", name, "--out", "keys")
    assert done.code == 2
    assert f"client id {name!r}" in done.err
    assert not (tmp_path / "keys").exists()


def test_a_request_that_was_tampered_with_is_not_enrolled(cli, consortium, tmp_path):
    request = tmp_path / "keys/hospital-01/hospital-01.enrolment.json"
    request.write_text(request.read_text("utf-8").replace("hospital-01", "hospital-03"), "utf-8")
    before = (tmp_path / "draft.json").read_text("utf-8")
    good = "keys/hospital-02/hospital-02.enrolment.json"
    done = cli("keys", "enroll", good, request, "--into", "draft.json")
    assert done.code == 2
    assert "$.proof does not hold for hospital-03" in done.err
    assert (tmp_path / "draft.json").read_text("utf-8") == before


def test_a_second_key_under_one_name_is_not_enrolled(cli, consortium):
    cli("keys", "new", "hospital-01", "--out", "other")
    done = cli("keys", "enroll", "other/hospital-01.enrolment.json", "--into", "draft.json")
    assert done.code == 2
    assert "take that entry out first" in done.err


def test_an_epoch_only_rises(cli, consortium, tmp_path):
    done = sign(cli, 1)
    assert done.code == 2
    assert done.err == ("fedprivacy: --epoch 1 where directory.json has 1: give at least 2\n")
    assert sign(cli, 2).code == 0
    assert Directory.from_json((tmp_path / "directory.json").read_text("utf-8")).epoch == 2


def test_a_key_that_others_can_read_signs_nothing(cli, consortium, tmp_path):
    (tmp_path / "authority/consortium.key").chmod(0o644)
    done = sign(cli, 2)
    assert done.code == 2
    assert "has mode 0644: run chmod 600 on it" in done.err


def test_a_directory_of_another_authority_is_a_peers_error(cli, consortium):
    cli("keys", "authority", "other", "--out", "other")
    done = cli("directory", "show", "directory.json", "--authority", "other/other.pub")
    assert (done.code, done.out) == (6, "")
    assert "directory-signature" in done.err


def test_a_pin_is_never_replaced(cli, consortium):
    cli("keys", "authority", "other", "--out", "other")
    assert cli("pin", "authority/consortium.pub", "--store", "client.db").code == 0
    assert cli("pin", "authority/consortium.pub", "--store", "client.db").code == 0
    done = cli("pin", "other/other.pub", "--store", "client.db")
    assert done.code == 2
    assert "is pinned" in done.err


def test_a_request_is_not_taken_for_an_authority(cli, consortium):
    request = "keys/hospital-01/hospital-01.enrolment.json"
    done = cli("pin", request, "--store", "client.db")
    assert done.code == 2
    assert done.err.startswith("fedprivacy: authority: ")
