"""The reference's client of the channel, and its member of a committee, in real rounds."""

import importlib.util
import threading

import msgspec
import pytest

from fedprivacy.secagg import Adversary
from rounddrive import make_plan
from tlsdrive import HOST, HubLimits, Network, Waits, house

# The reference counts on paper: it is given the time for it.
LIMITS, WAITS = HubLimits(heartbeat=10.0), Waits(30.0, 30.0, 5.0)
COMMITTEE = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'


@pytest.fixture(scope="module")
def reference(project):
    path = project / "protocols/transport/reference.py"
    spec = importlib.util.spec_from_file_location("transport_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("adversary", [Adversary.MALICIOUS, Adversary.HONEST_BUT_CURIOUS])
def test_the_reference_takes_part_in_a_round_over_tls(reference, adversary, tmp_path):
    from sumdrive import enrolled

    parties = house(4, plan=make_plan(adversary=adversary))
    with Network(parties, tmp_path, limits=LIMITS, waits=WAITS) as network:
        other, *ours = network.house.names
        network.join(*ours)
        files = network.certificates.of(other)
        channel = reference.Channel(
            HOST,
            network.port,
            {name: str(getattr(files, name)) for name in files.__slots__},
            b"session-16-bytes",
        )
        network.wait_for({other})
        identity = enrolled(4)[0][other]
        store = reference.a_round.Store(parties.stores[other].authority())
        entry = {
            "client_id": other,
            "identity_seed": identity.key._key.private_bytes_raw().hex(),
            "policy": msgspec.to_builtins(parties.policy.require),
            "budget": {},
            "accounts": {},
        }
        rand = bytes(range(256)) * 64
        client = reference.a_round.Client(
            entry, store=store, rand=rand, encoding=[bytes(32)] * 4, noise=[]
        )
        values = parties.updates[other].tolist()
        thread = threading.Thread(
            target=reference.take_part, args=(channel, client, values, 1), daemon=True
        )
        thread.start()
        outcome = network.round()
        thread.join(10.0)
        assert not thread.is_alive()
        channel.close()
        parties.assert_exact(outcome)
        assert set(outcome.survivors) == set(parties.names)
        assert not outcome.excluded


def test_the_reference_is_a_member_that_helps_to_open_the_sum(reference, tmp_path):
    parties = house(4, plan=make_plan(protocol="oneshot", committee=COMMITTEE))
    with Network(parties, tmp_path, limits=LIMITS, waits=WAITS) as network:
        other = "m-three"
        # Without one of the others, so that it is needed.
        network.join(*(n for n in parties.identities if n not in (other, "m-two")))
        files = network.certificates.of(other)
        channel = reference.Channel(
            HOST,
            network.port,
            {name: str(getattr(files, name)) for name in files.__slots__},
            b"session-16-bytes",
            role="member",
        )
        network.wait_for({other})
        identity = parties.identities[other]
        store = reference.a_round.Store(parties.stores[other].authority())
        entry = {
            "client_id": other,
            "identity_seed": identity.key._key.private_bytes_raw().hex(),
            "policy": msgspec.to_builtins(parties.policy.require),
            "budget": {},
            "accounts": {},
        }
        member = reference.Member(entry, store=store, rand=bytes(range(32)))
        sent = []
        thread = threading.Thread(
            target=lambda: sent.extend(reference.take_part(channel, member, None, 0)), daemon=True
        )
        thread.start()
        outcome = network.round()
        thread.join(10.0)
        assert not thread.is_alive()
        channel.close()
        parties.assert_exact(outcome)
        assert not outcome.excluded
        assert not any(other in meter.lost for meter in outcome.phases)
        kinds = [msgspec.msgpack.decode(msgspec.msgpack.decode(m)[2])[0] for m in sent]
        assert kinds[0] == "committee-key"
        assert kinds[1:5] == ["share-opened"] * 4
        assert kinds[5:] == ["unopened-shares", "consistency-signature", "key-sum"]
