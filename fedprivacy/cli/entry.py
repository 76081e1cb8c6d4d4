"""From the words of a command line to an exit code, and one line on stderr where it is not 0."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import typer
from typer.main import get_command

from fedprivacy.cli.app import app
from fedprivacy.errors import ConfigurationError, FedPrivacyError
from fedprivacy.reporting.text import printable

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as a shell counts
_NO_READER = 141  # 128 + SIGPIPE
_USAGE = 2

# The base of typer's errors about usage. Typer shows it under no name of its own, and keeps it in
# another library or within itself, by release.
_UsageError: Any = typer.BadParameter.__mro__[-4]


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run one command, by default the process's own, and exit.

    An error of the family exits with the family's code, a wrong usage with 2. Anything else is a
    bug: it leaves through Python's own hook, with 1.
    """
    sys.excepthook = _tell_bug
    # A name that the terminal has no letters for must not end a command.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream
    sys.exit(_run(list(sys.argv[1:] if words is None else words)))


def _run(words: list[str]) -> int:
    command = get_command(app)
    debug = False
    try:
        with command.make_context("fedprivacy", words) as context:
            debug = context.params["_debug"]
            if debug:
                sys.excepthook = sys.__excepthook__
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        # Nobody reads: without this Python would try once more to flush, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except (KeyboardInterrupt, FedPrivacyError, OSError, _UsageError) as error:
        if debug:
            traceback.print_exc()
        return _tell(*_ending(error))
    return 0


def _ending(error: BaseException) -> tuple[str, int]:
    """What is said of an error that was to be expected, and the exit code."""
    match error:
        case FedPrivacyError():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            return ": ".join(["interrupted", *error.args]), _INTERRUPTED
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return where + (error.strerror or str(error)), ConfigurationError.exit_code
        case _:
            return _usage(error), _USAGE


def _usage(error: Any) -> str:
    """What typer says of a wrong usage, and where the right one is told."""
    said = str(error.format_message()).strip()
    # By release, a nearest spelling is proposed by one layer, by two, or by none.
    sentences = dict.fromkeys(re.split(r"(?<=[.?]) ", said[:1].lower() + said[1:]))
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "fedprivacy"
    return f"{' '.join(sentences).removesuffix('.')} (see `{command} --help`)"


def _tell(message: str, code: int) -> int:
    sys.stderr.write(f"fedprivacy: {printable(message)}\n")
    return code


def _tell_bug(kind: type[BaseException], _: BaseException, trace: TracebackType | None) -> None:
    """A bug in one line. Its text could quote anything, a secret as well: it is not shown."""
    frames = traceback.extract_tb(trace)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    _tell(f"a bug, {kind.__name__}{where}: run `fedprivacy --debug ...` for the traceback", 1)
