"""A party ends with the first error, or with a stream of effects that is left unread."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FatalTo"]


class _Mortal(Protocol):
    def fail(self) -> None: ...


class FatalTo:
    """Whatever is raised inside ends the party."""

    def __init__(self, party: _Mortal) -> None:
        self._party = party

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._party.fail()
