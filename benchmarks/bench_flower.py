"""A private round in Flower's own simulation, against a plain round of the same model.

Ten nodes train nothing, so that what is timed is the round itself; plain rounds, empty exchanges
and private rounds take turns in one run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs Flower: pip install 'fedprivacy[flower]'")
pytest.importorskip("ray", reason="needs Flower's simulation")

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NODES, LENGTH, REPEATS = 10, 1_000_000, 5
PLAN = """
schema = "fedprivacy/plan/1"
[dataset]
id = "measured"
unit = "client"
[aggregation]
protocol = "secagg"
adversary = "malicious"
min_clients = 7
corrupt = 1
[update]
clip = 1.0
value_bits = {bits}
"""


def simulated(folder: Path, bits: int) -> dict[str, list[float]]:
    """The figures of one run."""
    files, out, home = folder / "nodes", folder / "figures.json", folder / "flower"
    home.mkdir()
    plan = folder / "measured.toml"
    plan.write_text(PLAN.format(bits=bits), encoding="utf-8")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "FLWR_HOME": str(home),
        "FEDPRIVACY_CLIENT": f"{files}/nodes/{{partition-id}}",
        "XDG_STATE_HOME": str(folder / "state"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("fedprivacy", "flower", "keys", files, "--nodes", NODES, "--plan", plan)
    (files / plan.name).write_bytes(plan.read_bytes())
    federation = f"num-supernodes={NODES} client-resources-num-cpus=1"
    config = f'nodes="{files}" out="{out}" repeats={REPEATS} length={LENGTH} supernodes={NODES}'
    app = HERE / "flower_round"
    try:
        log = run("flwr", "run", app, "--stream", "--federation-config", federation, "-c", config)
    finally:
        _end_superlink(home)
    assert out.exists(), log
    figures: dict[str, list[float]] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def _end_superlink(home: Path) -> None:
    """`flwr run` leaves a SuperLink behind, at home in this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"flower-superlink" in words and os.fsencode(home) in words:
            os.kill(int(process.name), 15)


@pytest.mark.parametrize("bits", [8, 16])
def test_private_round(bench, tmp_path, bits):
    figures: dict[str, list[float]] = {}
    bench.benchmark.pedantic(
        lambda: figures.update(simulated(tmp_path, bits)), rounds=1, iterations=1
    )
    (exchanges,) = figures["exchanges"]
    allowed = [
        1.5 * plain + (exchanges - 1) * empty
        for plain, empty in zip(figures["plain"], figures["empty"], strict=True)
    ]
    sizes = {"nodes": NODES, "values": LENGTH, "value_bits": bits, "exchanges": int(exchanges)}
    common = {"sizes": sizes, "peer": f"flwr {version('flwr')}"}
    if bits == 16:
        bench.keep(
            bench.row(
                "flower-round",
                "a private round in Flower's simulation, training nothing",
                against="1.5 plain rounds and four empty exchanges",
                quantity="seconds",
                pairs=list(zip(figures["private"], allowed, strict=True)),
                parts={name: figures[name] for name in ("plain", "empty")},
                **common,
            )
        )
    bench.keep(
        bench.row(
            f"flower-upload-{bits}",
            f"what a node sends in a private round, {bits}-bit values",
            against="the float32 vector that it sends in a plain round",
            quantity="bytes",
            pairs=[(sent, 4.0 * LENGTH) for sent in figures["upload"]],
            **common,
        )
    )
