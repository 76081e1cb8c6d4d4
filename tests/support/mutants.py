"""Runs each mutant as a package of its own, in a process of its own; one JSON line each.

    python tests/support/mutants.py [number of workers]

The libraries are loaded once, and the package is compiled once; a child is forked for each mutant
and imports the edited package.
"""

import compileall
import importlib
import json
import os
import py_compile
import shutil
import sys
import tempfile
import tomllib
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "msgspec", "scipy.special", "sqlalchemy", "sqlalchemy.dialects.sqlite")
HEAVY += ("cryptography.x509", "cryptography.hazmat.primitives.ciphers.aead", "dp_accounting")
HEAVY += ("cryptography.hazmat.primitives.kdf.hkdf", "concurrent.futures.process", "tenseal")


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


def compiled(folder):
    """A copy of the package with its bytecode, which says that it needs no look at its source."""
    shutil.copytree(ROOT / "fedprivacy", folder, ignore=shutil.ignore_patterns("__pycache__"))
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(folder, quiet=1, invalidation_mode=unchecked):
        raise LookupError(f"{folder} does not compile")


def linked(original, folder, edited):
    """The folder as links to the original, but for these files and all folders that lead there."""
    folder.mkdir()
    for path in original.iterdir():
        here = folder / path.name
        if any(here in name.parents for name in edited):
            linked(path, here, edited)
        elif here not in edited:
            here.symlink_to(path)


def run(mutant, folder, original):
    """Whether each of the mutant's lies succeeds; this process is of no use afterwards."""
    texts = {folder / name: text for name, text in mutated(mutant["edits"]).items()}
    bytecode = {Path(cache_from_source(name)) for name in texts}
    linked(original, folder / "fedprivacy", {*texts, *bytecode})
    for name, text in texts.items():
        name.write_text(text, "utf-8")
    sys.path.insert(0, str(folder))
    succeeds = _judge(mutant["lies"])
    package = Path(importlib.import_module("fedprivacy").__file__)
    if package.parent != folder / "fedprivacy":
        raise LookupError(f"{package} is not the mutant")
    return {name: succeeds(name) for name in mutant["lies"]}


def _judge(names):
    """Says of each of these lies whether it succeeds; what tells them is loaded as needed."""
    told = importlib.import_module("lies")
    lies = told.LIES | told.LIES_TO_SERVERS
    if all(name in lies for name in names):
        return lambda name: lies[name].tell().won
    liars = importlib.import_module("lying_clients")
    if all(name in liars.CLIENT_LIES for name in names):
        return lambda name: liars.succeeded(liars.CLIENT_LIES[name])
    channel = importlib.import_module("lies_of_channels").CHANNEL_LIES
    return lambda name: channel[name].tell().won


def child(mutant, original, answer):
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # what lies write is gone with the mutant
        try:
            result = run(mutant, Path(folder).resolve(), original)
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


def each(mutants, original):
    for number, mutant in mutants:
        read, write = os.pipe()
        ran = forked(child, mutant, original, write)
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
    with tempfile.TemporaryDirectory() as place:
        original = Path(place).resolve() / "fedprivacy"
        compiled(original)
        for worker in [forked(each, mutants[i::workers], original) for i in range(workers)]:
            os.waitpid(worker, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
