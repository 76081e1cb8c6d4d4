"""A value that a flag takes by name."""

from __future__ import annotations

import enum
from typing import TypeVar

from fedprivacy.errors import ConfigurationError

__all__ = ["chosen"]

C = TypeVar("C", bound=enum.Enum)


def chosen(kind: type[C], flag: str, written: str) -> C:
    """The member of that name; raises `ConfigurationError` listing the choices."""
    try:
        return kind(written)
    except ValueError:
        known = ", ".join(str(one.value) for one in kind)
        raise ConfigurationError(f"{flag} {written} is unknown: choose from {known}") from None
