"""The hospitals, deployed on this machine, of which one is lost in the middle of a round.

`make flower-demo`, or `python examples/flower/deploy.py [FOLDER]`: about two minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployment import BIN, Deployment

__all__ = ["APP", "NODES", "PHASES", "PLAN", "VICTIM", "Deployed", "losing_one", "run_config"]

APP = Path(__file__).parent / "sklearn-hospitals"
PLAN = "deployment.toml"
NODES, VICTIM = 5, 2
PHASES = ("keys", "shares", "input", "consistency", "unmasking")
"""A node says first who it is, and then sends one reply in each of these."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A run that has ended: the folder of its record, and its log."""

    record: Path
    log: str
    exit_code: int

    @property
    def record_text(self) -> str:
        return (self.record / "record.json").read_text(encoding="utf-8")


def losing_one(
    folder: Path,
    phase: str,
    *,
    rounds: int,
    phase_timeout: float,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Deployed:
    """Run the app privately; in the first round one SuperNode is killed, so that the first thing
    it does not send any more is what the phase asks for. `seconds` is for all of the run.
    """
    started = time.monotonic()

    def note(what: str) -> None:
        tell(f"{time.monotonic() - started:5.0f} s  {what}")

    note(f"starting a SuperLink with TLS and {NODES} SuperNodes with keys of their own")
    with Deployment(folder, NODES, APP / PLAN) as deployment:
        note("all are connected, without --trusted-entities: each runs whatever app is submitted")
        record = folder.absolute() / "record"
        run = deployment.run(APP, run_config(deployment, record, rounds, phase_timeout))
        victim, sent = deployment.supernodes[VICTIM], 1 + PHASES.index(phase)
        run.wait_for(lambda: victim.sent >= sent, f"reply {sent} of {victim.name}", seconds)
        victim.kill()
        note(f"{victim.name} is killed, before it sends its {phase}")
        run.process.wait(seconds)
        note("the run has ended")
    note("all processes have ended")
    return Deployed(record, run.text, run.process.returncode)


def run_config(deployment: Deployment, record: Path, rounds: int, phase_timeout: float) -> str:
    """What the app is told; its record goes to a folder that is made."""
    config = {
        "rounds": rounds,
        "supernodes": deployment.nodes,
        "plan": f'"{PLAN}"',
        "nodes": f'"{deployment.keys.absolute()}"',
        "record": f'"{record}"',
        "phase-timeout": phase_timeout,
        "training-timeout": phase_timeout,
        "trusted-apps": "false" if deployment.trusted_entities is None else "true",
    }
    return " ".join(f"{name}={value}" for name, value in config.items())


def main(folder: Path) -> None:
    """Print what happens, and the record of the run."""
    done = losing_one(folder, "input", rounds=2, phase_timeout=30.0, seconds=600.0, tell=_say)
    for line in re.findall(r"(?:the sum of|node-\d+: was|accuracy on).*", done.log):
        _say(f"         {line}")
    if done.exit_code:
        raise SystemExit(done.log)
    subprocess.run([BIN / "fedprivacy", "record", "show", done.record], check=True)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
