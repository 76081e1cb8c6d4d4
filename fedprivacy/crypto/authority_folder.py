"""The folder of a private authority: its keys, what it issued, and the list of what it revoked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedprivacy.crypto.certificate_names import CertifiedName
from fedprivacy.crypto.certificate_requests import CertificateRequest
from fedprivacy.crypto.certificates import CertificateAuthority
from fedprivacy.crypto.revocation import read_revocations, revocation_list
from fedprivacy.crypto.secret_files import check_private, write_secret
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.randomness import Rng

__all__ = ["AuthorityFolder"]

_NAME = "fedprivacy"
_AUTHORITY_DAYS = 5 * 365


@dataclass(frozen=True, slots=True)
class AuthorityFolder:
    """`ca.crt`, `ca.key`, `ca.crl`, `server.crt`, `server.key`, and `issued/SERIAL.crt`.

    After a rotation `ca.crt` and `ca.crl` speak for the old authority, too, whose own files are
    then called `ca-SERIAL.crt` and `ca-SERIAL.key`; so it is with the server's.
    """

    path: Path

    @classmethod
    def new(
        cls, path: Path, hosts: Iterable[str], *, now: datetime, days: int, list_days: int, rng: Rng
    ) -> AuthorityFolder:
        """A fresh authority and its first server; raises `ConfigurationError`."""
        authority = CertificateAuthority.new(
            _NAME, now=now, days=_AUTHORITY_DAYS, rng=rng.child("authority")
        )
        server = authority.server(hosts, now=now, days=days, rng=rng.child("server"))
        _make(path)
        folder = cls(path)
        write_secret(path / "ca.key", authority.pem.key)
        _write(path / "ca.crt", authority.pem.certificate)
        write_secret(path / "server.key", server.key)
        folder._keep(server.certificate)
        _write(path / "server.crt", server.certificate)
        folder.revoke((), now=now, days=list_days)
        return folder

    def issue(
        self, request: CertificateRequest, out: Path, *, now: datetime, days: int, rng: Rng
    ) -> Path:
        """A client's certificate, in a folder, under its id; an earlier one stays valid."""
        authority = self._authority()
        issued = authority.client(request.name, request.key, now=now, days=days, rng=rng)
        self._keep(issued)
        _make(out)
        path = out / f"{request.name.client_id}.crt"
        _write(path, issued)
        return path

    def rotate_server(
        self, hosts: Iterable[str], *, now: datetime, days: int, rng: Rng
    ) -> tuple[Path, Path]:
        """A new key and certificate for the server, by default for the old one's hosts.

        Returns where the old ones are now: they stay valid.
        """
        old = _certificate(self.path / "server.crt")
        names = tuple(hosts) or tuple(_hosts(old))
        made = self._authority().server(names, now=now, days=days, rng=rng)
        moved = self._put_aside("server", old)
        write_secret(self.path / "server.key", made.key)
        self._keep(made.certificate)
        _write(self.path / "server.crt", made.certificate)
        return moved

    def rotate_authority(self, *, now: datetime, list_days: int, rng: Rng) -> tuple[Path, Path]:
        """A new authority; `ca.crt` trusts both, and what the old one issued stays valid."""
        old = self._authority().certificate
        text = (self.path / "ca.crt").read_bytes()
        made = CertificateAuthority.new(
            f"{_NAME} {now:%Y-%m-%d} {old.serial_number & 0xFFFF:04x}",
            now=now,
            days=_AUTHORITY_DAYS,
            rng=rng,
        )
        moved = self._put_aside("ca", old)
        write_secret(self.path / "ca.key", made.pem.key)
        _write(self.path / "ca.crt", made.pem.certificate + text)
        self.revoke((), now=now, days=list_days)
        return moved

    def revoke(self, names: Iterable[str], *, now: datetime, days: int) -> tuple[int, ...]:
        """Sign the list anew, with the certificates of these names, and return their serials.

        A name is a client's id, all of whose certificates are revoked, or a certificate's file or
        serial number, in hex.
        """
        certificates = [c for name in names for c in self._named(name)]
        path = self.path / "ca.crl"
        before = _lists(path)
        lists = b""
        for authority in self._authorities():
            subject = authority.certificate.subject
            serials = [c.serial_number for c in certificates if c.issuer == subject]
            known = next((text for issuer, text in before if issuer == subject), None)
            earlier = None if known is None else read_revocations(known, authority)
            lists += revocation_list(authority, serials, earlier, now=now, days=days)
        _write(path, lists)
        return tuple(c.serial_number for c in certificates)

    # ------------------------------------------------------------------ files

    def _authority(self) -> CertificateAuthority:
        return next(iter(self._authorities()))

    def _authorities(self) -> Iterator[CertificateAuthority]:
        """The present one, and those before it whose keys are still here."""
        for key in (self.path / "ca.key", *sorted(self.path.glob("ca-*.key"))):
            check_private(key)
            yield CertificateAuthority.load(_read(key.with_suffix(".crt")), key.read_bytes())

    def _keep(self, issued: bytes) -> None:
        serial = x509.load_pem_x509_certificate(issued).serial_number
        _make(self.path / "issued")
        _write(self.path / "issued" / f"{serial:x}.crt", issued)

    def _put_aside(self, what: str, old: x509.Certificate) -> tuple[Path, Path]:
        certificate = self.path / f"{what}-{old.serial_number:x}.crt"
        _write(certificate, old.public_bytes(Encoding.PEM))
        key = certificate.with_suffix(".key")
        (self.path / f"{what}.key").rename(key)
        return certificate, key

    def _named(self, name: str) -> list[x509.Certificate]:
        if name.endswith(".crt"):
            return [_certificate(Path(name))]
        kept = [_certificate(path) for path in sorted((self.path / "issued").glob("*.crt"))]
        found = [c for c in kept if name in (_client_of(c), f"{c.serial_number:x}")]
        if not found:
            raise ConfigurationError(
                f"{self.path} has issued nothing to {name}: name a client, a serial or a .crt"
            )
        return found


def _client_of(certificate: x509.Certificate) -> str:
    try:
        return CertifiedName.of(certificate).client_id
    except PeerError:
        return ""


def _hosts(certificate: x509.Certificate) -> Iterator[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for address in names.get_values_for_type(x509.IPAddress):
        yield str(address)
    yield from names.get_values_for_type(x509.DNSName)


def _lists(path: Path) -> list[tuple[x509.Name, bytes]]:
    """The lists in a file, by their issuer."""
    if not path.exists():
        return []
    end = b"-----END X509 CRL-----\n"
    texts = [part + end for part in _read(path).split(end) if part.strip()]
    try:
        return [(x509.load_pem_x509_crl(text).issuer, text) for text in texts]
    except ValueError:
        raise ConfigurationError(f"{path} holds no lists of revoked certificates") from None


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _write(path: Path, data: bytes) -> None:
    """Either the old file or the whole new one is there."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
