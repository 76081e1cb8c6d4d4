"""A private authority, what it issues, and SuperNodes' keys, read again by other code."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fedprivacy.crypto import CertificateAuthority, NodeKey
from fedprivacy.crypto.certificates import _ORDER
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def authority(seed=1):
    return CertificateAuthority.new("toy", now=NOW, days=365, rng=InsecureTestRng(seed))


def issued(hosts, seed=2):
    return authority().server(hosts, now=NOW, days=90, rng=InsecureTestRng(seed))


def verify(certified, host, *, at=NOW, trusted=None):
    trusted = authority() if trusted is None else trusted
    name = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
    verifier = PolicyBuilder().store(Store([trusted.certificate])).time(at)
    leaf = x509.load_pem_x509_certificate(certified.certificate)
    verifier.build_server_verifier(name).verify(leaf, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fl.example.org"])
def test_a_servers_certificate_holds_for_each_of_its_hosts(host):
    verify(issued(["127.0.0.1", "::1", "fl.example.org"]), host)


@pytest.mark.parametrize(
    ("host", "at", "seed"),
    [
        ("127.0.0.2", NOW, 1),
        ("example.org", NOW, 1),
        ("127.0.0.1", NOW + timedelta(days=91), 1),
        ("127.0.0.1", NOW - timedelta(days=1), 1),
        ("127.0.0.1", NOW, 9),
    ],
)
def test_it_holds_for_no_other_host_time_or_authority(host, at, seed):
    with pytest.raises(VerificationError):
        verify(issued(["127.0.0.1"]), host, at=at, trusted=authority(seed))


def test_what_it_issues_is_no_authority():
    leaf = x509.load_pem_x509_certificate(issued(["127.0.0.1"]).certificate)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    own = authority().certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert own.ca
    assert own.path_length == 0


def test_key_and_certificate_belong_together(tmp_path):
    certified = issued(["127.0.0.1"])
    for name, data in (("crt", certified.certificate), ("key", certified.key)):
        (tmp_path / name).write_bytes(data)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "crt", tmp_path / "key")


@pytest.mark.parametrize(
    "host", ["", "a b", "https://x", "10.0.0.0/8", "x" * 65, "-a", "ä.example"]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ConfigurationError, match="is no IP address and no DNS name"):
        issued([host])


def test_a_server_has_a_host():
    with pytest.raises(ConfigurationError, match="names no host"):
        issued([])


def test_a_nodes_key_is_in_the_forms_of_openssh():
    key = NodeKey.new(rng=InsecureTestRng(3))
    private = load_ssh_private_key(key.private, None)
    assert isinstance(private, EllipticCurvePrivateKey)
    assert isinstance(private.curve, SECP384R1)
    assert load_ssh_public_key(key.public) == private.public_key()


def test_secrets_are_in_no_repr():
    certified, key = authority().pem, NodeKey.new(rng=InsecureTestRng(3))
    assert "PRIVATE" not in repr(certified) + repr(key) + repr(authority())


def test_keys_are_drawn_from_the_rng_alone():
    one, two, other = (issued(["127.0.0.1"], seed) for seed in (2, 2, 3))
    assert (one.key, one.certificate) == (two.key, two.certificate)
    assert one.key != other.key
    scalar = load_pem_private_key(one.key, None).private_numbers().private_value
    assert 0 < scalar < _ORDER
