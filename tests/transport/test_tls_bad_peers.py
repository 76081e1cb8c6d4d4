"""What goes wrong at a connection: each has its own reason, on real sockets, at both ends."""

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest

from fedprivacy.crypto import Identity
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.transport.tls.frames import HELLO_LIMIT, Hello, Kind, frame, told
from fedprivacy.wire import encode
from tlsdrive import HOST, Certificates, Network, Raw, house

DAY = timedelta(days=1)


@pytest.fixture
def network(tmp_path):
    with Network(house(3), tmp_path) as up:
        yield up


def ended(network, files=None, name="c000", **named):
    """How a link of ours ends with these files."""
    link = network.link(name, files=files, **named)
    link.start()
    assert not link.connect()
    error = link.next(5.0).error
    link.close()
    return error


def noted(network, reason):
    """The server's note of it, once it is there."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        found = [e for _, e in tuple(network.refused) if e.reason is reason]
        if found:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"{reason}, not {[e for _, e in network.refused]}")


def identity(network, name="c000"):
    return network.house.identities[name]


# ---------------------------------------------------------------------- certificates


def test_a_client_of_another_authority(network, tmp_path):
    other = Certificates(tmp_path / "other", seed=2)
    files = other.client(identity(network))
    own = network.certificates.of("c000")
    mixed = type(files)(own.authority, own.revoked, files.certificate, files.key)
    assert ended(network, mixed).reason is Reason.CHANNEL_AUTHORITY
    assert "not trusted here" in noted(network, Reason.CHANNEL_AUTHORITY).detail


def test_a_server_of_another_authority(network, tmp_path):
    other = Certificates(tmp_path / "other", seed=2)
    assert ended(network, other.client(identity(network))).reason is Reason.CHANNEL_AUTHORITY


def test_a_client_whose_certificate_has_expired(network):
    before = datetime.now(UTC) - 10 * DAY
    files = network.certificates.client(identity(network), name="old", now=before, days=2)
    assert ended(network, files).reason is Reason.CHANNEL_EXPIRED
    assert "rotated" in noted(network, Reason.CHANNEL_EXPIRED).detail
    with pytest.raises(ConfigurationError, match=r"old.crt expired on .* rotate it"):
        files.check(now=datetime.now(UTC), is_client=True)


def test_a_client_whose_certificate_is_not_valid_yet(network):
    later = datetime.now(UTC) + 10 * DAY
    files = network.certificates.client(identity(network), name="new", now=later)
    assert ended(network, files).reason is Reason.CHANNEL_CERTIFICATE
    assert "compare the clocks" in noted(network, Reason.CHANNEL_NOT_YET_VALID).detail
    with pytest.raises(ConfigurationError, match="is valid from"):
        files.check(now=datetime.now(UTC), is_client=True)


def test_a_client_whose_certificate_is_revoked(network):
    from cryptography import x509

    files = network.certificates.of("c000")
    serial = x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number
    network.certificates.revoke(serial)
    assert ended(network).reason is Reason.CHANNEL_REVOKED
    assert noted(network, Reason.CHANNEL_REVOKED).detail == "the certificate is revoked"


def test_a_server_whose_certificate_is_revoked(network):
    from cryptography import x509

    server = network.certificates.of("server").certificate.read_bytes()
    network.certificates.revoke(x509.load_pem_x509_certificate(server).serial_number)
    assert ended(network).reason is Reason.CHANNEL_REVOKED


def test_a_list_of_revoked_certificates_that_is_out_of_date(network):
    network.certificates.revoke(now=datetime.now(UTC) - 10 * DAY, days=1)
    error = ended(network)
    assert error.reason is Reason.CHANNEL_REVOCATION_LIST
    assert "out of date" in error.detail


def test_a_server_whose_certificate_is_for_another_host(network):
    assert ended(network, host="localhost").reason is Reason.CHANNEL_NAME


def test_a_client_without_a_certificate(network):
    with Raw(network) as peer, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        peer.frame()
    assert noted(network, Reason.CHANNEL_ANONYMOUS).detail == "no certificate was shown"


def test_a_client_with_a_servers_certificate(network):
    # It is not made for clients, which the standard library sees before its name.
    error = ended(network, network.certificates.of("server"))
    assert error.reason is Reason.CHANNEL_CERTIFICATE


def test_a_client_that_is_not_enrolled(network):
    stranger = Identity.new("zoe", rng=InsecureTestRng(9))
    files = network.certificates.client(stranger)
    assert ended(network, files).reason is Reason.CHANNEL_IDENTITY
    error = noted(network, Reason.CHANNEL_IDENTITY)
    assert error.culprits == ("zoe",)
    assert error.detail == "zoe is not in the directory of epoch 1"


def test_a_client_that_is_enrolled_with_another_key(network):
    files = network.certificates.client(Identity.new("c000", rng=InsecureTestRng(9)), name="x")
    assert ended(network, files).reason is Reason.CHANNEL_IDENTITY
    assert "another identity's key" in noted(network, Reason.CHANNEL_IDENTITY).detail


# ---------------------------------------------------------------------- versions


def test_tls_1_2(network):
    files = network.certificates.of("c000")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(files.authority)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        Raw(network, files, context=context)
    assert noted(network, Reason.CHANNEL_TLS_VERSION).detail == "the peer does not speak TLS 1.3"


def test_plaintext_on_the_tls_port(network):
    with socket.create_connection((HOST, network.port), timeout=5.0) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while plain.recv(4096):
            pass
    assert noted(network, Reason.CHANNEL_PLAINTEXT).detail == "what came is not TLS"


def test_a_server_that_speaks_no_tls(network):
    with socket.create_server((HOST, 0)) as listener:
        import threading

        def answer():
            for _ in range(3):
                taken, _ = listener.accept()
                with taken:
                    taken.sendall(b"220 hello there\r\n")
                    taken.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        error = ended(network, port=listener.getsockname()[1])
        thread.join()
    assert error.reason is Reason.CHANNEL_PLAINTEXT


def test_another_version_of_the_channel(network):
    with Raw(network, network.certificates.of("c000")) as peer:
        peer.hello(version=2)
        assert peer.closed() is Reason.CHANNEL_VERSION
    assert "version 2" in noted(network, Reason.CHANNEL_VERSION).detail


def test_a_role_that_no_protocol_has_here(network):
    with Raw(network, network.certificates.of("c000")) as peer:
        peer.hello(role="member")
        assert peer.closed() is Reason.UNEXPECTED


# ---------------------------------------------------------------------- admission


def test_one_connection_a_client(network):
    files = network.certificates.of("c000")
    with Raw(network, files) as one, Raw(network, files) as other:
        one.hello(b"1" * 16)
        assert one.frame()[0] is Kind.WELCOME
        other.hello(b"2" * 16)
        assert other.closed() is Reason.CHANNEL_BUSY


def test_a_session_is_begun_once(network):
    files = network.certificates.of("c000")
    with Raw(network, files) as one:
        one.hello(b"1" * 16)
        one.frame()
        one.send(frame(Kind.CLOSE, b"\x92\xa5close\x00"))
        with pytest.raises(EOFError):
            one.closed()
    with Raw(network, files) as again:
        again.hello(b"1" * 16)
        assert again.closed() is Reason.DUPLICATE


def test_who_connects_too_often_is_turned_away(tmp_path):
    import dataclasses

    from tlsdrive import LIMITS

    limits = dataclasses.replace(LIMITS, connects=3.0)
    with Network(house(3), tmp_path, limits=limits) as network:
        files, reasons = network.certificates.of("c000"), []
        for _ in range(4):
            with Raw(network, files) as peer:
                peer.hello(version=2)
                reasons.append(peer.closed())
        assert reasons == [Reason.CHANNEL_VERSION] * 3 + [Reason.CHANNEL_RATE]


def test_who_sends_frames_too_fast_is_cut_off(tmp_path):
    import dataclasses

    from tlsdrive import LIMITS

    limits = dataclasses.replace(LIMITS, frames=20.0)
    with (
        Network(house(3), tmp_path, limits=limits) as network,
        Raw(network, network.certificates.of("c000")) as peer,
    ):
        peer.hello()
        peer.send(frame(Kind.PING) * 60)
        assert peer.closed() is Reason.CHANNEL_RATE


# ---------------------------------------------------------------------- frames


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x00\x00\x00\x00\x06", Reason.MALFORMED),
        (b"\x00\x00\x00\x01\x63", Reason.MALFORMED),
        (b"\xff\xff\xff\xff\x03", Reason.OVERSIZED),
        ((HELLO_LIMIT + 1).to_bytes(4, "big") + b"\x05", Reason.OVERSIZED),
        (frame(Kind.PING, b"x"), Reason.MALFORMED),
        (frame(Kind.ACK, b"x"), Reason.MALFORMED),
        (frame(Kind.ACK, bytes(7) + b"\x09"), Reason.UNEXPECTED),
        (frame(Kind.PIECE, b"x"), Reason.UNEXPECTED),
        (frame(Kind.MESSAGE, b"short"), Reason.MALFORMED),
        (frame(Kind.MESSAGE, bytes(7), b"\x02", bytes(3), b"\x01", b"x"), Reason.MALFORMED),
        (frame(Kind.MESSAGE, bytes(8), bytes(3), b"\x01", b"x"), Reason.DUPLICATE),
        (frame(Kind.MESSAGE, bytes(7), b"\x01", b"\x7f\xff\xff\xff", b"x"), Reason.OVERSIZED),
        (frame(Kind.MESSAGE, bytes(7), b"\x01", bytes(3), b"\x01", b"xy"), Reason.OVERSIZED),
        (frame(Kind.MESSAGE, bytes(7), b"\x01", bytes(4), b""), Reason.OVERSIZED),
        (told(Hello(1, "client", bytes(16), 0)), Reason.UNEXPECTED),
        (frame(Kind.CLOSE, b"nonsense"), Reason.MALFORMED),
    ],
)
def test_what_no_honest_client_sends_ends_its_session(network, sent, reason):
    with Raw(network, network.certificates.of("c000")) as peer:
        peer.hello()
        assert peer.frame()[0] is Kind.WELCOME
        peer.send(sent)
        assert peer.closed() is reason
    assert noted(network, reason).culprits == ("c000",)
    # Nobody else is touched, and the client itself may begin anew.
    network.join("c000", "c001")


@pytest.mark.parametrize("first", [b"", b"\x00\x00", frame(Kind.PING), b"\xff\xff\xff\xff\x01"])
def test_whoever_says_nothing_of_use_first_is_let_go_in_time(network, first):
    with Raw(network, network.certificates.of("c000")) as peer:
        peer.send(first)
        started = time.monotonic()
        reason = peer.closed()
        assert time.monotonic() - started < 6.0
    assert reason in (Reason.CHANNEL_SILENT, Reason.UNEXPECTED, Reason.OVERSIZED)


def test_whoever_falls_silent_is_let_go(network):
    with Raw(network, network.certificates.of("c000")) as peer:
        peer.hello()
        peer.send(b"\x00\x00")
        noted(network, Reason.CHANNEL_SILENT)
    assert "c000" not in network.hub.connected


# ---------------------------------------------------------------------- files


def test_a_port_that_is_in_use(network):
    import dataclasses

    from fedprivacy.transport.tls.hub import Hub

    hub = Hub(
        network.certificates.of("server"),
        network.directory,
        bytes(16),
        limits=dataclasses.replace(network.limits),
        begin=lambda *_: True,
    )
    with pytest.raises(ConfigurationError, match=rf"{HOST}:{network.port} is in use: choose"):
        hub.start(HOST, network.port)
    hub.stop(None)


def test_a_key_that_others_may_read_is_not_used(network):
    files = network.certificates.of("c000")
    files.key.chmod(0o644)
    link = network.link("c000")
    with pytest.raises(ConfigurationError, match="has mode 0644: run chmod 600 on it"):
        link.start()
    link.close()


@pytest.mark.parametrize("which", ["authority", "revoked", "certificate", "key"])
def test_a_file_that_is_not_there_or_holds_nothing_of_use(network, which):
    files = network.certificates.of("c000")
    path = getattr(files, which)
    path.write_bytes(b"nonsense")
    for gone in (False, True):
        if gone:
            path.unlink()
        link = network.link("c000")
        with pytest.raises(ConfigurationError, match=r"c000|ca\.c"):
            link.start()
        link.close()


def test_a_reason_has_one_code_and_goes_over_the_wire(network):
    channel = [r for r in Reason if r.name.startswith("CHANNEL_")]
    assert [r.value for r in channel] == list(range(100, 100 + len(channel)))
    assert PeerError(Reason.CHANNEL_REVOKED, "x").exit_code == 6
    assert len(encode(Hello(1, "client", bytes(16), 0))) < HELLO_LIMIT
