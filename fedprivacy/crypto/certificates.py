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
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedprivacy.crypto.certificate_names import CertifiedName
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng

__all__ = ["CertificateAuthority", "Certified", "NodeKey", "new_tls_key", "tls_key_pem"]

# FIPS 186-5, A.2.1: 64 more random bits than the order has, so that the remainder is not skewed.
_EXTRA_BYTES = 8
_ORDER_256 = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
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
        key, subject = _new_key(SECP384R1(), _ORDER, rng.child("key")), _named(name)
        draft = (
            _draft(subject, subject, key.public_key(), now, days, rng)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(draft.sign(key, SHA384(), ecdsa_deterministic=True), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Self:
        """The authority of a certificate and its key in PEM; raises `ConfigurationError`."""
        try:
            issuer, secret = (
                x509.load_pem_x509_certificate(certificate),
                load_pem_private_key(key, None),
            )
        except (ValueError, TypeError):
            # The library's text could quote what it read.
            raise ConfigurationError("no certificate and unencrypted key in PEM") from None
        if not isinstance(secret, EllipticCurvePrivateKey):
            raise ConfigurationError("the authority's key is not one for ECDSA")
        if secret.public_key() != issuer.public_key():
            raise ConfigurationError("the authority's key is not that of its certificate")
        return cls(issuer, secret)

    @property
    def pem(self) -> Certified:
        return Certified(self.certificate.public_bytes(Encoding.PEM), tls_key_pem(self.key))

    def server(self, hosts: Iterable[str], *, now: datetime, days: int, rng: Rng) -> Certified:
        """A server's key (ECDSA, P-256) and certificate, for IP addresses and DNS names.

        Raises `ConfigurationError` where there is no host, or one that is neither.
        """
        names = [_host(host) for host in hosts]
        if not names:
            raise ConfigurationError("a server's certificate names no host: give one")
        key = new_tls_key(rng=rng.child("key"))
        subject = _named(str(names[0].value))
        certificate = self._issued(
            subject, key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, now, days, rng
        )
        return Certified(certificate, tls_key_pem(key))

    def client(
        self,
        name: CertifiedName,
        key: EllipticCurvePublicKey,
        *,
        now: datetime,
        days: int,
        rng: Rng,
    ) -> bytes:
        """The certificate (PEM) of an enrolled client's own key."""
        uri = x509.UniformResourceIdentifier(name.uri)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issued(_named(name.client_id), key, [uri], usage, now, days, rng)

    def _issued(
        self,
        subject: x509.Name,
        key: EllipticCurvePublicKey,
        names: Iterable[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        days: int,
        rng: Rng,
    ) -> bytes:
        draft = (
            _draft(subject, self.certificate.subject, key, now, days, rng)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        signed = draft.sign(self.key, SHA384(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True, eq=False)
class NodeKey:
    """The key of a SuperNode: ECDSA over P-384, in the formats of OpenSSH, as Flower reads them."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def new(cls, *, rng: Rng) -> Self:
        """A fresh one."""
        key = _new_key(SECP384R1(), _ORDER, rng)
        return cls(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n",
        )


def new_tls_key(*, rng: Rng) -> EllipticCurvePrivateKey:
    """A fresh key for connections: ECDSA over P-256."""
    return _new_key(SECP256R1(), _ORDER_256, rng)


def _new_key(curve: EllipticCurve, order: int, rng: Rng) -> EllipticCurvePrivateKey:
    # FIPS 186-5, A.2.1: d = (c mod (n - 1)) + 1.
    drawn = int.from_bytes(rng.bytes(curve.key_size // 8 + _EXTRA_BYTES), "big")
    return derive_private_key(drawn % (order - 1) + 1, curve)


def tls_key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """The key's unencrypted PEM, PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _named(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise ConfigurationError(f"a certificate cannot be named {name!r}: {error}") from None


def _draft(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    now: datetime,
    days: int,
    rng: Rng,
) -> x509.CertificateBuilder:
    serial = int.from_bytes(rng.child("serial").bytes(_SERIAL_BYTES), "big")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial | 1)
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
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
