"""A round of 200 clients and 10^5 values over TLS on loopback, beside the same in one process.

Over TLS the clients live in processes of their own, ten in each, each with a thread, a loop and a
connection; the server is this process. In one process everything is computed on one thread.
Seconds are those on the wall, from the first invitation to the sum; memory is what the server's
process takes at its peak beyond what it held before its first round, beside all that its clients
upload in it: a server that kept a vector of each would take as much. In a later round it would use
again what an earlier one, or the clients of the round in one process, had freed, and show less.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedprivacy.secagg import Adversary
from fedprivacy.transport.tls.hub import HubLimits
from fedprivacy.transport.tls.link import LinkLimits
from rounddrive import make_plan
from tlsdrive import Network, Waits, house

CLIENTS, LENGTH, ROUNDS, PROCESSES = 200, 100_000, 3, 20
PATIENT = LinkLimits(handshake=120.0, patience=300.0)
LIMITS = HubLimits(handshake=120.0, heartbeat=30.0, connects=1000.0)
WAITS = Waits(300.0, 300.0, 60.0)
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="reads /proc/self/status")


def parties_of(clients, length):
    """A ring, against curious parties, whose sums can be told exactly; stores keep nothing."""
    plan = make_plan(
        adversary=Adversary.HONEST_BUT_CURIOUS,
        protocol="secagg+",
        corrupt=clients // 20,
        dropout=0.1,
        min_clients=clients // 2,
        value_bits=10,
    )
    return house(clients, plan=plan, length=length)


def kilobytes(name):
    (line,) = [text for text in STATUS.read_text("utf-8").splitlines() if text.startswith(name)]
    return int(line.split()[1])


def cpu_seconds(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def others(network):
    """All clients, in processes of their own."""
    support = Path(__file__).parents[1] / "tests" / "support"
    paths = [str(Path(__file__).parent), str(support), *sys.path]
    words = [network.certificates.folder, network.port, CLIENTS, LENGTH]
    program = [sys.executable, str(Path(__file__).with_name("tls_clients.py")), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*program, str(first), str(PROCESSES)], env=environment)
        for first in range(PROCESSES)
    ]
    try:
        yield
    finally:
        network.hub.stop(None)
        for process in processes:
            process.wait(120.0)


def test_a_round_over_tls(bench, tmp_path):
    parties, number = parties_of(CLIENTS, LENGTH), 0
    measured = {"server cpu": [], "memory": [], "uploads": []}
    with (
        Network(parties, tmp_path, limits=LIMITS, waits=WAITS) as network,
        others(network),
    ):
        network.wait_for(set(parties.names), 300.0)

        def over_tls():
            nonlocal number
            number += 1
            drive = network.attempt(number)
            with contextlib.suppress(OSError):
                CLEAR.write_text("5", "ascii")
            before, cpu, started = (
                kilobytes("VmRSS"),
                cpu_seconds(resource.RUSAGE_SELF),
                time.perf_counter(),
            )
            outcome = drive.run(parties.names)
            seconds = time.perf_counter() - started
            measured["server cpu"].append(cpu_seconds(resource.RUSAGE_SELF) - cpu)
            measured["memory"].append(1024.0 * (kilobytes("VmHWM") - before))
            (inputs,) = [meter for meter in outcome.phases if meter.phase == "input"]
            measured["uploads"].append(float(sum(inputs.up.values())))
            parties.assert_exact(outcome)
            return seconds

        def in_process():
            drive = parties.drive(1000 + number)
            started = time.perf_counter()
            outcome = drive.run()
            seconds = time.perf_counter() - started
            parties.assert_exact(outcome)
            return seconds

        pairs = bench.in_turn(over_tls, in_process, rounds=ROUNDS)
    sizes = {"clients": CLIENTS, "values": LENGTH, "protocol": "secagg+"}
    row = bench.row(
        "tls-round",
        "a round over TLS on loopback, ten clients a process",
        quantity="seconds",
        against="the same round in one process, on one thread",
        pairs=pairs,
        parts={"server's cpu": measured["server cpu"][-ROUNDS:]},
        sizes=sizes,
    )
    bench.keep(row)
    bench.keep(
        bench.row(
            "tls-server-memory",
            "the server's peak memory in its first such round, beyond what it held before",
            quantity="bytes",
            against="all that its clients upload in it",
            pairs=list(zip(measured["memory"], measured["uploads"], strict=True))[:1],
            sizes=sizes,
        )
    )
