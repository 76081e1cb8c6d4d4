"""The guarantee in sentences: what holds, and what a reader might think does and doesn't."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedprivacy.reporting.tables import titled
from fedprivacy.reporting.text import printable
from fedprivacy.rounds.record import GuaranteeRecord

__all__ = ["promises"]


def promises(guarantee: GuaranteeRecord, remark: str = "") -> Iterator[RenderableType]:
    """A sentence a line: `+` for what holds, `-` for what does not; `remark` stands before them."""
    yield titled("What holds (+) and what does not (-)")
    if remark:
        yield Text(remark)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for sign, sentences in (("+", guarantee.holds), ("-", guarantee.does_not_hold)):
        for sentence in sentences:
            table.add_row(sign, Text(printable(sentence)))
    yield table
