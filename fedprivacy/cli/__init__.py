"""The command line. It says in one line what went wrong, and loads a room when it is needed."""

from fedprivacy.cli.entry import main

__all__ = ["main"]
