"""`fedprivacy report --client` and `fedprivacy budget receipts`: what one client's store tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.files import write_text
from fedprivacy.cli.forms import Form, tell
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.ledger import ClientStore

__all__ = ["RECEIPTS_EXAMPLES", "AnchorOption", "client_report", "receipts"]

RECEIPTS_EXAMPLES = (
    "fedprivacy budget receipts client.db --out receipts.jsonl",
    "fedprivacy budget receipts client.db > receipts.jsonl",
)
AnchorOption = Annotated[
    Path | None,
    typer.Option(
        "--anchor", metavar="FILE", help="The store's anchor, if it is not in its usual place."
    ),
]


def receipts(
    store: Annotated[Path, typer.Argument(metavar="STORE", show_default=False)],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write them there, not to stdout."),
    ] = None,
    anchor: AnchorOption = None,
) -> None:
    """Print the signed heads of servers' ledgers that a client keeps, a line each.

    Nothing in them is secret. An auditor pools those of many clients: `fedprivacy budget verify
    --receipts` finds what they contradict.
    """
    from fedprivacy.ledger.heads import store_heads
    from fedprivacy.reporting.text import counted

    with _opened(store, anchor) as opened:
        kept = opened.heads()
    if out is None:
        sys.stdout.write(store_heads(kept))
    else:
        write_text(out, store_heads(kept))
        typer.echo(f"{out}: {counted(len(kept), 'receipt')}")


def client_report(
    client: Path, *, policy: Path | None, units: int | None, anchor: Path | None, form: Form
) -> None:
    """Print what one client's data may have told, by its own charges."""
    from fedprivacy.ledger import LedgerAccountant
    from fedprivacy.reporting.client_statement import ClientStatement
    from fedprivacy.rounds import ClientPolicy

    asked = None if policy is None else ClientPolicy.from_toml(policy)
    with _opened(client, anchor) as opened:
        history, heads = opened.history(), opened.heads()
    tell(
        ClientStatement.of(
            str(client), history, heads, LedgerAccountant(), policy=asked, units=units
        ),
        form,
    )


def _opened(store: Path, anchor: Path | None) -> ClientStore:
    from fedprivacy.ledger import ClientStore

    # Opening makes a store where there is none; here that would be one that tells nothing.
    if not store.is_file() or not store.stat().st_size:
        raise ConfigurationError(f"{store} is no client's store: name the one that its rounds used")
    return ClientStore(store, anchor=anchor)
