"""What is on the disk when a call returns, and is not there, or not in part, when it raises."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["append_line", "sync_folder"]


def append_line(handle: int, line: bytes, path: Path) -> None:
    """One more line at the end of an open file, which one writer at a time has.

    Raises `OSError` with the path where the disk does not take all of it: what it took, as a disk
    does that is nearly full, is taken back, so that the next line begins on its own.
    """
    whole = os.fstat(handle).st_size
    try:
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except BaseException as error:
        with suppress(OSError):
            os.ftruncate(handle, whole)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sync_folder(folder: Path) -> None:
    """The names in it as they are now."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
