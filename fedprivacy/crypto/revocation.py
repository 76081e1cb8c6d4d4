"""An authority's list of revoked certificates (CRL, RFC 5280 section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from fedprivacy.crypto.certificates import CertificateAuthority
from fedprivacy.errors import ConfigurationError

__all__ = ["read_revocations", "revocation_list"]

_EARLY = timedelta(minutes=5)  # clocks differ


def revocation_list(
    authority: CertificateAuthority,
    serials: Iterable[int],
    before: x509.CertificateRevocationList | None,
    *,
    now: datetime,
    days: int,
) -> bytes:
    """A list (PEM) of all that the one before has, and these serials; good for so many days."""
    known = {entry.serial_number: entry.revocation_date_utc for entry in before or ()}
    for serial in serials:
        known.setdefault(serial, now)
    number = 1 if before is None else _number(before) + 1
    draft = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _EARLY)
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    for serial, since in sorted(known.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
        draft = draft.add_revoked_certificate(entry.build())
    signed = draft.sign(authority.key, SHA384(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.PEM)


def read_revocations(pem: bytes, authority: CertificateAuthority) -> x509.CertificateRevocationList:
    """The list in a text, signed by this authority; raises `ConfigurationError`."""
    try:
        found = x509.load_pem_x509_crl(pem)
    except ValueError:
        raise ConfigurationError("no list of revoked certificates in PEM") from None
    if not found.is_signature_valid(authority.key.public_key()):
        raise ConfigurationError("the list of revoked certificates is not of this authority")
    return found


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
