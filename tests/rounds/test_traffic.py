"""What passes and is computed in a round is what was foretold; on a ring hardly less passes."""

import re
from collections import Counter

import pytest

from fedprivacy.crypto import CLIENT_ID_PATTERN, KeyPair, MaskStream, SigningKey
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import Plan
from fedprivacy.rounds.traffic import LONGEST_ID, download_bytes, round_work, upload_bytes
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.masking import complete, recovery, roster, shares, sparse
from fedprivacy.wire import encode
from rounddrive import Consortium, make_noise, make_plan

SETTINGS = pytest.mark.parametrize(
    ("protocol", "adversary"),
    [
        ("secagg", Adversary.MALICIOUS),
        ("secagg", Adversary.HONEST_BUT_CURIOUS),
        ("plain", Adversary.HONEST_BUT_CURIOUS),
        ("secagg+", Adversary.SEMI_MALICIOUS),
        ("secagg+", Adversary.HONEST_BUT_CURIOUS),
    ],
)
ID_BYTES = len("c000")
OPERATOR, HASH = SigningKey.from_seed(b"o" * 32), b"h" * 32
FIELDS = (
    "agreements",
    "signatures",
    "verifications",
    "boxes_sealed",
    "boxes_opened",
    "shares_checked",
    "secrets_recovered",
    "mask_values",
)


def ring_or_not(protocol, adversary):
    graph = {"degree": 4, "threshold": 3, "corrupt": 0} if protocol == "secagg+" else {}
    return make_plan(adversary, protocol, min_clients=3, **graph)


def passed(plan, clients, length, head=None):
    """Bytes up and down of each client by phase; down without broadcast and directory."""
    with Consortium(clients, plan=plan, length=length, broadcast=b"", head=head) as consortium:
        drive = consortium.drive()
        outcome = drive.run()
        assert outcome.error is None
        if head is not None:
            drive.settle(head(2))
        beside = 0 if consortium.directory is None else len(_blob(encode(consortium.directory)))
    up, down = ({name: {} for name in consortium.names} for _ in range(2))
    for phase in outcome.phases:
        for name, size in phase.up.items():
            up[name][phase.phase] = size
        for name, size in phase.down.items():
            first = phase is outcome.phases[0]
            down[name][phase.phase] = size - first * beside
    return up, down


def _blob(data):
    """What a field takes beyond its one byte when empty: a longer head, and the data."""
    head = 0 if len(data) < 1 << 8 else 1 if len(data) < 1 << 16 else 3
    return bytes(head) + data


@SETTINGS
@pytest.mark.parametrize(("clients", "length"), [(4, 1), (20, 8), (5, 70_000)])
def test_the_estimate_is_what_every_client_sends(protocol, adversary, clients, length):
    plan = ring_or_not(protocol, adversary)
    sent, _ = passed(plan, clients, length)
    expected = upload_bytes(plan, clients=clients, length=length)
    assert sent == dict.fromkeys(sent, expected)


@SETTINGS
@pytest.mark.parametrize("clients", [4, 5, 20, 33])
def test_no_client_is_sent_more_and_one_is_sent_as_much(protocol, adversary, clients):
    plan = ring_or_not(protocol, adversary)
    _, got = passed(plan, clients, 8)
    expected = download_bytes(plan, clients=clients, length=8, id_bytes=ID_BYTES)
    most = {phase: max(of[phase] for of in got.values()) for phase in expected}
    assert all(of.keys() == expected.keys() for of in got.values())
    if protocol == "secagg+":
        total = sum(expected.values())
        assert all(expected[phase] >= size for phase, size in most.items())
        assert max(sum(of.values()) for of in got.values()) * 1.02 >= total
    else:
        assert most == expected


@pytest.mark.parametrize("trust", ["server", "distributed", "client"])
def test_noise_and_a_ledgers_head_are_counted(trust):
    """The head's row is counted as the last that a ledger could have: in nine bytes, not one."""
    plan = make_plan(value_bits=6, noise=make_noise(trust))
    sent, got = passed(plan, 5, 1000, head=lambda n: SignedHead.sign(OPERATOR, bytes(16), n, HASH))
    assert sent == dict.fromkeys(sent, upload_bytes(plan, clients=5, length=1000))
    expected = download_bytes(plan, clients=5, length=1000, id_bytes=ID_BYTES)
    most = {phase: max(of[phase] for of in got.values()) for phase in expected}
    assert expected | {key: expected[key] - 8 for key in ("keys", "unmasking")} == most


