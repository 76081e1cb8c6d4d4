"""`fedprivacy certs`."""

import socket
import ssl
import stat
import threading

import pytest

from fedprivacy.cli import main


def run(*words):
    with pytest.raises(SystemExit) as left:
        main(["certs", "new", *map(str, words)])
    return left.value.code


def test_a_connection_is_made_with_what_it_writes(tmp_path):
    folder = tmp_path / "certs"
    assert run(folder) == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=folder / "ca.crt")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with listener.accept()[0] as plain, server.wrap_socket(plain, server_side=True) as end:
                end.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            socket.create_connection(listener.getsockname()) as plain,
            client.wrap_socket(plain, server_hostname="127.0.0.1") as end,
        ):
            assert end.recv(5) == b"hello"
        thread.join()


def test_keys_are_their_owners_alone_and_never_replaced(tmp_path, capsys):
    folder = tmp_path / "certs"
    assert run(folder, "--host", "fl.example.org", "--nodes", 2) == 0
    keys = sorted(folder.rglob("*.key"))
    assert [key.name for key in keys] == ["ca.key", "0.key", "1.key", "server.key"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    before = [key.read_bytes() for key in keys]
    assert run(folder) == 2
    assert "ca.key exists: move it away" in capsys.readouterr().err
    assert [key.read_bytes() for key in keys] == before


def test_a_host_that_is_none_is_refused_before_anything_is_written(tmp_path, capsys):
    assert run(tmp_path / "certs", "--host", "https://fl.example.org") == 2
    assert "is no IP address and no DNS name" in capsys.readouterr().err
    assert not (tmp_path / "certs").exists()
