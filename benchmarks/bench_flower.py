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
from typing import Any

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


def _environment(folder: Path) -> dict[str, str]:
    """Offline, with nodes whose files are in this folder."""
    return os.environ | {
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "FLWR_HOME": str(folder / "flower"),
        "FEDPRIVACY_CLIENT": f"{folder}/nodes/nodes/{{partition-id}}",
        "XDG_STATE_HOME": str(folder / "state"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


def _run(folder: Path, environment: dict[str, str], *words: object) -> str:
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


def simulated(folder: Path, bits: int) -> dict[str, list[float]]:
    """The figures of one run."""
    files, out, home = folder / "nodes", folder / "figures.json", folder / "flower"
    home.mkdir()
    plan = folder / "measured.toml"
    plan.write_text(PLAN.format(bits=bits), encoding="utf-8")
    environment = _environment(folder)

    def run(*words: object) -> str:
        return _run(folder, environment, *words)

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


BESIDE = {
    # ours, and what Flower ships for the same purpose
    "flower-secagg": ("secagg", "secaggplus", "a round of FedAvg under secure aggregation"),
    "flower-dp": ("distributed-dp", "central-dp", "a round of FedAvg under differential privacy"),
}
AGAINST = {
    "secaggplus": "Flower's SecAgg+ (legacy API), as shipped",
    "central-dp": "Flower's central DP, which the server adds in the clear",
}
BESIDE_PLAN = """
schema = "fedprivacy/plan/1"
[dataset]
id = "digits"
unit = "client"
[aggregation]
protocol = "secagg"
adversary = "malicious"
min_clients = 7
corrupt = 1
[update]
clip = {clip}
value_bits = 16
{weights}
"""
BESIDE_NOISE = """
[noise]
trust = "distributed"
noise_multiplier = {noise}
epsilon = 1000.0
delta = {delta}
rounds = {rounds}
"""


def beside(folder: Path, variant: str) -> dict[str, Any]:
    """The figures of one variant of the app in `flower_beside.py`."""
    from flower_beside import CLIP, DELTA, NOISE, ROUNDS

    folder.mkdir()
    noisy = variant == "distributed-dp"
    weights = f'weights = "uniform"\npublic_weight = {NODES}'
    if not noisy:
        weights = 'weights = "summed"\nmax_units_per_client = 200'
    plan = BESIDE_PLAN.format(clip=CLIP, weights=weights)
    if noisy:
        plan += BESIDE_NOISE.format(noise=NOISE, delta=DELTA, rounds=ROUNDS)
    (folder / "beside.toml").write_text(plan, encoding="utf-8")
    environment = _environment(folder)
    keys = ("fedprivacy", "flower", "keys", folder / "nodes", "--nodes", NODES, "--plan")
    _run(folder, environment, *keys, folder / "beside.toml")
    # As a module, which the simulation's workers import too.
    environment["PYTHONPATH"] = str(HERE)
    call = "import sys, flower_beside; flower_beside.main(*sys.argv[1:])"
    _run(folder, environment, sys.executable, "-c", call, variant, folder)
    told: dict[str, Any] = json.loads((folder / f"{variant}.json").read_text("utf-8"))
    return told


@pytest.mark.parametrize("row_id", BESIDE)
def test_beside(bench, tmp_path, row_id):
    """Seconds a round, and what came of it: the accuracy and the epsilon of both sides."""
    ours, peers, what = BESIDE[row_id]
    told: dict[str, dict[str, Any]] = {}

    def both() -> None:
        for variant in (ours, peers):
            told[variant] = beside(tmp_path / variant, variant)

    bench.benchmark.pedantic(both, rounds=1, iterations=1)
    mine, theirs = told[ours], told[peers]
    bench.keep(
        bench.row(
            row_id,
            what,
            against=AGAINST[peers],
            quantity="seconds",
            pairs=list(zip(mine["seconds"], theirs["seconds"], strict=True)),
            sizes={"nodes": NODES, "values": 650, "rounds": 1 + len(mine["seconds"])},
            found={
                f"{side} {name}": round(figures[name], 4)
                for side, figures in (("our", mine), ("their", theirs))
                for name in ("accuracy", "epsilon", "bytes")
            },
            peer=f"flwr {version('flwr')}",
        )
    )


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
