"""`fedprivacy certs request`, `issue`, `show`, `rotate` and `revoke`, tried on connections."""

import socket
import ssl
import stat
import threading

import pytest

HOST = "127.0.0.1"


@pytest.fixture
def enrolled(cli, tmp_path):
    """A directory of two clients, an authority's folder, and the clients' requests."""
    for name in ("anna", "bert"):
        assert cli("keys", "new", name, "--out", "keys").code == 0
    assert cli("keys", "authority", "board", "--out", "board").code == 0
    requests = [tmp_path / "keys" / f"{name}.enrolment.json" for name in ("anna", "bert")]
    assert cli("keys", "enroll", *requests, "--into", "draft.json").code == 0
    signed = cli("directory", "sign", "draft.json", "--authority", "board/board.key", "--epoch", 1)
    assert signed.code == 0
    assert cli("certs", "new", "certs").code == 0
    for name in ("anna", "bert"):
        assert cli("certs", "request", f"keys/{name}.key", "--out", "tls").code == 0
    return tmp_path


def issue(cli, *names, **more):
    options = [word for key, value in more.items() for word in (f"--{key}", value)]
    requests = [f"tls/{name}.request.json" for name in names]
    common = ("--ca", "certs", "--directory", "directory.json", "--out", "out")
    return cli("certs", "issue", *requests, *common, *options)


def connects(folder, name, *, ca="certs/ca.crt", server="certs/server"):
    """Whether server and client take each other; why not, otherwise."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, crt, key in (
        (theirs, f"{server}.crt", f"{server}.key"),
        (own, f"out/{name}.crt", f"tls/{name}.tls.key"),
    ):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / ca)
        context.load_verify_locations(folder / "certs/ca.crl")
        context.load_cert_chain(folder / crt, folder / key)
    said = []
    with socket.create_server((HOST, 0)) as listener:

        def take():
            try:
                with (
                    listener.accept()[0] as taken,
                    theirs.wrap_socket(taken, server_side=True) as end,
                ):
                    end.sendall(b"x")
            except ssl.SSLError as error:
                said.append(getattr(error, "verify_message", "") or error.reason)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=5.0) as plain,
                own.wrap_socket(plain, server_hostname=HOST) as end,
            ):
                end.recv(1)
        except (ssl.SSLError, ConnectionError) as error:
            said.append(getattr(error, "verify_message", "") or str(error))
        thread.join()
    return said


def test_an_issued_certificate_makes_a_connection(cli, enrolled):
    done = issue(cli, "anna", "bert")
    assert (done.code, done.err) == (0, "")
    assert "anna  out/anna.crt, 90 days" in done.out
    assert connects(enrolled, "anna") == []
    keys = [*(enrolled / "tls").glob("*.key"), *(enrolled / "certs").rglob("*.key")]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_a_request_holds_for_whom_the_directory_has_alone(cli, enrolled):
    assert cli("keys", "new", "zoe", "--out", "keys").code == 0
    assert cli("certs", "request", "keys/zoe.key", "--out", "tls").code == 0
    done = issue(cli, "anna", "zoe")
    assert done.code == 2
    assert "zoe is not in the directory of epoch 1" in done.err
    assert not (enrolled / "out").exists()
    text = (enrolled / "tls/anna.request.json").read_text("utf-8")
    (enrolled / "tls/eve.request.json").write_text(text.replace('"anna"', '"bert"'), "utf-8")
    done = issue(cli, "eve")
    assert done.code == 2
    assert "its proof does not hold for bert" in done.err


def test_a_revoked_certificate_is_refused_and_the_others_are_not(cli, enrolled):
    issue(cli, "anna", "bert")
    done = cli("certs", "revoke", "certs", "anna")
    assert done.code == 0
    assert done.out.startswith("revoked ")
    assert "certificate revoked" in connects(enrolled, "anna")[0]
    assert connects(enrolled, "bert") == []
    # Signed anew, the list keeps what it had.
    assert cli("certs", "revoke", "certs").code == 0
    assert "certificate revoked" in connects(enrolled, "anna")[0]
    done = cli("certs", "revoke", "certs", "nobody")
    assert done.code == 2
    assert "has issued nothing to nobody" in done.err


def test_a_servers_rotation_leaves_the_old_certificate_valid(cli, enrolled):
    issue(cli, "anna")
    before = (enrolled / "certs/server.crt").read_bytes()
    done = cli("certs", "rotate", "certs")
    assert done.code == 0
    assert (enrolled / "certs/server.crt").read_bytes() != before
    assert connects(enrolled, "anna") == []
    (old,) = (enrolled / "certs").glob("server-*.crt")
    assert old.read_bytes() == before
    assert connects(enrolled, "anna", server=f"certs/{old.stem}") == []


def test_an_authoritys_rotation_trusts_old_and_new(cli, enrolled):
    issue(cli, "anna")
    assert cli("certs", "rotate", "certs", "--authority").code == 0
    assert connects(enrolled, "anna") == []
    assert cli("certs", "rotate", "certs").code == 0
    issue(cli, "bert")
    assert connects(enrolled, "anna") == []
    assert connects(enrolled, "bert") == []
    assert cli("certs", "revoke", "certs", "anna").code == 0
    assert "certificate revoked" in connects(enrolled, "anna")[0]
    assert connects(enrolled, "bert") == []


def test_what_files_say_is_shown(cli, enrolled):
    issue(cli, "anna", days=7)
    shown = cli("certs", "show", "out/anna.crt", "certs")
    assert shown.code == 0
    assert "for     urn:fedprivacy:client:anna:" in shown.out
    assert "for     127.0.0.1" in shown.out
    assert "certs/ca.crl" in shown.out
    assert cli("certs", "show", "nowhere.crt").code == 2
    (enrolled / "x.crt").write_text("nothing", "utf-8")
    assert "holds no certificate in PEM" in cli("certs", "show", "x.crt").err


def test_an_authoritys_key_that_others_may_read_is_not_used(cli, enrolled):
    (enrolled / "certs/ca.key").chmod(0o640)
    done = issue(cli, "anna")
    assert done.code == 2
    assert "has mode 0640: run chmod 600 on it" in done.err
