"""What one process of `test_client_store_processes.py` does; run by path, with its globals given.

`store`, `anchor`: paths. `barrier`: passed once the store is open. `marks`: (method, arguments) to
try in order. `results`: a queue for the list of outcomes, "ok" or the reason's name.
"""

from fedprivacy.errors import PeerError
from fedprivacy.ledger import ClientStore


def outcome(opened, method, arguments):
    try:
        getattr(opened, method)(*arguments)
    except PeerError as error:
        return error.reason.name
    return "ok"


with ClientStore(store, anchor=anchor) as opened:  # noqa: F821
    barrier.wait(30)  # noqa: F821
    results.put([outcome(opened, *mark) for mark in marks])  # noqa: F821
