"""`fedprivacy certs`: the certificates and keys of a deployment's connections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.cli.files import make_folder, write_text
from fedprivacy.cli.help import command, group

__all__ = ["app"]

_NEW = (
    "fedprivacy certs new certs --host 127.0.0.1",
    "fedprivacy certs new certs --host fl.example.org --host 192.0.2.7 --nodes 5",
)
_DAYS = 365

app = group("Make certificates and keys for TLS.", _NEW[0])


@command(app, "new", *_NEW)
def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    *,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="The server's IP address or DNS name; may be repeated. By default 127.0.0.1.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", min=0, max=10_000, metavar="N", help="Keys for Flower's SuperNodes, too."
        ),
    ] = 0,
) -> None:
    """Make a private authority, a server's certificate, and the keys of Flower's SuperNodes.

    They are valid for a year. `ca.crt` goes to everyone, `server.key` to the server alone, each
    `nodes/N.key` to that node alone; `ca.key` stays where it is. Such keys protect connections;
    they are not the identities that sign in a round (`fedprivacy keys`). No key is ever replaced.
    """
    from datetime import UTC, datetime

    from fedprivacy.crypto import CertificateAuthority, NodeKey, write_secret
    from fedprivacy.randomness import SystemRng

    rng, now = SystemRng(), datetime.now(UTC)
    authority = CertificateAuthority.new(
        "fedprivacy", now=now, days=_DAYS, rng=rng.child("authority")
    )
    server = authority.server(host or ["127.0.0.1"], now=now, days=_DAYS, rng=rng.child("server"))
    make_folder(folder)
    for name, made in (("ca", authority.pem), ("server", server)):
        write_secret(folder / f"{name}.key", made.key)
        write_text(folder / f"{name}.crt", made.certificate.decode())
        typer.echo(f"{name:6} {folder / name}.crt, key {folder / name}.key")
    if nodes:
        make_folder(folder / "nodes")
    for number in range(nodes):
        key, path = NodeKey.new(rng=rng.child(f"node/{number}")), folder / "nodes" / str(number)
        write_secret(path.with_suffix(".key"), key.private)
        write_text(path.with_suffix(".pub"), key.public.decode())
        typer.echo(f"node   {path}.pub, key {path}.key")
