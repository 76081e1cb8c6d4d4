"""The command line of one party, which tells a test afterwards what it must never have told.

`python recorded_party.py FILE WORDS...` runs `fedprivacy WORDS...`; at its end FILE has everything
that the process drew, derived and trained, in hex by name. It is the test's, not the program's.
"""

import json
import sys
from pathlib import Path

import fedprivacy.randomness as randomness
from secretscan import RecordingRng, overhear, overhear_boxes, overhear_vectors


class Patch:
    """Sets what it is told, for as long as the process lives."""

    @staticmethod
    def setattr(owner, name, value):
        setattr(owner, name, value)


def main(path, words):
    rng = RecordingRng()
    randomness.SystemRng = lambda: rng
    derived = overhear(Patch)
    overhear_boxes(Patch, derived)
    vectors = overhear_vectors(Patch)
    from fedprivacy.cli import main as run

    try:
        sys.argv = ["fedprivacy", *words]
        run()
    finally:
        told = {
            "drawn": {p: [piece.hex() for piece in pieces] for p, pieces in rng.given.items()},
            "derived": {name: secret.hex() for name, secret in derived.items()},
            "vectors": [[v.dtype.str, v.shape, v.tobytes().hex()] for v in vectors],
        }
        path.write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
