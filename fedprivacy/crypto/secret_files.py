"""Files that only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedprivacy.errors import ConfigurationError

__all__ = ["OWNER_ONLY", "check_private", "read_secret", "write_secret"]

OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR


def write_secret(path: str | os.PathLike[str], secret: bytes) -> None:
    """Writes a key to a new file of mode 0600.

    Raises `ConfigurationError` when the path exists: a lost key is not to be had back.
    """
    # O_EXCL with the mode at creation: at no moment can another user open the file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(path, flags, OWNER_ONLY), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigurationError(
            f"{os.fspath(path)} exists: move it away, or choose another path"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{os.fspath(path)}: {error.strerror}") from None


def check_private(path: str | os.PathLike[str]) -> None:
    """Raise `ConfigurationError` where the file of a key cannot be read, or others may read it."""
    read_secret(path, limit=0)


def read_secret(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """The first `limit` bytes of a file that only its owner can read.

    Raises `ConfigurationError` when it cannot be read, or lets others read it.
    """
    name = Path(path)
    try:
        # Mode and content of one open file: the path may change its meaning in between.
        with name.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            secret = file.read(limit)
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None
    if mode & ~OWNER_ONLY:
        raise ConfigurationError(f"{name} has mode {mode:04o}: run chmod 600 on it")
    return secret
