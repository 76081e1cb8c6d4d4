"""Each refusal has a mutant without it, in which the lie that it refuses succeeds.

`proofs/mutants/mutants.toml` has them; `tests/support/mutants.py` runs each in a copy of the
package and a process of its own. That the same lies fail on the package as it is, test_lies.py and
test_channel_lies.py show.
"""

import json
import subprocess
import sys

import pytest

import mutants
from lies import LIES, LIES_TO_SERVERS
from lies_of_channels import CHANNEL_LIES
from lying_clients import CLIENT_LIES, succeeded

LOADED = mutants.load()
MUTANTS = LOADED["mutant"]


@pytest.fixture(scope="module")
def results(project):
    script = project / "tests/support/mutants.py"
    ran = subprocess.run(
        [sys.executable, str(script), "2"],
        capture_output=True,
        check=True,
        text=True,
        cwd=project,
        timeout=300,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line.pop("number"): line for line in lines}


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=[m["removes"] for m in MUTANTS])
def test_without_the_check_the_lie_succeeds(results, number):
    assert results[number] == dict.fromkeys(MUTANTS[number]["lies"], True)


@pytest.mark.parametrize("lie", CLIENT_LIES.values(), ids=list(CLIENT_LIES))
def test_with_every_check_no_client_lie_succeeds(lie):
    assert not succeeded(lie)


def test_every_lie_has_a_mutant_or_a_reason_why_not():
    covered = [name for mutant in MUTANTS for name in mutant["lies"]]
    exempt = [entry["lie"] for entry in LOADED["exempt"]]
    told = [*LIES, *LIES_TO_SERVERS, *CLIENT_LIES, *CHANNEL_LIES]
    assert sorted(covered + exempt) == sorted(told)
    assert all(entry["why"] for entry in LOADED["exempt"])


def test_every_snippet_stands_in_its_file_once(project):
    assert set(LOADED) == {"schema", "mutant", "exempt", "unprovoked"}
    for mutant in MUTANTS:
        texts = mutants.mutated(mutant["edits"], project)
        for name, text in texts.items():
            assert text != (project / name).read_text("utf-8")
            compile(text, name, "exec")
    thrice = {"file": "fedprivacy/secagg/contract.py", "snippet": "class Send", "replacement": ""}
    with pytest.raises(LookupError, match="3 times, not once"):
        mutants.mutated([thrice], project)
