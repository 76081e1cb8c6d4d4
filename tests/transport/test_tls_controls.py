"""The controls that aggregation among many parties wants, each tried over real TLS.

Named by the checklist of the field's deployed systems: floors at the client (5), replay (6),
collecting once (7), downgrades (8), fresh keys (9), admission (14), strict parsers (15), secrets in
no log (17), reasons of an abort (18).
"""

import dataclasses
import json
import time

import msgspec

from fedprivacy.cli.status import Status
from fedprivacy.crypto import Directory
from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary
from fedprivacy.transport.tls.hub import Arrived
from rounddrive import make_plan, make_policy
from secretscan import Scanner
from tlsdrive import LIMITS, Network, Raw, Waits, house

QUICK = Waits(4.0, 4.0, 0.5)


class Heard:
    """Every message that the server's hub hands on."""

    def __init__(self, network):
        self.messages, take = [], network.hub.next

        def listening(timeout):
            event = take(timeout)
            if isinstance(event, Arrived):
                self.messages.append((event.client, event.message))
            return event

        network.hub.next = listening

    def bodies(self, kind):
        for client, message in self.messages:
            tag, *fields = msgspec.msgpack.decode(message)
            if tag == "envelope":
                body = msgspec.msgpack.decode(fields[1])
                if body[0] == kind:
                    yield client, body


def test_05_a_client_refuses_a_cohort_below_its_own_floor(tmp_path):
    parties = house(4, policy=make_policy(floor=6))
    with Network(parties, tmp_path, waits=QUICK) as network:
        network.join()
        outcome = network.round()
        assert outcome.aggregate is None
        assert set(outcome.refused.values()) == {Reason.POLICY_COHORT}


def test_06_an_attempt_that_is_asked_for_again_is_refused(tmp_path):
    (tmp_path / "anchors").mkdir()
    slow = Waits(30.0, 30.0, 2.0)  # their stores are on the disk
    with Network(house(4, folder=tmp_path), tmp_path, waits=slow) as network:
        network.join()
        network.house.assert_exact(network.round(1))
        again = network.round(1)
        assert again.aggregate is None
        assert set(again.refused.values()) <= {Reason.ROUND_SEEN, Reason.ANSWERED}
        assert set(again.refused) == set(network.house.names)


def test_07_a_report_that_comes_after_the_sum_counts_for_nothing(tmp_path):
    with Network(house(4), tmp_path, waits=QUICK) as network:
        network.join()
        heard, late = Heard(network), network.house.names[0]
        first = network.attempt(1)
        network.house.assert_exact(first.run(network.house.names))
        link = network.joined[late][0].link
        for client, message in tuple(heard.messages):
            if client == late:
                link.send(link.session, message)
        outcome = network.round(2)
        network.house.assert_exact(outcome)
        assert set(outcome.survivors) == set(network.house.names)


def test_08_a_weaker_plan_than_the_policy_wants_is_refused(tmp_path):
    plan = make_plan(adversary=Adversary.HONEST_BUT_CURIOUS)
    parties = house(4, plan=plan, policy=make_policy(Adversary.MALICIOUS))
    with Network(parties, tmp_path, waits=QUICK) as network:
        network.join()
        outcome = network.round()
        assert outcome.aggregate is None
        assert set(outcome.refused.values()) == {Reason.POLICY_ADVERSARY}


def test_09_every_round_has_keys_of_its_own_and_every_session_an_id(tmp_path):
    with Network(house(4), tmp_path) as network:
        network.join()
        heard = Heard(network)
        for number in (1, 2, 3):
            network.house.assert_exact(network.round(number))
        keys = [key for _, body in heard.bodies("key-advertisement") for key in body[1:3]]
        assert len(keys) == 2 * 3 * 4
        assert len(set(keys)) == len(keys)
        assert len(network.sessions) == 4


def test_14_whoever_is_not_enrolled_or_comes_too_often_is_not_admitted(tmp_path):
    limits = dataclasses.replace(LIMITS, connects=2.0)
    parties = house(4)
    with Network(parties, tmp_path, limits=limits) as network:
        left_out = parties.names[-1]
        network.hub._directory = Directory(
            1, network.directory.entries[:-1], network.directory.signature
        )
        reasons = []
        for name in (left_out, parties.names[0], parties.names[0], parties.names[0]):
            with Raw(network, network.certificates.of(name)) as peer:
                peer.hello(version=9)
                reasons.append(peer.closed())
        assert reasons == [
            Reason.CHANNEL_IDENTITY,
            Reason.CHANNEL_VERSION,
            Reason.CHANNEL_VERSION,
            Reason.CHANNEL_RATE,
        ]


def test_15_a_message_that_no_client_sends_costs_its_sender_alone(tmp_path):
    with Network(house(5), tmp_path, waits=QUICK) as network:
        network.join()
        liar = network.house.names[2]
        link = network.joined[liar][0].link
        send = link.send
        link.send = lambda session, message: send(session, message[:-1] + b"\x00\x00")
        outcome = network.round()
        network.house.assert_exact(outcome)
        assert liar not in outcome.survivors
        assert outcome.excluded[liar].reason in (Reason.MALFORMED, Reason.NON_CANONICAL)


def test_17_no_log_holds_a_secret_a_share_or_a_vector(tmp_path, capsys):
    with Network(house(4), tmp_path) as network:
        for as_json in (False, True):
            status = Status(as_json)
            network.hub._note = status.refused
            if not as_json:
                network.join()
            heard = Heard(network)
            status.round_started(1, 2)
            outcome = network.round(
                1 + as_json, observe=lambda meter, status=status: status.phase_ended(1, 1, meter)
            )
            network.house.assert_exact(outcome)
            with Raw(network, network.certificates.of("c000")) as peer:
                peer.send(heard.messages[-1][1][:64])
            time.sleep(0.1)
        secrets = {
            f"{client}/{i}": message[40:72]
            for i, (client, message) in enumerate(heard.messages)
            if len(message) >= 72
        }
        secrets |= {f"update/{n}": v.tobytes()[:32] for n, v in network.house.updates.items()}
        for name in (*network.house.names, "server"):
            key = network.certificates.of(name).key.read_text("utf-8").splitlines()[1]
            secrets[f"key/{name}"] = key.encode()[:48]
        logs = capsys.readouterr().err
        assert "keys is over" in logs
        assert json.loads(logs.splitlines()[-1])
        assert Scanner(secrets).find(logs) == []


def test_18_an_abort_has_its_reason_and_whom_it_was_traced_to(tmp_path):
    with Network(house(4), tmp_path, waits=QUICK) as network:
        network.join(*network.house.names[:2])
        outcome = network.round()
        assert outcome.aggregate is None
        assert outcome.error.reason is Reason.TOO_FEW
        assert outcome.error.exit_code == 5
