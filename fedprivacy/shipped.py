"""Where the files are that ship with the package: the example's configuration, claims, schemas."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped_path"]

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "_data"


def shipped_path(name: str) -> Path:
    """The file or folder `name`, a path from the project's root such as `proofs/claims.toml`.

    A wheel carries it under `fedprivacy/_data`; a checkout, and so an editable install, has it at
    the root. Which of the two this is hangs on the package alone, never on the working directory.
    Raises `FileNotFoundError`: the installation is damaged, or the name is none that ships.
    """
    path = (_IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent) / name
    if not path.exists():
        raise FileNotFoundError(f"{name} does not ship with this installation of fedprivacy")
    return path
