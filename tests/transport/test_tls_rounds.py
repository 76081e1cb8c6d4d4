"""Rounds over TLS: sums are exact, over whoever lasted."""

import pytest

from fedprivacy.errors import Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.secagg import Adversary
from fedprivacy.transport.tls.journal import Journal
from fedprivacy.transport.tls.run import NetworkedRun
from fedprivacy.transport.tls.sizes import longest_message
from rounddrive import make_plan
from tls_server import Silent, Toy
from tlsdrive import Network, house


def test_a_round_over_tls_ends_in_the_exact_sum(tmp_path):
    with Network(house(5), tmp_path) as network:
        network.join()
        outcome = network.round()
        network.house.assert_exact(outcome)
        assert set(outcome.survivors) == set(network.house.names)
        assert not outcome.excluded
        again = network.round(2)
        network.house.assert_exact(again)


@pytest.mark.parametrize("protocol", ["secagg+", "plain"])
def test_every_protocol_of_the_round_runs_over_it(protocol, tmp_path):
    adversary = Adversary.HONEST_BUT_CURIOUS
    rules = {"corrupt": 0, "dropout": 0.15} if protocol == "secagg+" else {}
    plan = make_plan(adversary=adversary, protocol=protocol, **rules)
    with Network(house(6, plan=plan), tmp_path) as network:
        network.join()
        outcome = network.round()
        network.house.assert_exact(outcome)


def test_a_vector_of_many_chunks_comes_through(tmp_path):
    plan = make_plan(value_bits=10)  # the norm stays below the clip
    with Network(house(4, plan=plan, length=200_000), tmp_path) as network:
        network.join()
        network.house.assert_exact(network.round())


def test_who_leaves_in_mid_round_is_lost_and_the_others_go_on(tmp_path):
    with Network(house(5), tmp_path) as network:
        network.join()
        gone = network.house.names[1]
        participant, _ = network.joined[gone]
        train = participant.train

        def dies(client):
            participant.link.close(flush=0.0)
            return train(client)

        participant.train = dies
        outcome = network.round()
        network.house.assert_exact(outcome)
        assert gone not in outcome.survivors
        assert any(gone in phase.lost for phase in outcome.phases)


def test_a_stranger_is_in_no_round(tmp_path):
    with Network(house(5), tmp_path) as network:
        stranger = house(6).identities["c005"]
        network.certificates.client(stranger)
        link = network.link("c005")
        link.start()
        ended = link.next(5.0)
        assert ended.error.reason is Reason.CHANNEL_IDENTITY
        link.close()


def test_clients_that_come_later_may_send_as_much_as_so_many_need(tmp_path):
    with Network(house(8), tmp_path) as network:
        network.join(*network.house.names[:4])
        run = NetworkedRun(
            network.house.plan,
            Toy(),
            network.house.directory,
            network.hub,
            Journal.open(tmp_path),
            RunFolder(tmp_path),
            network.waits,
            1,
            InsecureTestRng(1),
            Silent(),
        )
        run.gather(4, 10.0)
        few = network.hub._message_limit
        network.join(*network.house.names[4:])
        run.run()
        run.journal.close()
        plan = network.house.plan
        assert few == longest_message(plan, clients=4, length=Toy.length)
        assert network.hub._message_limit == longest_message(plan, clients=8, length=Toy.length)
        assert few < network.hub._message_limit
