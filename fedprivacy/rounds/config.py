"""Files that people write, read into strict structs: an unknown key is fatal and named."""

from __future__ import annotations

import difflib
import enum
import tomllib
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fedprivacy.errors import ConfigurationError

__all__ = ["Section", "load_toml", "parse_toml"]

T = TypeVar("T", bound="Section")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a file's sections and of the file itself."""


def load_toml(kind: type[T], path: Path, name: str) -> T:
    """The file at `path` as a `kind`; raises `ConfigurationError` naming the key that is wrong.

    `name` is what messages call the file: `plan`, `policy`, `job`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8") from None
    return parse_toml(kind, text, name)


def parse_toml(kind: type[T], text: str, name: str) -> T:
    """A TOML text as a `kind`; raises `ConfigurationError` naming the key that is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not TOML: {error}") from None
    _refuse_unknown(raw, kind, name)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise ConfigurationError(f"{name}{where.rstrip('`')}: {what}") from None


def _refuse_unknown(raw: Any, kind: Any, path: str) -> None:
    if typing.get_origin(kind) is dict and isinstance(raw, dict):
        for key, value in raw.items():
            _refuse_unknown(value, typing.get_args(kind)[1], f'{path}."{key}"')
        return
    if (choices := _choices_of(kind)) and isinstance(raw, str) and raw not in choices:
        known = ", ".join(choices)
        raise ConfigurationError(f"{path} = {raw} is unknown: choose from {known}")
    for origin in _sections_of(kind):
        if isinstance(raw, dict):
            _check_section(raw, origin, path)
        elif isinstance(raw, list):
            for i, item in enumerate(raw):
                _refuse_unknown(item, origin, f"{path}[{i}]")


def _check_section(raw: dict[str, Any], section: type[Section], path: str) -> None:
    fields = _fields(section)
    for key, value in raw.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"{path}.{key} is not a key{hint}")
        _refuse_unknown(value, fields[key], f"{path}.{key}")


@cache
def _fields(section: type[Section]) -> dict[str, Any]:
    """Types by the name in the file, which a field may spell otherwise."""
    return {f.encode_name: f.type for f in msgspec.structs.fields(section)}


def _choices_of(kind: Any) -> list[str]:
    """The texts that an enum, or a literal, is written as; also where it may be left out."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    if typing.get_origin(kind) is typing.Literal:
        return [str(choice) for choice in typing.get_args(kind)]
    if typing.get_origin(kind) is types.UnionType:
        return [choice for side in typing.get_args(kind) for choice in _choices_of(side)]
    return []


def _sections_of(kind: Any) -> list[type[Section]]:
    """The sections inside a type: itself, an element of a list, one side of a union."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return [kind]
    if typing.get_origin(kind) in (list, tuple, typing.Union, types.UnionType, typing.Annotated):
        return [s for argument in typing.get_args(kind) for s in _sections_of(argument)]
    return []
