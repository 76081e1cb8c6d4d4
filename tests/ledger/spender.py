"""Spends a budget round by round, and is killed at chosen points; run by path.

`spender.py LEDGER`: for each line `POINT SENT` that it is told, a process of its own opens the
ledger and spends; its number is answered, and once it has ended, how. Every step is told in the
file SENT as it is taken, by a write of its own, as a message to a client would be. At the POINTth
moment around the database's work that process kills itself; with point 0 it goes on until others
kill it.
"""

import os
import signal
import sys

from sqlalchemy import Engine, event, pool

from budgets import KEY, PlainSum, pure
from fedprivacy.ledger import BudgetLedger

place = sys.argv[1]


def spend(sent, point):
    outside = os.open(sent, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    moments = 0

    def moment(*_, **__):
        nonlocal moments
        moments += 1
        if moments == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(step, number):
        os.write(outside, f"{step} {number}\n".encode())
        moment()

    with BudgetLedger(place, clock=lambda: 1, accountant=PlainSum()) as ledger:
        for name in ("begin", "before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, name, moment)
        event.listen(pool.Pool, "checkin", moment)  # after the commit
        run = os.urandom(16)
        tell("open", 0)
        for number in range(1, 1000):
            reservation = ledger.reserve(KEY, run, number, 1, [pure(2)])
            tell("asked", number)
            if number % 3 == 0:
                ledger.void(reservation, reason="too few clients")
                tell("void", number)
                continue
            ledger.journal_unmasking(reservation)
            tell("unmasked", number)
            ledger.settle(reservation, [pure(1)])
            tell("settled", number)


for line in sys.stdin:
    point, sent = line.rstrip("\n").split(" ", 1)
    child = os.fork()
    if not child:
        try:
            spend(sent, int(point))
        finally:
            os._exit(1)
    print(child, flush=True)  # noqa: T201
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
