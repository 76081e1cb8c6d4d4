"""What one client will send is what it sends, to the byte."""

import pytest

from fedprivacy.rounds.traffic import upload_bytes
from fedprivacy.secagg import Adversary
from rounddrive import Consortium, make_plan


@pytest.mark.parametrize(
    ("protocol", "adversary"),
    [
        ("secagg", Adversary.MALICIOUS),
        ("secagg", Adversary.HONEST_BUT_CURIOUS),
        ("plain", Adversary.HONEST_BUT_CURIOUS),
        ("secagg+", Adversary.SEMI_MALICIOUS),
        ("secagg+", Adversary.HONEST_BUT_CURIOUS),
    ],
)
@pytest.mark.parametrize(("clients", "length"), [(4, 1), (20, 8), (5, 70_000)])
def test_the_estimate_is_what_every_client_sends(protocol, adversary, clients, length):
    graph = {"degree": 4, "threshold": 3, "corrupt": 0} if protocol == "secagg+" else {}
    plan = make_plan(adversary, protocol, min_clients=3, **graph)
    with Consortium(clients, plan=plan, length=length) as consortium:
        outcome = consortium.drive().run()
    expected = upload_bytes(plan, clients=clients, length=length)
    sent = {}
    for phase in outcome.phases:
        for name, size in phase.up.items():
            sent.setdefault(name, {})[phase.phase] = size
    assert sent == dict.fromkeys(consortium.names, expected)


def test_indices_of_more_than_one_byte_are_counted():
    # 128 members and more: their indices take two bytes from there on, three from 256 on.
    plan = make_plan(Adversary.HONEST_BUT_CURIOUS, min_clients=4)
    few, more = (upload_bytes(plan, clients=n, length=1)["unmasking"] for n in (128, 129))
    assert more - few == 1 + (few - upload_bytes(plan, clients=127, length=1)["unmasking"])


def test_a_long_update_costs_no_time():
    plan = make_plan(min_clients=4)
    assert upload_bytes(plan, clients=1000, length=10**9)["input"] > 10**9
