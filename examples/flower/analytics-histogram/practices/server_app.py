"""The server: a histogram in one round, a median in six."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedprivacy import Plan
from fedprivacy.flower import secure_histogram, secure_quantile

PLAN = Path(__file__).parent.parent / "privacy.toml"
DECADES = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask twice; both are charged to one budget."""
    nodes = Path(str(context.run_config["nodes"]))
    plan = Plan.from_toml(PLAN)
    files = {"directory": nodes / "directory.json", "ledger": nodes / "budget.db"}
    counts = secure_histogram(grid, plan, edges=DECADES, **files)
    for low, count in zip(DECADES, counts, strict=False):
        print(f"{low:.0f} to {low + 10:.0f} years: about {max(0.0, count):.0f} patients")
    median = secure_quantile(grid, plan, q=0.5, low=16.0, high=80.0, steps=6, **files)
    print(f"the median lies between {median.low:.0f} and {median.high:.0f} years")
