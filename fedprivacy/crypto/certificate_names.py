"""Whom a client's certificate is for: a name in the directory, and the key enrolled there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from fedprivacy.crypto.directory import Directory
from fedprivacy.crypto.identity import CLIENT_ID_PATTERN
from fedprivacy.errors import PeerError, Reason
from fedprivacy.wire import digest

__all__ = ["CertifiedName", "fingerprint"]

_PREFIX = "urn:fedprivacy:client:"
_URI = re.compile(rf"{_PREFIX}([a-z0-9._-]{{1,64}}):([0-9a-f]{{64}})\Z")


def fingerprint(public_key: bytes) -> str:
    """The hash, in hex, by which a certificate names an identity's Ed25519 key."""
    return digest("identity-fingerprint", public_key).hex()


@dataclass(frozen=True, slots=True)
class CertifiedName:
    """A client and its identity's fingerprint, as they stand in a certificate's one URI."""

    client_id: str
    fingerprint: str

    @property
    def uri(self) -> str:
        """The subject alternative name."""
        return f"{_PREFIX}{self.client_id}:{self.fingerprint}"

    @classmethod
    def of(cls, certificate: x509.Certificate | x509.CertificateSigningRequest) -> Self:
        """The name in a certificate; raises `PeerError` (`CHANNEL_NAME`) where there is not one."""
        try:
            names = certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            raise _nameless() from None
        found = _URI.match(uris[0]) if len(uris) == 1 else None
        if found is None or not re.match(CLIENT_ID_PATTERN, found[1]):
            raise _nameless()
        return cls(found[1], found[2])

    def check_enrolled(self, directory: Directory) -> None:
        """Raise `PeerError` (`CHANNEL_IDENTITY`) unless the directory has this name and key."""
        key = directory.key_of(self.client_id)
        if key is None:
            detail = f"{self.client_id} is not in the directory of epoch {directory.epoch}"
            raise PeerError(Reason.CHANNEL_IDENTITY, detail, (self.client_id,))
        if fingerprint(key) != self.fingerprint:
            detail = f"the certificate of {self.client_id} is bound to another identity's key"
            raise PeerError(Reason.CHANNEL_IDENTITY, detail, (self.client_id,))


def _nameless() -> PeerError:
    return PeerError(Reason.CHANNEL_NAME, "the certificate names no client: it is not a client's")
