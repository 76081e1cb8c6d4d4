"""Files that a command was given, or is to write."""

from __future__ import annotations

import os
from pathlib import Path

from fedprivacy.errors import ConfigurationError

__all__ = ["make_folder", "read_text", "write_text"]


def read_text(path: Path) -> str:
    """The text of a file; raises `ConfigurationError` naming it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8") from None


def write_text(path: Path, text: str) -> None:
    """Put a text in place as a whole; what was there before stays until then."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def make_folder(path: Path) -> None:
    """A folder for keys, which only its owner may enter if it is made here."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
