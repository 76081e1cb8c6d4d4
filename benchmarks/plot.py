"""How a round's seconds grow with the cohort, as a picture: `python benchmarks/plot.py OUT.svg`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from rows import Row, read_row

EXAMPLE = "example:\n  python benchmarks/plot.py benchmarks/results/scale.svg\n"
HERE = Path(__file__).resolve().parent


def draw(rows: Sequence[Row], out: Path) -> None:
    """One line a phase and one for all together, both axes logarithmic."""
    rows = sorted(rows, key=lambda row: row.sizes["clients"])
    mpl.rcParams["svg.hashsalt"] = "fedprivacy"  # the same rows give the same file
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    cohorts = [row.sizes["clients"] for row in rows]
    for phase in rows[0].parts:
        seconds = [row.parts[phase].median for row in rows]
        axes.loglog(cohorts, seconds, marker="o", label=phase)
    together = [row.ours.median for row in rows]
    axes.loglog(cohorts, together, marker="o", color="black", label="together")
    axes.set(xlabel="clients", ylabel="seconds, all parties")
    axes.legend()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    asked = parser.parse_args(words)
    rows = [read_row(path) for path in asked.results.glob("scale-*.json")]
    if not rows:
        sys.stderr.write(f"no scale-*.json in {asked.results}: run `make bench`\n")
        return 1
    draw(rows, asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
