"""TLS certificates of a private authority, and the keys with which Flower knows its SuperNodes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng

__all__ = ["CertificateAuthority", "Certified", "NodeKey"]

# FIPS 186-5, A.2.1: 64 more random bits than the order has, so that the remainder is not skewed.
_SCALAR_BYTES = 48 + 8
_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_SERIAL_BYTES = 19  # RFC 5280, 4.1.2.2: at most 20, and positive
_DNS_NAME = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_EARLY = timedelta(minutes=5)  # clocks differ


@dataclass(frozen=True, slots=True, eq=False)
class Certified:
    """A certificate and its secret key, both in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class CertificateAuthority:
    """A private authority: who trusts its certificate alone trusts what it issued, and no more."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls, name: str, *, now: datetime, days: int, rng: Rng) -> Self:
        """A fresh authority (ECDSA, P-384), which may issue no other authorities."""
        key, subject = _new_key(rng.child("key")), _named(name)
        draft = (
            _draft(subject, subject, key, now, days, rng)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(draft.sign(key, SHA384(), ecdsa_deterministic=True), key)

    @property
    def pem(self) -> Certified:
        return Certified(self.certificate.public_bytes(Encoding.PEM), _pem(self.key))

    def server(self, hosts: Iterable[str], *, now: datetime, days: int, rng: Rng) -> Certified:
        """A server's key and certificate, for IP addresses and DNS names.

        Raises `ConfigurationError` where there is no host, or one that is neither.
        """
        names = [_host(host) for host in hosts]
        if not names:
            raise ConfigurationError("a server's certificate names no host: give one")
        key = _new_key(rng.child("key"))
        issuer = self.certificate.subject
        draft = (
            _draft(_named(str(names[0].value)), issuer, key, now, days, rng)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        signed = draft.sign(self.key, SHA384(), ecdsa_deterministic=True)
        return Certified(signed.public_bytes(Encoding.PEM), _pem(key))


@dataclass(frozen=True, slots=True, eq=False)
class NodeKey:
    """The key of a SuperNode: ECDSA over P-384, in the formats of OpenSSH, as Flower reads them."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def new(cls, *, rng: Rng) -> Self:
        """A fresh one."""
        key = _new_key(rng)
        return cls(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n",
        )


def _new_key(rng: Rng) -> EllipticCurvePrivateKey:
    # FIPS 186-5, A.2.1: d = (c mod (n - 1)) + 1.
    drawn = int.from_bytes(rng.bytes(_SCALAR_BYTES), "big")
    return derive_private_key(drawn % (_ORDER - 1) + 1, SECP384R1())


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _named(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise ConfigurationError(f"a certificate cannot be named {name!r}: {error}") from None


def _draft(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime,
    days: int,
    rng: Rng,
) -> x509.CertificateBuilder:
    serial = int.from_bytes(rng.child("serial").bytes(_SERIAL_BYTES), "big")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial | 1)
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not _DNS_NAME.fullmatch(host):
            raise ConfigurationError(
                f"host {host!r} is no IP address and no DNS name of at most 64 characters"
            ) from None
        return x509.DNSName(host)
