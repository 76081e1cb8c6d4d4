"""One client of a round in a process of its own, killed where it is told to; run by path.

Arguments: the store, its anchor, protocol and adversary, the point. On standard input a line for
each thing that it is to do, `receive <hex>`, `contribute <numbers>`, `suspend now` (which says the
sealed state) or `resume <hex>`; on standard output a line for each message that leaves, and `done`
after each thing. A point is `before`, `inside` or `after`
a mark of the store (inside: committed, and the anchor not yet moved; one that is recorded together
with another is committed after both), or `before` or `after` the
n-th message that leaves.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from fedprivacy.errors import FedPrivacyError
from fedprivacy.ledger import ClientStore, storage
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import RoundClient
from fedprivacy.secagg import SERVER, Adversary, Send
from fedprivacy.vector import Update
from rounddrive import make_policy
from sumdrive import enrolled

STORE, ANCHOR, PROTOCOL, ADVERSARY, POINT = sys.argv[1:]
MARKS = ("begin", "mark_spent", "mark_answered", "suspend", "resume")


def reach(point):
    if point == POINT:
        os.kill(os.getpid(), signal.SIGKILL)


class Doomed(ClientStore):
    """A real store around whose marks a process may die."""

    mark = ""

    def _marked(self, name, *args, **named):
        reach(f"before {name}")
        self.mark = name
        found = getattr(ClientStore, name)(self, *args, **named)
        reach(f"after {name}")
        return found


for each in MARKS:
    setattr(
        Doomed, each, lambda self, *args, name=each, **named: self._marked(name, *args, **named)
    )


class Deeds:
    """What this client is told to do."""

    def __init__(self, known):
        self.known = known
        self.client = RoundClient(*known, rng=SystemRng())

    def carry_out(self, what, given):
        if what == "receive":
            yield from self.client.receive(SERVER, bytes.fromhex(given))
        elif what == "suspend":
            yield Send(SERVER, self.client.suspend())
        elif what == "resume":
            sealed = bytes.fromhex(given)
            self.client = RoundClient.resume(sealed, *self.known, rng=SystemRng())
        else:
            values = np.array([float(v) for v in given.split(",")])
            yield from self.client.contribute(Update(values))


def main():
    with Doomed(STORE, anchor=Path(ANCHOR)) as store:
        settle = storage.AnchoredFile._settle_anchor

        def settle_later(file, connection):
            if store.mark:
                reach(f"inside {store.mark}")
                store.mark = ""
            settle(file, connection)

        storage.AnchoredFile._settle_anchor = settle_later
        identity = enrolled(5)[0]["c001"]
        policy = make_policy(Adversary(ADVERSARY), PROTOCOL)
        known = policy, identity, store
        deeds = Deeds(known)
        sent = 0
        for line in sys.stdin:
            try:
                for effect in deeds.carry_out(*line.split()):
                    if isinstance(effect, Send):
                        sent += 1
                        reach(f"before {sent}")
                        print(effect.message.hex(), flush=True)  # noqa: T201
                        reach(f"after {sent}")
            except FedPrivacyError as error:
                print(f"failed {error}", flush=True)  # noqa: T201
            print("done", flush=True)  # noqa: T201


main()
