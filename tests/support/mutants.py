"""Runs each mutant in a copy of the package, in a process of its own; one JSON line each.

    python tests/support/mutants.py [number of workers]

The libraries are loaded once; a child is forked for each mutant and imports the edited copy.
"""

import importlib
import json
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "msgspec", "scipy.special", "sqlalchemy", "sqlalchemy.dialects.sqlite")
HEAVY += ("cryptography.x509",)


def load():
    return tomllib.loads((ROOT / "proofs/mutants/mutants.toml").read_text("utf-8"))


def mutated(edits, root=ROOT):
    """The text of each file with its edits; raises where a snippet is not there exactly once."""
    texts = {}
    for edit in edits:
        text = texts.get(edit["file"]) or (root / edit["file"]).read_text("utf-8")
        if text.count(edit["snippet"]) != 1:
            raise LookupError(
                f"{edit['file']}: {text.count(edit['snippet'])} times, not once: {edit['snippet']}"
            )
        texts[edit["file"]] = text.replace(edit["snippet"], edit["replacement"])
    return texts


def run(mutant, folder):
    """Whether each of the mutant's lies succeeds; this process is of no use afterwards."""
    texts = mutated(mutant["edits"])
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fedprivacy", folder / "fedprivacy", ignore=compiled)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    sys.path.insert(0, str(folder))
    succeeds = _judge(mutant["lies"])
    package = Path(importlib.import_module("fedprivacy").__file__)
    if package.parent != folder / "fedprivacy":
        raise LookupError(f"{package} is not the mutant")
    return {name: succeeds(name) for name in mutant["lies"]}


def _judge(names):
    """Says of each of these lies whether it succeeds; what tells them is loaded as needed."""
    lies = importlib.import_module("lies").LIES
    if all(name in lies for name in names):
        return lambda name: lies[name].tell().won
    liars = importlib.import_module("lying_clients")
    if all(name in liars.CLIENT_LIES for name in names):
        return lambda name: liars.succeeded(liars.CLIENT_LIES[name])
    channel = importlib.import_module("lies_of_channels").CHANNEL_LIES
    return lambda name: channel[name].tell().won


def child(mutant, answer):
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # what lies write is gone with the mutant
        try:
            result = run(mutant, Path(folder).resolve())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this mutant's result
            result = {"error": f"{type(error).__name__}: {error}"}
    os.write(answer, json.dumps(result).encode())


def forked(work, *arguments):
    """The number of a child that does the work and ends."""
    child = os.fork()
    if not child:
        try:
            work(*arguments)
        finally:
            os._exit(0)
    return child


def each(mutants):
    for number, mutant in mutants:
        read, write = os.pipe()
        ran = forked(child, mutant, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            result = json.loads(pipe.read() or b'{"error": "the process died"}')
        os.waitpid(ran, 0)
        # One write a line: the workers share the output.
        os.write(1, json.dumps({"number": number, **result}).encode() + b"\n")


def main(workers):
    sys.dont_write_bytecode = True
    for name in HEAVY:
        importlib.import_module(name)
    mutants = list(enumerate(load()["mutant"]))
    for worker in [forked(each, mutants[i::workers]) for i in range(workers)]:
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
