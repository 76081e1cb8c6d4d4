"""Some of the clients of `bench_tls.py`: a connection, a thread and a loop for each.

`python tls_clients.py FOLDER PORT CLIENTS LENGTH FIRST STEP`: of all clients every STEP-th, from
the FIRST; it ends with the run.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from bench_tls import PATIENT, parties_of

from fedprivacy.randomness import SystemRng
from fedprivacy.transport.tls.link import Link
from fedprivacy.transport.tls.participant import Participant
from tlsdrive import HOST, Certificates


def main(folder: Path, port: int, clients: int, length: int, first: int, step: int) -> None:
    parties = parties_of(clients, length)
    certificates = Certificates.__new__(Certificates)
    certificates.folder = folder
    threads = []
    for name in parties.names[first::step]:
        link = Link(certificates.of(name), HOST, port, limits=PATIENT, rng=SystemRng())
        participant = Participant(
            link,
            parties.policy,
            parties.identities[name],
            parties.stores[name],
            lambda _, name=name: parties.update(name),
            SystemRng(),
        )
        link.start()
        threads.append(threading.Thread(target=participant.run))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
