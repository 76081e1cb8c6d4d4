"""What a lie is, and where lies are entered.

A lie is a function of `honest`. Told honestly, the same script completes with the exact sum; told
as a lie, clients refuse it with exactly its reason, and `won` stays False. `won` says that the
server got what the lie was for: that is what must happen once the check that refuses it is out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fedprivacy.errors import Reason


@dataclass(frozen=True)
class Lie:
    """What the server does stands in the script's docstring."""

    name: str
    reason: Reason | None
    """None where what is told is put right instead of refused."""
    script: Callable

    def tell(self):
        return self.script(honest=False)

    def twin(self):
        return self.script(honest=True)


LIES = {}
"""Told to clients and members."""
LIES_TO_SERVERS = {}
"""Told by clients that share a key, and by members of a committee; masked clients have their own,
in lying_clients."""


def lie(reason, *, to_server=False):
    """Enter a function under its name."""

    def register(script):
        name = script.__name__.replace("_", "-")
        (LIES_TO_SERVERS if to_server else LIES)[name] = Lie(name, reason, script)
        return script

    return register
