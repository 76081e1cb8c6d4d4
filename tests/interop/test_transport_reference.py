"""The reference's client of the channel takes part in a real round."""

import importlib.util
import threading

import msgspec
import pytest

from fedprivacy.secagg import Adversary
from rounddrive import make_plan
from tlsdrive import HOST, HubLimits, Network, Waits, house


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

    # The reference counts on paper: it is given the time for it.
    limits, waits = HubLimits(heartbeat=10.0), Waits(30.0, 30.0, 5.0)
    parties = house(4, plan=make_plan(adversary=adversary))
    with Network(parties, tmp_path, limits=limits, waits=waits) as network:
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
