"""One party alone in a process, and how much memory it took: run by `bench_memory.py`.

The process holds this party and nothing of the others; messages reach it over a pipe and leave it
over another, one at a time. `idle` is the resident size (VmRSS) after the imports, before the
party exists; `peak` the highest resident size (VmHWM) when it has ended, both as the kernel tells
them in /proc/self/status, in bytes.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from sums import Case, Parties, float32_vector

from fedprivacy.secagg import SERVER, Effect, Send

__all__ = ["ADVANCE", "CONTRIBUTE", "END", "RECEIVE", "START", "STATUS"]

RECEIVE, ADVANCE, START, CONTRIBUTE, END = b"r", b"a", b"s", b"c", b"e"
STATUS = Path("/proc/self/status")


def resident(field: str) -> int:
    """A size in bytes from /proc/self/status."""
    (line,) = [x for x in STATUS.read_text("utf-8").splitlines() if x.startswith(f"{field}:")]
    return 1024 * int(line.split()[1])


def pass_on(effects: Iterable[Effect], out: Connection) -> None:
    """Send each message as soon as it is there, then an empty frame."""
    for effect in effects:
        if isinstance(effect, Send):
            out.send_bytes(effect.recipient.encode())
            out.send_bytes(effect.message)
    out.send_bytes(b"")


def main() -> None:
    gc.collect()
    idle = resident("VmRSS")
    case, name = msgspec.json.decode(sys.argv[1], type=Case), sys.argv[2]
    inbox = Connection(sys.stdin.fileno(), writable=False)
    out = Connection(sys.stdout.fileno(), readable=False)
    parties = Parties(case)
    is_server = name == SERVER
    party = parties.server() if is_server else parties.client(name)
    while (verb := inbox.recv_bytes()) != END:
        if verb == RECEIVE:
            sender = inbox.recv_bytes().decode()
            pass_on(party.receive(sender, inbox.recv_bytes()), out)
        elif verb == ADVANCE:
            pass_on(party.advance(), out)
        elif verb == START:
            pass_on(party.start(), out)
        elif verb == CONTRIBUTE:
            pass_on(party.contribute(parties.encode(name, float32_vector(case, name))), out)
    out.send_bytes(json.dumps({"idle": idle, "peak": resident("VmHWM")}).encode())


if __name__ == "__main__":
    main()
