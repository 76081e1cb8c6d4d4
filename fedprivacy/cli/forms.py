"""The forms in which a statement is written."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fedprivacy.reporting.statements import Section

__all__ = ["Form", "FormOption", "tell"]


class Form(enum.Enum):
    """How a statement is written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


FormOption = Annotated[
    Form,
    typer.Option("--format", metavar="FORMAT", help="text, json or html.", show_choices=False),
]


class _Statement(Protocol):
    def parts(self) -> Iterable[RenderableType]: ...
    def sections(self) -> Sequence[Section]: ...
    def to_json(self) -> str: ...


def tell(statement: _Statement, form: Form) -> None:
    """Write it to stdout."""
    match form:
        case Form.TEXT:
            from fedprivacy.cli.consoles import show

            show(statement.parts())
        case Form.JSON:
            sys.stdout.write(statement.to_json())
        case Form.HTML:
            from fedprivacy.reporting.statement_page import statement_page

            sys.stdout.write(statement_page(statement.sections()))
