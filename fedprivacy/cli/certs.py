"""`fedprivacy certs`: the certificates and keys of a deployment's connections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import make_folder, read_text, write_text
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["app"]

_NEW = (
    "fedprivacy certs new certs --host 127.0.0.1",
    "fedprivacy certs new certs --host fl.example.org --host 192.0.2.7 --nodes 5",
)
_REQUEST = "fedprivacy certs request hospital-01.key --out hospital-01"
_ISSUE = "fedprivacy certs issue requests/*.json --ca certs --directory directory.json --out out"
_SHOW = ("fedprivacy certs show certs", "fedprivacy certs show hospital-01.crt ca.crl")
_ROTATE = (
    "fedprivacy certs rotate certs",
    "fedprivacy certs rotate certs --host fl.example.org",
    "fedprivacy certs rotate certs --authority",
)
_REVOKE = ("fedprivacy certs revoke certs hospital-09", "fedprivacy certs revoke certs")
_DAYS = 90
_LIST_DAYS = 30

app = group("Make certificates and keys for TLS, rotate and revoke them.", _NEW[0])

_Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="NAME",
        help="The server's IP address or DNS name; may be repeated.",
        show_default=False,
    ),
]
_Days = Annotated[
    int,
    typer.Option("--days", min=1, max=3650, metavar="N", help="How long a certificate is valid."),
]
_ListDays = Annotated[
    int,
    typer.Option(
        "--list-days",
        min=1,
        max=365,
        metavar="N",
        help="How long the list of revoked certificates is good for.",
    ),
]
_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)]


@command(app, "new", *_NEW)
def new(
    folder: _Folder,
    *,
    host: _Hosts = None,
    days: _Days = _DAYS,
    list_days: _ListDays = _LIST_DAYS,
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", min=0, max=10_000, metavar="N", help="Keys for Flower's SuperNodes, too."
        ),
    ] = 0,
) -> None:
    """Make a private authority, a server's certificate, and the keys of Flower's SuperNodes.

    Without --host the server is for 127.0.0.1. `ca.crt` and `ca.crl` go to everyone, `server.key`
    to the server alone, each `nodes/N.key` to that node alone; `ca.key` stays where it is. Such
    keys protect connections; they are not the identities that sign in a round (`fedprivacy keys`).
    No key is ever replaced.
    """
    from datetime import UTC, datetime

    from fedprivacy.crypto import AuthorityFolder, NodeKey, write_secret
    from fedprivacy.randomness import SystemRng

    rng, now = SystemRng(), datetime.now(UTC)
    hosts = host or ["127.0.0.1"]
    AuthorityFolder.new(folder, hosts, now=now, days=days, list_days=list_days, rng=rng)
    for name in ("ca", "server"):
        typer.echo(f"{name:6} {folder / name}.crt, key {folder / name}.key")
    typer.echo(f"list   {folder / 'ca.crl'}: nothing is revoked")
    if nodes:
        make_folder(folder / "nodes")
    for number in range(nodes):
        key, path = NodeKey.new(rng=rng.child(f"node/{number}")), folder / "nodes" / str(number)
        write_secret(path.with_suffix(".key"), key.private)
        write_text(path.with_suffix(".pub"), key.public.decode())
        typer.echo(f"node   {path}.pub, key {path}.key")


@command(app, "request", _REQUEST)
def request(
    identity: Annotated[Path, typer.Argument(metavar="IDENTITY.key", show_default=False)],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="For the new key.", show_default=False)
    ],
) -> None:
    """Make a client's key for TLS, and the request for a certificate that its identity signs.

    The identity's name is that of its file. The key stays here; the request goes to whoever holds
    the authority. To rotate, make another in another folder: both certificates are valid until the
    old one ends.
    """
    from fedprivacy.crypto import (
        CertificateRequest,
        Identity,
        new_tls_key,
        tls_key_pem,
        write_secret,
    )
    from fedprivacy.randomness import SystemRng

    asking = Identity.load(identity, identity.stem)
    key, name = new_tls_key(rng=SystemRng()), asking.client_id
    make_folder(out)
    write_secret(out / f"{name}.tls.key", tls_key_pem(key))
    write_text(out / f"{name}.request.json", CertificateRequest.of(asking, key))
    typer.echo(f"{out / name}.request.json, key {out / name}.tls.key")


@command(app, "issue", _ISSUE)
def issue(
    requests: Annotated[list[Path], typer.Argument(metavar="REQUEST.json...", show_default=False)],
    *,
    ca: Annotated[
        Path, typer.Option("--ca", metavar="FOLDER", help="The authority's.", show_default=False)
    ],
    directory: Annotated[
        Path,
        typer.Option(
            "--directory", metavar="FILE", help="Who is enrolled, signed.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="For certificates.")] = Path(
        "issued"
    ),
    days: _Days = _DAYS,
) -> None:
    """Issue certificates to enrolled clients, whose identities signed their requests.

    All requests are found to hold before the first certificate is issued.
    """
    from datetime import UTC, datetime

    from fedprivacy.crypto import AuthorityFolder, CertificateRequest, Directory
    from fedprivacy.randomness import SystemRng

    enrolled = Directory.from_json(read_text(directory))
    found = [CertificateRequest.parse(read_text(path), enrolled) for path in requests]
    folder, now = AuthorityFolder(ca), datetime.now(UTC)
    for asked in found:
        path = folder.issue(asked, out, now=now, days=days, rng=SystemRng())
        typer.echo(f"{asked.name.client_id}  {path}, {days} days")


@command(app, "show", *_SHOW)
def show_certificates(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", show_default=False)],
) -> None:
    """Print what certificates and lists of revoked certificates say; of a folder, all in it."""
    for path in paths:
        inside = sorted([*path.glob("*.crt"), *path.glob("*.crl")]) if path.is_dir() else [path]
        for file in inside:
            for line in _lines(file):
                typer.echo(line)


@command(app, "rotate", *_ROTATE)
def rotate(
    folder: _Folder,
    *,
    host: _Hosts = None,
    authority: Annotated[
        bool, typer.Option("--authority", help="The authority's own key, not the server's.")
    ] = False,
    days: _Days = _DAYS,
    list_days: _ListDays = _LIST_DAYS,
) -> None:
    """Replace the server's key and certificate, or the authority's; the old ones stay valid.

    A server takes the new ones with the next connection. A new authority trusts what the old one
    issued until that ends: send everyone the new `ca.crt` and `ca.crl`.
    """
    from datetime import UTC, datetime

    from fedprivacy.crypto import AuthorityFolder
    from fedprivacy.randomness import SystemRng

    held, now, rng = AuthorityFolder(folder), datetime.now(UTC), SystemRng()
    if authority:
        what, old = "ca", held.rotate_authority(now=now, list_days=list_days, rng=rng)
    else:
        what, old = "server", held.rotate_server(host or (), now=now, days=days, rng=rng)
    typer.echo(f"{what:6} {folder / what}.crt, key {folder / what}.key")
    typer.echo(f"old    {old[0]}, key {old[1]}: valid until it ends")


@command(app, "revoke", *_REVOKE)
def revoke(
    folder: _Folder,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CLIENT|SERIAL|FILE.crt]...", show_default=False)
    ] = None,
    *,
    list_days: _ListDays = _LIST_DAYS,
) -> None:
    """Revoke certificates, and sign the list of all that are revoked anew.

    Send `ca.crl` to the server and to every client: both look certificates up in it, and take
    none once it is out of date. Without a name the list is only signed anew.
    """
    from datetime import UTC, datetime

    from fedprivacy.crypto import AuthorityFolder

    now = datetime.now(UTC)
    serials = AuthorityFolder(folder).revoke(names or (), now=now, days=list_days)
    for serial in serials:
        typer.echo(f"revoked {serial:x}")
    typer.echo(f"list   {folder / 'ca.crl'}, {list_days} days")


def _lines(path: Path) -> list[str]:
    """What a file says, a line each."""
    from cryptography import x509

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    try:
        if b"-----BEGIN X509 CRL-----" in data:
            end = b"-----END X509 CRL-----"
            lists = [p + end for p in data.split(end) if b"BEGIN" in p]
            return [line for p in lists for line in _list_lines(path, x509.load_pem_x509_crl(p))]
        found = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM") from None
    return [line for certificate in found for line in _certificate_lines(path, certificate)]


def _certificate_lines(path: Path, certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for_whom = ", ".join(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        for_whom = certificate.subject.rfc4514_string()
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [
        f"{path}",
        f"  for     {for_whom}",
        f"  serial  {certificate.serial_number:x}",
        f"  issuer  {certificate.issuer.rfc4514_string()}",
        f"  valid   {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC",
    ]


def _list_lines(path: Path, crl: x509.CertificateRevocationList) -> list[str]:
    until = crl.next_update_utc
    return [
        f"{path}",
        f"  issuer  {crl.issuer.rfc4514_string()}",
        f"  good    {crl.last_update_utc:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        if until
        else "  good    for ever",
        *(f"  revoked {entry.serial_number:x}" for entry in crl),
    ]
