"""Run the demo anew: its record goes beside this file, what it prints into the README."""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BEGIN = "<!-- what the demo prints: `make readme` -->\n"
END = "<!-- end of what the demo prints -->\n"


def fedprivacy(*words: str) -> str:
    command = [Path(sys.executable).with_name("fedprivacy"), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


with tempfile.TemporaryDirectory() as folder:
    record = fedprivacy("demo", "--out", folder, "--json")
(HERE / "record.json").write_text(record, "utf-8")
printed = fedprivacy("record", "show", str(HERE))
before, _, rest = README.read_text("utf-8").partition(BEGIN)
_, _, after = rest.partition(END)
README.write_text(f"{before}{BEGIN}```text\n{printed}```\n{END}{after}", "utf-8")
