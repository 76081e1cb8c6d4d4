"""Marks rounds as spent, one after the other, and says so after each; run by path and killed."""

import sys

from fedprivacy.ledger import ClientStore

with ClientStore(sys.argv[1]) as store:
    print("open", flush=True)  # noqa: T201
    for number in range(1, 1_000_000):
        store.begin(b"run", number, 1, b"round id", b"broadcast", b"terms")
        store.mark_spent(b"run", number, 1)
        print(number, flush=True)  # noqa: T201
