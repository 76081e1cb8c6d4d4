"""The registry against the project: every name in it exists, nothing public is without a row."""

import ast
import importlib
import inspect
import pkgutil
import re

import pytest

import fedprivacy
import mutants
from fedprivacy.claims import Grade, claim_of, claims
from fedprivacy.errors import ConfigurationError, Reason
from fedprivacy.secagg import PROTOCOLS
from lies import LIES

CLIENT_SIDE = [
    "crypto/agreement.py",
    "crypto/aead.py",
    "crypto/directory.py",
    "ledger/client_budget.py",
    "ledger/client_store.py",
    "ledger/storage.py",
    "ledger/suspended.py",
    "rounds/admission.py",
    "rounds/client.py",
    "rounds/member.py",
    "rounds/policy.py",
    "rounds/privacy.py",
    "rounds/round_plan.py",
    "secagg/homomorphic/client.py",
    "secagg/homomorphic/encoding.py",
    "secagg/homomorphic/messages.py",
    "secagg/homomorphic/structure.py",
    "secagg/masking/acknowledgements.py",
    "secagg/masking/client.py",
    "secagg/masking/client_secrets.py",
    "secagg/masking/complete.py",
    "secagg/masking/neighbours.py",
    "secagg/masking/roster.py",
    "secagg/masking/shares.py",
    "secagg/masking/sparse.py",
    "secagg/oneshot/client.py",
    "secagg/oneshot/keys.py",
    "secagg/oneshot/member.py",
    "wire/messages.py",
]
"""Where what a client does with a server's words can raise."""


def resolved(name):
    """The object of a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def public_classes():
    for module in pkgutil.walk_packages(fedprivacy.__path__, "fedprivacy."):
        if module.name.rsplit(".", 1)[1] == "__main__":
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:
            continue  # of an extra that is not installed
        for name in getattr(loaded, "__all__", ()):
            if inspect.isclass(found := getattr(loaded, name)):
                yield found


def raised(source):
    """The reasons that a source raises, or hands to what raises them."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
    }


def headings(text):
    return set(re.findall(r"(?m)^#+ (.*)$", text))


def assumptions(project):
    text = (project / "proofs/SOUNDNESS.md").read_text("utf-8")
    return set(re.findall(r"(?m)^\| (A-[A-Z]+) \|", text))


@pytest.fixture(params=claims().values(), ids=list(claims()))
def claim(request):
    return request.param


def test_every_registered_protocol_has_a_row():
    for protocol in PROTOCOLS.values():
        row = claim_of(protocol.claim)
        kind = type(protocol)
        assert any(resolved(name) is kind for name in row.applies_to), row.id


def test_everything_public_in_the_shape_of_a_protocol_is_registered():
    shape = ("server", "client", "adversaries", "rand_bytes", "claim")
    kinds = {c for c in public_classes() if all(hasattr(c, part) for part in shape)}
    # The protocol class that describes the shape is none itself.
    kinds = {c for c in kinds if not getattr(c, "_is_protocol", False)}
    assert kinds == {type(protocol) for protocol in PROTOCOLS.values()}


def test_the_code_of_a_claim_exists(claim):
    assert claim.applies_to
    for name in claim.applies_to:
        assert callable(resolved(name)), name


def test_the_evidence_of_a_claim_exists(claim, project):
    assert claim.evidence
    for piece in claim.evidence:
        text = (project / piece.file).read_text("utf-8")
        if piece.file.endswith(".py"):
            names = {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
        else:
            names = headings(text)
        assert piece.symbol in names, f"{piece.file} has no {piece.symbol}"
        assert piece.grade is not Grade.NONE
        assert (piece.grade is Grade.PAPER) == piece.file.endswith(".md")


def test_a_claim_rests_on_rows_and_assumptions_that_are_explained(claim, project):
    assert set(claim.rests_on) <= set(claims()) - {claim.id}
    assert set(claim.assumptions) <= assumptions(project)
    assert claim.statement.strip() == claim.statement.strip("\n")


def test_every_assumption_is_made_somewhere(project):
    assert assumptions(project) == {a for row in claims().values() for a in row.assumptions}


def test_the_code_named_in_the_proofs_exists(project):
    """Every dotted or called name in the table of hops and of assumptions."""
    text = (project / "proofs/SOUNDNESS.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    shipped = "\n".join(p.read_text("utf-8") for p in (project / "fedprivacy").rglob("*.py"))
    names = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert len(names) > 20
    for name in names:
        last = name.rsplit(".", 1)[-1]
        defined = re.search(rf"(?m)^\s*(def|class) {last}\b", shipped)
        assert defined or (project / "fedprivacy" / f"{name.replace('.', '/')}.py").exists(), name


def test_a_row_that_is_not_there_is_missed():
    with pytest.raises(ConfigurationError, match="has no row no-such-claim"):
        claim_of("no-such-claim")


# ---------------------------------------------------------------------- refusals


def test_every_reason_that_a_client_raises_is_provoked_by_a_lie(project):
    """Or it stands among the unprovoked, with why."""
    package = project / "fedprivacy"
    sources = {name: (package / name).read_text("utf-8") for name in CLIENT_SIDE}
    raises = set.union(*map(raised, sources.values()))
    provoked = {lie.reason.name for lie in LIES.values()}
    excused = {entry["reason"]: entry["why"] for entry in mutants.load()["unprovoked"]}
    assert raises - {"FAILED"} == provoked | set(excused)
    assert not provoked & set(excused)
    assert all(excused.values())
    assert set(excused) <= {reason.name for reason in Reason}


def test_every_lie_says_what_the_server_does():
    assert all(lie.script.__doc__ for lie in LIES.values())
