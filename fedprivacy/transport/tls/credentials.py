"""One side's files for TLS, and the contexts made of them: TLS 1.3, both sides authenticated."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fedprivacy.crypto import CertifiedName, check_private
from fedprivacy.errors import ConfigurationError, PeerError

__all__ = ["Credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The trusted authority, its list of revoked certificates, and this side's own certificate."""

    authority: Path
    revoked: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For taking connections: every client shows a certificate."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        # A session ticket would let a client back in without its certificate being looked at.
        context.num_tickets = 0
        return context

    def client_context(self) -> ssl.SSLContext:
        """For connecting: the server's certificate is for the host that is asked for."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def check(self, *, now: datetime, is_client: bool) -> None:
        """Raise `ConfigurationError` for files with which no connection would be made."""
        check_private(self.key)
        own = _read(self.certificate)
        until, since = own.not_valid_after_utc, own.not_valid_before_utc
        if until <= now:
            raise ConfigurationError(
                f"{self.certificate} expired on {until:%Y-%m-%d %H:%M} UTC: rotate it"
            )
        if now < since:
            raise ConfigurationError(
                f"{self.certificate} is valid from {since:%Y-%m-%d %H:%M} UTC only: wait, or set "
                "this machine's clock"
            )
        if is_client:
            self.own_name()
        _ = self.client_context() if is_client else self.server_context()

    def own_name(self) -> CertifiedName:
        """Whom this side's certificate is for; raises `ConfigurationError` for a server's."""
        try:
            return CertifiedName.of(_read(self.certificate))
        except PeerError as error:
            raise ConfigurationError(f"{self.certificate}: {error.detail}") from None

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        check_private(self.key)
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
        _load(context, self.authority, "certificate of an authority")
        _load(context, self.revoked, "list of revoked certificates")
        try:
            # An empty password: a key that is locked must not wait for somebody at a terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError:
            raise ConfigurationError(
                f"{self.certificate} and {self.key} are no certificate and its unencrypted key"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{self.certificate}: {error.strerror or error}") from None
        return context


def _load(context: ssl.SSLContext, path: Path, what: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ConfigurationError(f"{path} holds no {what} in PEM") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM") from None
