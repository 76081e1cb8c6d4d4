"""`fedprivacy directory` and `fedprivacy pin`: who is enrolled, and by whose word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedprivacy.cli.files import read_text, write_text
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError

__all__ = ["PIN_EXAMPLES", "app", "pin"]

PIN_EXAMPLES = ("fedprivacy pin consortium.pub --store client.db",)
_SIGN = "fedprivacy directory sign draft.json --authority consortium.key --epoch 1"

app = group(
    "Sign the directory of enrolled clients, and read it.",
    "fedprivacy directory show directory.json",
)


@command(app, "sign", f"{_SIGN} --out directory.json")
def sign(
    draft: Annotated[Path, typer.Argument(metavar="DRAFT.json", show_default=False)],
    *,
    authority: Annotated[
        Path,
        typer.Option("--authority", metavar="KEY", help="The authority's key.", show_default=False),
    ],
    epoch: Annotated[
        int,
        typer.Option(
            "--epoch",
            min=1,
            metavar="N",
            help="Higher than that of every directory signed before.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The signed directory.")
    ] = Path("directory.json"),
) -> None:
    """Sign a draft: from then on these clients, and no others, are enrolled.

    A directory of a lower epoch in the same file is replaced; clients refuse it once they have seen
    the new one.
    """
    from fedprivacy.crypto import Directory, DirectoryDraft, Identity

    entered = DirectoryDraft.from_json(read_text(draft))
    key = Identity.load(authority, "authority").key
    if out.exists():
        before = Directory.from_json(read_text(out)).epoch
        if epoch <= before:
            raise ConfigurationError(
                f"--epoch {epoch} where {out} has {before}: give at least {before + 1}"
            )
    directory = entered.sign(epoch, key)
    write_text(out, directory.to_json())
    typer.echo(f"{out}: epoch {epoch}, {len(directory.entries)} enrolled")
    typer.echo(f"digest {directory.digest().hex()}")


@command(
    app,
    "show",
    "fedprivacy directory show directory.json",
    "fedprivacy directory show directory.json --authority consortium.pub",
)
def show_directory(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY.json", show_default=False)],
    *,
    authority: Annotated[
        Path | None,
        typer.Option(
            "--authority", metavar="AUTHORITY.pub", help="Who must have signed it; else exit 6."
        ),
    ] = None,
) -> None:
    """List who is enrolled, with which key.

    The signature is checked if the authority is given.
    """
    from fedprivacy.crypto import Authority, Directory

    read = Directory.from_json(read_text(directory))
    signature = "not checked (give --authority)"
    if authority is not None:
        signer = Authority.from_json(read_text(authority))
        read.verify(signer.public_key)
        signature = f"by {signer.name}, as in {authority}"
    typer.echo(f"epoch     {read.epoch}")
    typer.echo(f"digest    {read.digest().hex()}")
    typer.echo(f"signature {signature}")
    for client_id, key in read.entries:
        typer.echo(f"{key.hex()}  {client_id}")


def pin(
    authority: Annotated[
        Path,
        typer.Argument(metavar="AUTHORITY.pub", show_default=False),
    ],
    *,
    store: Annotated[
        Path,
        typer.Option(
            "--store",
            metavar="PATH",
            help="The client's store; it is made if there is none yet.",
            show_default=False,
        ),
    ],
) -> None:
    """Trust this authority's directories and no other's.

    A pin is never replaced: compare the key with the authority's own word for it before, on paper
    or by telephone. The store keeps it, with all that this client signs and answers from now on.
    """
    from fedprivacy.crypto import Authority
    from fedprivacy.ledger import ClientStore

    trusted = Authority.from_json(read_text(authority))
    with ClientStore(store) as opened:
        opened.pin_authority(trusted.public_key)
    typer.echo(f"{store} trusts {trusted.name}: {trusted.public_key.hex()}")
