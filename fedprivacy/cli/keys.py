"""`fedprivacy keys`: identities, and the requests to enrol them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.cli.files import make_folder, read_text, write_text
from fedprivacy.cli.help import command, group

__all__ = ["app"]

app = group("Make identities and enrol them.", "fedprivacy keys new hospital-01 --out keys")

_Out = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="The folder for the files.", show_default=False),
]


@command(app, "new", "fedprivacy keys new hospital-01 --out keys")
def new(
    client_id: Annotated[
        str,
        typer.Argument(metavar="CLIENT_ID", show_default=False),
    ],
    *,
    out: _Out,
) -> None:
    """Make a client's identity and its request to be enrolled.

    The key stays with the client, the request goes to the authority. No key is ever replaced.
    """
    from fedprivacy.crypto import Enrolment, Identity
    from fedprivacy.randomness import SystemRng

    identity = Identity.new(client_id, rng=SystemRng())
    make_folder(out)
    key, request = out / f"{client_id}.key", out / f"{client_id}.enrolment.json"
    identity.save(key)
    write_text(request, Enrolment.request(identity))
    typer.echo(f"key, to keep:           {key}")
    typer.echo(f"request, to be enrolled: {request}")


@command(app, "authority", "fedprivacy keys authority consortium --out authority")
def authority(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    out: _Out,
) -> None:
    """Make the key of the authority that signs the directory.

    The key stays with the authority; the other file is for clients to pin. No key is ever replaced.
    """
    from fedprivacy.crypto import Authority, Identity
    from fedprivacy.randomness import SystemRng

    identity = Identity.new(name, rng=SystemRng())
    make_folder(out)
    key, public = out / f"{name}.key", out / f"{name}.pub"
    identity.save(key)
    write_text(public, Authority.of(identity).to_json())
    typer.echo(f"key, to keep:       {key}")
    typer.echo(f"file, to be pinned: {public}")


@command(
    app,
    "enroll",
    "fedprivacy keys enroll hospital-01.enrolment.json --into draft.json",
    "fedprivacy keys enroll requests/*.json --into draft.json",
)
def enroll(
    requests: Annotated[
        list[Path],
        typer.Argument(metavar="REQUEST.json...", show_default=False),
    ],
    *,
    into: Annotated[
        Path,
        typer.Option(
            "--into", metavar="DRAFT.json", help="The unsigned draft.", show_default=False
        ),
    ],
) -> None:
    """Add clients to the unsigned draft of the directory.

    A request proves that who made it holds the key. That this is the client whom it names, the
    authority must know by other means. All requests are added or none; the draft is made if there
    is none yet.
    """
    from fedprivacy.crypto import DirectoryDraft, Enrolment

    draft = DirectoryDraft.from_json(read_text(into)) if into.exists() else DirectoryDraft()
    for path in requests:
        enrolment = Enrolment.parse(read_text(path))
        draft = draft.add(enrolment)
        typer.echo(f"{enrolment.client_id}  {enrolment.public_key.hex()}")
    write_text(into, draft.to_json())
    typer.echo(f"{into} has {len(draft.entries)}: `fedprivacy directory sign` makes them valid")


@command(app, "ceremony", "fedprivacy keys ceremony study-7 --protocol bfv --out ceremony")
def ceremony(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    protocol: Annotated[
        str,
        typer.Option("--protocol", metavar="NAME", help="bfv, ckks or ckks-8192."),
    ] = "bfv",
    out: _Out,
) -> None:
    """Make the secret key that all clients of a homomorphic protocol share.

    One client runs it, and gives the clients' part to the other clients, never to the server. With
    that file and the server's traffic anybody sees every update of every client. The server's part
    decrypts nothing. No file is ever replaced.
    """
    from fedprivacy.errors import ConfigurationError
    from fedprivacy.randomness import SystemRng
    from fedprivacy.secagg import SHARED_KEYS

    if protocol not in SHARED_KEYS:
        known = ", ".join(SHARED_KEYS)
        raise ConfigurationError(f"--protocol {protocol} shares no key: choose from {known}")
    key = SHARED_KEYS[protocol].ceremony(rng=SystemRng())
    make_folder(out)
    clients, server = out / f"{name}.clients.key", out / f"{name}.server.key"
    key.save(clients)
    key.server_part.save(server)
    typer.echo(f"for every client, and nobody else: {clients}")
    typer.echo(f"for the server:                    {server}")
    typer.echo("name the first in client.toml (ceremony); any one client with it, together with")
    typer.echo("the server, can decrypt every client's update")
