"""What a page is made of: parts with a title, and in them text, tables, charts and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fedprivacy.attacks.result import Picture
from fedprivacy.reporting.picture_uris import picture_uri

__all__ = ["Block", "Chart", "Gallery", "Grid", "Part", "Promises", "Text", "Told"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """Rows of what is asked and what is told; `counted` rows end in figures."""

    kind: ClassVar[str] = "told"
    rows: Sequence[tuple[str, str]]
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with heads; columns from `numbers` on are figures."""

    kind: ClassVar[str] = "grid"
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG that this package has made, and what it shows."""

    kind: ClassVar[str] = "chart"
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Promises:
    """Sentences that hold, and such that do not."""

    kind: ClassVar[str] = "promises"
    holds: Sequence[str]
    does_not_hold: Sequence[str]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures side by side."""

    kind: ClassVar[str] = "gallery"
    caption: str
    pictures: Sequence[Picture]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Each one's label and its address."""
        return [(picture.label, picture_uri(picture)) for picture in self.pictures]


Block = Text | Told | Grid | Chart | Promises | Gallery


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the page; without blocks it is left out."""

    name: str
    """Of its anchor."""
    title: str
    blocks: Sequence[Block]
