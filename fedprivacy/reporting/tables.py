"""The one look of every table: a title, a rule under the heads, no colour that carries meaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ["MOST_ROWS", "add_rows", "figures", "titled", "titled_table"]

MOST_ROWS = 20
"""Rounds in one table; the record has them all."""


def titled(title: str) -> Text:
    """A title on a line of its own."""
    return Text(title, style="bold")


def figures(rows: Iterable[tuple[str, str]]) -> Table:
    """What is told and its figure, a line each, without heads."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def titled_table(words: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """An empty table: columns of words, to the left, then columns of numbers, to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in words:
        table.add_column(Text(head), overflow="fold")
    for head in numbers:
        table.add_column(Text(head), justify="right", overflow="fold")
    return table


def add_rows(table: Table, rows: Sequence[Sequence[str]]) -> None:
    """Add the last `MOST_ROWS` rows; what they say is shown as it is, never read as markup."""
    for row in rows[-MOST_ROWS:]:
        table.add_row(*(Text(cell) for cell in row))
