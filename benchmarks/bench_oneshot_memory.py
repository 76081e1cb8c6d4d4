"""What memory one-shot aggregation of 10^8 values takes at either end, as they stream through.

Each party is alone in a process (`streamed.py`): chunks in, chunks out. A client's ciphertext is
written to a file as it is made; the server reads two of them, and keeps its sum, of 350 MB, in a
file as well, since it is larger than what it holds in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from memory import STATUS
from oneshot_round import CLIENTS, MEMBERS, THRESHOLD
from streamed import BITS

SCRIPT = Path(__file__).parent / "streamed.py"
LENGTH, SENDING = 100_000_000, 2

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="reads /proc/self/status")


def beyond_idle(role, number, folder):
    """What a party takes at most beyond its idle process, in bytes."""
    command = [sys.executable, SCRIPT, role, str(number), str(LENGTH), folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    sizes = json.loads(done.stdout)
    return sizes["peak"] - sizes["idle"]


def test_streamed(bench, tmp_path):
    client, server = [], []

    def once():
        client.append(max(beyond_idle("client", n, tmp_path) for n in range(SENDING)))
        server.append(beyond_idle("server", SENDING, tmp_path))

    bench.benchmark.pedantic(once, rounds=1, iterations=1)
    for name, what, sizes in (
        ("client", "a client's memory: its vector and its ciphertext stream through", client),
        ("server", "the server's memory: it receives, adds, opens and reads the sum", server),
    ):
        row = bench.row(
            f"oneshot-memory-{name}",
            f"{what}; highest resident size beyond the idle process",
            against="250 MB",
            quantity="bytes",
            pairs=[(size, 250_000_000) for size in sizes],
            sizes={
                "length": LENGTH,
                "clients": CLIENTS,
                "sending": SENDING,
                "committee": MEMBERS,
                "committee_threshold": THRESHOLD,
                "value_bits": BITS,
            },
        )
        bench.keep(row)
