"""On several cores a file stays on one, and the longest begin first: the cores end together."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

LONGEST = (
    "tests/test_readme.py",
    "tests/flower/test_deployment.py",
    "tests/adversarial/test_mutants.py",
    "tests/attacks/test_scenarios.py",
    "tests/simulation/test_runs.py",
    "tests/transport/test_one_bad_client.py",
    "tests/cli/test_runs.py",
    "tests/cli/test_clients.py",
    "tests/accounting/test_bounds.py",
    "tests/transport/test_tls_faults.py",
    "tests/secagg/test_hostile_clients.py",
    "tests/secagg/test_dropouts.py",
    "tests/ledger/test_budget_processes.py",
    "tests/rounds/test_noise.py",
    "tests/interop/test_round_vectors.py",
    "tests/secagg/test_any_order.py",
    "tests/simulation/test_no_secret_is_left.py",
    "tests/rounds/test_hostile_server.py",
    "tests/simulation/test_phones.py",
    "tests/flower/test_accuracy.py",
    "tests/attacks/test_suites.py",
)
"""Files that take longer than fifteen seconds, about in order; only their beginning hangs on it."""

TOGETHER = {"tests/cli/test_clients.py": "tests/cli/test_runs.py"}
"""A file goes where another is, with which it shares a fixture that takes long to make."""


def rank(nodeid):
    """The place of a test's file among the longest, and after them all."""
    file = nodeid.partition("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


class LongestFirst(LoadFileScheduling):
    """Files in the order in which they were collected, whatever the number of their tests."""

    def __init__(self, config, log=None):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return TOGETHER.get(file, file)
