"""What a round costs under each protocol, side by side."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fedprivacy.errors import ConfigurationError
from fedprivacy.reporting.tables import add_rows, titled, titled_table
from fedprivacy.reporting.text import byte_count, printable
from fedprivacy.simulation.comparison import ComparisonRow

__all__ = ["Comparison"]


class Comparison(msgspec.Struct, frozen=True):
    """A row for each protocol."""

    rows: tuple[ComparisonRow, ...]

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """The comparison that `to_json` gave; raises `ConfigurationError` for other texts."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"no comparison: {error}: make it with --json") from None

    def to_json(self) -> str:
        """All rows as one JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def parts(self) -> Iterator[RenderableType]:
        """The comparison for a person, in order; legible at 80 columns."""
        ran = [row for row in self.rows if row.outcome == "sum"]
        clients = max((row.clients for row in ran), default=0)
        yield titled(f"One round of {clients} clients, none of them lost: what it costs a client")
        table = titled_table(
            ["protocol"], ["exchanges", "sent", "received", "seconds", "server", "member"]
        )
        add_rows(table, [_cost(row) for row in ran])
        yield table
        yield Text()
        yield titled("What it withstands")
        table = titled_table(["protocol", "adversary", "sum", "noise"], ["lost"])
        add_rows(table, [_protection(row) for row in ran])
        yield table
        yield Text()
        yield titled("Who can decrypt")
        yield from (Text(printable(f"{row.protocol}: {row.decrypts}")) for row in ran)
        yield from _remarks(self.rows)


def _cost(row: ComparisonRow) -> tuple[str, ...]:
    return (
        printable(row.protocol),
        str(row.exchanges),
        byte_count(row.bytes_up),
        byte_count(row.bytes_down),
        f"{row.client_seconds:.3f}",
        f"{row.server_seconds:.3f}",
        f"{row.member_seconds:.3f}" if row.member_seconds else "",
    )


def _protection(row: ComparisonRow) -> tuple[str, ...]:
    league = f", {row.corrupt} clients" if row.corrupt else ""
    return (
        printable(row.protocol),
        f"{row.adversary}{league}",
        "exact" if row.exact else "approximate",
        row.noise,
        f"up to {row.may_be_lost}",
    )


def _remarks(rows: tuple[ComparisonRow, ...]) -> Iterator[RenderableType]:
    refused = [(row.protocol, row.outcome) for row in rows if row.outcome != "sum"]
    unable = [(row.protocol, why) for row in rows for why in row.cannot]
    for title, remarks in (
        ("What did not run", refused),
        ("What the job's plan asks for, and was left out", unable),
    ):
        if remarks:
            yield Text()
            yield titled(title)
            yield from (Text(printable(f"{name}: {why}")) for name, why in remarks)
