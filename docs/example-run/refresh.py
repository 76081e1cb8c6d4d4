"""Run the demo, and the comparison of protocols, anew: what they keep goes beside this file, what
they print into the README.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
README = ROOT / "README.md"


def fedprivacy(*words: str) -> str:
    command = [Path(sys.executable).with_name("fedprivacy"), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def put(what: str, printed: str) -> None:
    """Between the two comments that name it, in the place of what was there."""
    begin, end = (
        f"<!-- what {what} prints: `make readme` -->\n",
        f"<!-- end of what {what} prints -->",
    )
    before, _, rest = README.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}```text\n{printed}```\n{end}{after}", "utf-8")


with tempfile.TemporaryDirectory() as folder:
    record = fedprivacy("demo", "--out", folder, "--json")
(HERE / "record.json").write_text(record, "utf-8")
put("the demo", fedprivacy("record", "show", str(HERE)))

compared = fedprivacy("compare", str(ROOT / "examples/hospitals/job.toml"), "--json")
(HERE / "comparison.json").write_text(compared, "utf-8")
put("compare", fedprivacy("compare", str(HERE / "comparison.json")))
