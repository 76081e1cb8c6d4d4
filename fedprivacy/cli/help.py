"""How commands are made, so that each one's help is plain text and ends in examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["command", "group"]

F = TypeVar("F", bound=Callable[..., None])


def group(about: str, *examples: str) -> typer.Typer:
    """A command that only holds others."""
    return typer.Typer(
        cls=_PlainGroup,
        help=about,
        epilog=_epilog(examples),
        rich_markup_mode=None,
        add_completion=False,
    )


def command(parent: typer.Typer, name: str, *examples: str) -> Callable[[F], F]:
    """Make a function the command of that name."""
    return parent.command(name, cls=_PlainCommand, epilog=_epilog(examples))


def _epilog(examples: tuple[str, ...]) -> str:
    # A paragraph that begins with \b keeps its lines.
    head = "Examples:" if len(examples) > 1 else "Example:"
    return "\n".join(["\b", head, *(f"  {line}" for line in examples)])


def _unescaped(text: str) -> str:
    # Typer escapes brackets for rich even where its help is plain text.
    return text.replace("\\[", "[")


class _PlainCommand(TyperCommand):
    def get_help(self, ctx: Any) -> str:
        return _unescaped(super().get_help(ctx))


class _PlainGroup(TyperGroup):
    def get_help(self, ctx: Any) -> str:
        return _unescaped(super().get_help(ctx))
