"""The one door to dp_accounting, whose curves and conversions are not written anew."""

from __future__ import annotations

from typing import Any

__all__ = ["library"]


def library() -> Any:
    """dp_accounting, imported when it is first needed: with what it needs, that takes a second."""
    import dp_accounting

    return dp_accounting
