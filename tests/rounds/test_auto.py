"""`auto` is settled for a cohort before anything is frozen; no client takes a plan that is open."""

import msgspec
import pytest

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.rounds.auto import settle
from fedprivacy.rounds.quorum import quorum_fault
from fedprivacy.secagg import Adversary
from rounddrive import Consortium, make_plan

CURIOUS, SEMI, MALICIOUS = Adversary


@pytest.mark.parametrize(
    ("clients", "asked", "protocol", "adversary"),
    [
        (1000, CURIOUS, "secagg+", CURIOUS),
        (1000, SEMI, "secagg+", SEMI),
        (1000, MALICIOUS, "secagg", MALICIOUS),
        (5, CURIOUS, "secagg", CURIOUS),
        (5, SEMI, "secagg", MALICIOUS),
        (5, MALICIOUS, "secagg", MALICIOUS),
    ],
)
def test_what_is_taken(clients, asked, protocol, adversary):
    plan = make_plan(asked, "auto", dropout=0.2)
    settled = settle(plan, clients)
    rules = settled.plan.aggregation
    assert (rules.protocol, rules.adversary) == (protocol, adversary)
    quorum = settled.plan.quorum(clients)
    assert quorum_fault(rules, clients, quorum.threshold, quorum.degree) is None
    assert quorum.degree < clients - 1
    assert settled.why.startswith(f"protocol = auto takes {protocol} for {clients:,} clients: ")
    assert ("which is more" in settled.why) == (adversary is not asked)
    # Nothing else is touched.
    kept = msgspec.structs.replace(rules, protocol="auto", adversary=asked)
    assert msgspec.structs.replace(settled.plan, aggregation=kept) == plan


def test_a_plan_that_names_its_protocol_stays_as_it_is():
    plan = make_plan()
    settled = settle(plan, 5)
    assert (settled.plan, settled.why) == (plan, "")


@pytest.mark.parametrize("rules", [{"degree": 4}, {"threshold": 3}])
def test_an_open_protocol_takes_no_degree_and_no_threshold(rules):
    with pytest.raises(ConfigurationError, match="has no use with protocol = auto: leave it out"):
        make_plan(CURIOUS, "auto", **rules)


def test_an_open_plan_is_never_frozen():
    with (
        Consortium(5, plan=make_plan(MALICIOUS, "auto")) as consortium,
        pytest.raises(ConfigurationError, match="settle it for a cohort first"),
    ):
        consortium.round_plan()


def test_no_client_takes_an_open_plan():
    with Consortium(5) as consortium:
        frozen = consortium.round_plan()
        rules = msgspec.structs.replace(frozen.plan.aggregation, protocol="auto")
        plan = msgspec.structs.replace(frozen.plan, aggregation=rules)
        with pytest.raises(PeerError) as refused:
            msgspec.structs.replace(frozen, plan=plan).check()
        assert refused.value.reason is Reason.CODEPOINT