@pytest.mark.parametrize("adversary", [Adversary.SEMI_MALICIOUS, Adversary.HONEST_BUT_CURIOUS])
def test_indices_on_a_ring_are_counted_at_their_longest(adversary):
    # From 128 on an index takes two bytes: some members have shorter rows than was counted.
    plan = make_plan(adversary, "secagg+", min_clients=9, corrupt=2, dropout=0.05)
    sent, got = passed(plan, 140, 8)
    up = sum(upload_bytes(plan, clients=140, length=8).values())
    down = sum(download_bytes(plan, clients=140, length=8, id_bytes=ID_BYTES).values())
    for real, expected in ((sent, up), (got, down)):
        most = max(sum(of.values()) for of in real.values())
        assert most <= expected <= 1.02 * most


@pytest.fixture
def counts(monkeypatch):
    """How often a round calls what `Work` counts, by the name of its field."""
    called = Counter()

    def count(owner, name, field, operations=lambda *_: 1):
        real = getattr(owner, name)

        def counted(*args, **named):
            called[field] += operations(*args)
            return real(*args, **named)

        monkeypatch.setattr(owner, name, counted)

    count(KeyPair, "agree", "agreements")
    count(SigningKey, "sign", "signatures")
    for module in (roster, complete, sparse):
        count(module, "verify", "verifications")
    count(shares, "seal", "boxes_sealed")
    count(shares, "unseal", "boxes_opened")
    count(recovery, "_is_committed", "shares_checked")
    count(recovery, "_checked", "secrets_recovered")
    count(MaskStream, "_apply", "mask_values", lambda _, __, words: len(words))
    return called


@SETTINGS
def test_the_work_is_what_a_round_does(counts, protocol, adversary):
    plan, clients, length = ring_or_not(protocol, adversary), 12, 100
    with Consortium(clients, plan=plan, length=length) as consortium:
        drive = consortium.drive()
        counts.clear()
        assert drive.run().error is None
    client, server = round_work(plan, clients=clients, length=length)
    for name in FIELDS:
        expected = clients * getattr(client, name) + getattr(server, name)
        assert (name, counts[name]) == (name, expected)
    assert client.values_encoded == length


def test_masks_are_made_again_for_the_lost(counts):
    clients, length, lost = 10, 50, {"c001", "c004"}
    plan = make_plan(min_clients=3, dropout=0.2)

    def lose(delivery):
        gone = delivery.sender in lost and delivery.phase == "input"
        return () if gone else (delivery,)

    with Consortium(clients, plan=plan, length=length) as consortium:
        outcome = consortium.drive(channel=lose).run()
        assert outcome.error is None
    client, server = round_work(plan, clients=clients, length=length)
    # Those who were lost had made their input, and it was lost.
    assert server.agreements == 2 * 8
    assert counts["agreements"] == clients * client.agreements + server.agreements
    assert counts["mask_values"] == clients * client.mask_values + server.mask_values


def test_a_client_with_units_encodes_each(project):
    plan = Plan.from_toml(project / "examples/hospitals/privacy.toml")
    client, _ = round_work(plan, clients=20, length=31)
    assert client.values_encoded == 64 * 31
    assert client.values_packed == 31  # weights are uniform: none is sent


def test_indices_of_more_than_one_byte_are_counted():
    # 128 members and more: their indices take two bytes from there on, three from 256 on.
    plan = make_plan(Adversary.HONEST_BUT_CURIOUS, min_clients=4)
    few, more = (upload_bytes(plan, clients=n, length=1)["unmasking"] for n in (128, 129))
    assert more - few == 1 + (few - upload_bytes(plan, clients=127, length=1)["unmasking"])


def test_the_longest_id_is_the_longest():
    assert re.match(CLIENT_ID_PATTERN, "c" * LONGEST_ID)
    assert not re.match(CLIENT_ID_PATTERN, "c" * (LONGEST_ID + 1))


def test_a_long_update_costs_no_time():
    plan = make_plan(min_clients=4)
    assert upload_bytes(plan, clients=1000, length=10**9)["input"] > 10**9
